"""Writing a teacher cache: in parts that survive a killed attempt, after a look at the disk."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from kdscope.data.collation import Encoded
from kdscope.distillation.cache import VERSION, Place, token_digest
from kdscope.distillation.cache_files import (
    HEAD,
    INDEX,
    content_digest,
    shard_name,
    verify,
    write_json,
    write_tensors,
)
from kdscope.divergences import Head
from kdscope.errors import CacheError, NumericalError, StoreError

SHARD_BYTES = 64 * 2**20  # a killed attempt repeats at most so much


class Source(Protocol):
    """What is written: some tensors with one row per supervised token.

    Attributes:
        form: how the rows are to be read (``exact``, ``int8``, ``topk``).
        row_bytes: bytes of a supervised token.
        head: the head that belongs to hidden states; None where rows hold probabilities.
    """

    form: str
    row_bytes: int
    head: Head | None

    def rows(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        """Tensors ``[N, ...]`` on the CPU for the supervised tokens of ``examples``, in this order."""
        ...

    def measures(self) -> dict[str, float]:
        """What was observed while writing, for the index and the manifest."""
        ...


class Written(NamedTuple):
    """A finished cache: tokens that the teacher read, bytes on disk, and the source's measures."""

    tokens: int
    bytes: int
    measures: dict[str, float]


def write_cache(
    folder: Path,
    examples: Sequence[Encoded],
    source: Source,
    *,
    about: Mapping[str, Any],
    parts: Path | None = None,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Written:
    """Write the teacher's rows of all examples; a killed attempt goes on at its last whole shard.

    Args:
        folder: an empty folder; the index is written last.
        examples: what to read; batches are sorted by length and fixed by the arguments, so that a
            resumed cache equals an undisturbed one to the bit.
        source: see there.
        about: what the cache belongs to (teacher, tokenizer, template); compared on opening.
        parts: where shards stay until all are there, on the same disk; ``folder`` if not given.
        batch_size: sequences per forward pass.
        progress: called with (examples done, examples in all).
        announce: called once with the exact size, before anything is written.

    Raises:
        StoreError: the disk has too little room for it; nothing was written.
        NumericalError: the teacher gives values that are not finite; the example is named.
        OSError: the disk became full meanwhile; whole shards stay, and the next attempt goes on.
    """
    order = sorted(examples, key=lambda example: (-example.length, example.id))
    work = _Work(parts or folder, content_digest([dict(about), _identity(order), batch_size]))
    room = _check_room(folder, order, source, work.bytes())
    if announce is not None:
        announce(room)
    for start in range(work.examples(), len(order), batch_size):
        chunk = order[start : start + batch_size]
        work.add(chunk, _checked(source.rows(chunk), chunk))
        if work.pending_bytes() >= SHARD_BYTES or start + batch_size >= len(order):
            work.close_shard()
        if progress is not None:
            progress(start + len(chunk), len(order))
    return _publish(folder, work, source, about, sum(example.length for example in order))


def cache_bytes(examples: Sequence[Encoded], source: Source) -> int:
    """Bytes that a cache takes: its rows, and the teacher's head."""
    head = source.head
    tensors = [] if head is None else [head.weight, *([] if head.bias is None else [head.bias])]
    rows = sum(len(example.response) for example in examples) * source.row_bytes
    return rows + sum(tensor.nbytes for tensor in tensors)


def _check_room(folder: Path, order: Sequence[Encoded], source: Source, there: int) -> str:
    """What the cache takes, in words, once it is known that the disk has room for it."""
    whole = cache_bytes(order, source)
    needed, free = whole - there, shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"the teacher cache needs {needed:,} bytes in {folder}, where {free:,} are free; nothing "
            "was written. Free some space, or choose cache_dtype: int8, teacher_signal: topk or live"
        )
    tokens = sum(len(example.response) for example in order)
    return (
        f"the teacher cache takes {whole:,} bytes ({tokens:,} supervised tokens of {source.row_bytes:,} "
        f"bytes, and the head), of which {there:,} are written; {free:,} are free"
    )


def _identity(order: Sequence[Encoded]) -> str:
    return content_digest([[example.id, token_digest(example)] for example in order])


def _checked(rows: dict[str, Tensor], chunk: Sequence[Encoded]) -> dict[str, Tensor]:
    """The rows, once they are known to be finite. Raises NumericalError with the first bad example."""
    lengths = [len(example.response) for example in chunk]
    for tensor in rows.values():
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        for example, part in zip(chunk, tensor.split(lengths), strict=True):
            if not torch.isfinite(part).all():
                raise NumericalError(
                    f"the teacher's states of example {example.id!r} are not finite"
                )
    return rows


class _Work:
    """Shards written so far, and the rows that wait for the next one."""

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder, self.mark = folder, mark
        self.shards: list[dict[str, Any]] = []
        self.places: dict[str, Place] = {}
        self.pending: list[dict[str, Tensor]] = []
        self.fill = 0
        while (found := self._left(len(self.shards))) is not None:
            self.shards.append(found)

    def _left(self, number: int) -> dict[str, Any] | None:
        """The record of a shard that an earlier attempt completed for the very same cache."""
        try:
            found = json.loads(self._record(number).read_text(encoding="utf-8"))
            if found["mark"] != self.mark:
                return None
            verify(self.folder / shard_name(number), found["file"])
        except (OSError, ValueError, KeyError, CacheError):
            return None
        return found

    def _record(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}.json"

    def examples(self) -> int:
        return sum(len(shard["places"]) for shard in self.shards)

    def bytes(self) -> int:
        return sum(shard["file"]["bytes"] for shard in self.shards)

    def pending_bytes(self) -> int:
        return sum(tensor.nbytes for rows in self.pending for tensor in rows.values())

    def add(self, chunk: Sequence[Encoded], rows: dict[str, Tensor]) -> None:
        for example in chunk:
            count = len(example.response)
            self.places[example.id] = Place(
                len(self.shards), self.fill, count, token_digest(example)
            )
            self.fill += count
        self.pending.append(rows)

    def close_shard(self) -> None:
        number = len(self.shards)
        names = self.pending[0]
        tensors = {
            name: torch.cat([rows[name] for rows in self.pending]).contiguous() for name in names
        }
        file = write_tensors(self.folder / shard_name(number), tensors)
        shard = {"mark": self.mark, "file": file, "places": self.places}
        write_json(self._record(number), shard)
        self.shards.append(shard)
        self.pending, self.places, self.fill = [], {}, 0

    def move_to(self, folder: Path) -> None:
        for number in range(len(self.shards)):
            if folder != self.folder:
                os.replace(self.folder / shard_name(number), folder / shard_name(number))
            self._record(number).unlink()


def _publish(
    folder: Path, work: _Work, source: Source, about: Mapping[str, Any], tokens: int
) -> Written:
    files = {shard_name(number): shard["file"] for number, shard in enumerate(work.shards)}
    work.move_to(folder)
    if source.head is not None:
        files[HEAD] = write_head(folder / HEAD, source.head)
    places = {id: place for shard in work.shards for id, place in shard["places"].items()}
    content = {
        "version": VERSION, "about": dict(about), "form": source.form, "files": files,
        "measures": source.measures(), "places": places,
    }  # fmt: skip
    write_json(folder / INDEX, {**content, "digest": content_digest(content)})
    return Written(tokens, sum(file["bytes"] for file in files.values()), source.measures())


def write_head(path: Path, head: Head) -> dict[str, Any]:
    """Write the teacher's output head with its scale and cap; returns the file's record."""
    tensors = {"weight": head.weight.detach().cpu().contiguous()}
    if head.bias is not None:
        tensors["bias"] = head.bias.detach().cpu().contiguous()
    # One entry: safetensors writes several in an order of chance, and equal heads must be equal files.
    return write_tensors(
        path, tensors, {"scale_and_softcap": json.dumps([head.scale, head.softcap])}
    )
