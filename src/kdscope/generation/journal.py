"""Finished batches on disk, so that a killed evaluation repeats whole batches only.

One JSON line per batch, appended and flushed when the batch is done. A batch is known by what was asked
(its keys, its prompts, its decoding), so a line can never answer another question. A last line that was
torn by a kill is dropped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from kdscope.errors import StoreError
from kdscope.generation.settings import Completion, Decoding


class Journal:
    """The finished batches of one model; ``subject`` says whose, and a file of another is refused."""

    def __init__(self, path: Path, subject: str = "") -> None:
        """Read what is there.

        Args:
            path: the file; its folder must exist.
            subject: what the answers depend on besides the questions: the model's identity.

        Raises:
            StoreError: the file holds batches of another subject.
        """
        self.path, self._batches = path, dict[str, list[Completion]]()
        end = self._read(subject) if path.is_file() else 0
        if end:
            os.truncate(path, end)
        else:
            path.write_text(json.dumps({"subject": subject}) + "\n", encoding="utf-8")

    def _read(self, subject: str) -> int:
        """Keep the whole lines; returns where the last of them ends."""
        end = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    entry = None
                if entry is None:
                    break
                if end == 0 and entry.get("subject") != subject:
                    raise StoreError(
                        f"{self.path} holds the beginning of another evaluation (model, tasks or "
                        "settings differ); remove it, or write to another file"
                    )
                if end:
                    self._batches[entry["batch"]] = [_completion(row) for row in entry["answers"]]
                end += len(line)
        return end

    def __len__(self) -> int:
        """Batches that are here."""
        return len(self._batches)

    def find(self, batch: str) -> list[Completion] | None:
        """The answers of a batch, or None if it was not finished."""
        return self._batches.get(batch)

    def add(self, batch: str, answers: Sequence[Completion]) -> None:
        """Append a finished batch; it is on disk when this returns."""
        self._batches[batch] = list(answers)
        line = json.dumps({"batch": batch, "answers": answers}, separators=(",", ":"))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def batch_name(keys: Sequence[str], prompts: Sequence[Sequence[int]], decoding: Decoding) -> str:
    """Digest of everything that was asked of a batch."""
    asked = [list(keys), [list(prompt) for prompt in prompts], repr(decoding)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]


def in_batches(
    batches: Sequence[Sequence[int]],
    prompts: Sequence[Sequence[int]],
    keys: Sequence[str],
    decoding: Decoding,
    make: Callable[[Sequence[Sequence[int]], Sequence[str], Decoding], list[Completion]],
    *,
    progress: Callable[[int, int], None] | None = None,
    journal: Journal | None = None,
) -> list[Completion]:
    """Answers to all prompts, in their order: finished batches from the journal first, then the others.

    Args:
        batches: places of the prompts, each in one batch.
        prompts: token ids.
        keys: a name per prompt.
        decoding: how they are answered.
        make: answers one batch.
        progress: called with (answers there, answers in all) at the beginning and after each batch.
        journal: is asked first, and keeps what is made.
    """
    answers: dict[int, Completion] = {}
    waiting: list[tuple[Sequence[int], str]] = []
    for rows in batches:
        mark, found = "", None
        if journal is not None:
            mark = batch_name([keys[i] for i in rows], [prompts[i] for i in rows], decoding)
            found = journal.find(mark)
        if found is None:
            waiting.append((rows, mark))
        else:
            answers |= zip(rows, found, strict=True)
    tell = progress or (lambda done, total: None)
    tell(len(answers), len(prompts))
    for rows, mark in waiting:
        made = make([prompts[i] for i in rows], [keys[i] for i in rows], decoding)
        if journal is not None:
            journal.add(mark, made)
        answers |= zip(rows, made, strict=True)
        tell(len(answers), len(prompts))
    return [answers[i] for i in range(len(prompts))]


def _completion(row: list) -> Completion:
    tokens, reason, logprob = row
    return Completion(tuple(tokens), reason, logprob)
