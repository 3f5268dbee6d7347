"""``kdscope evaluate``: one model, some tasks, one prediction file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import torch

from kdscope import tables
from kdscope.data.prompts import find_template
from kdscope.data.records import Item
from kdscope.data.sources import items_of
from kdscope.data.tasks import Task, task_of
from kdscope.errors import ConfigError, StoreError
from kdscope.evaluation.answering import Asking, Row, answer_rows, too_long, with_samples
from kdscope.evaluation.choice_scoring import can_be_scored, choice_rows, unscored
from kdscope.generation.journal import Journal
from kdscope.generation.settings import Decoding
from kdscope.stats.proportions import proportion
from kdscope.study.answering_model import AnsweringModel
from kdscope.study.config import DEFAULT_ENGINE, Engine
from kdscope.study.datasets import TaskRef, asked_tasks
from kdscope.study.identity import digest
from kdscope.study.subject import Subject, find_subject

_MARK = b"kdscope_evaluation"


@dataclass(frozen=True)
class Settings:
    """How a model is evaluated.

    Attributes:
        limit: items per task; None is all.
        prompt: ``clean``, ``paper`` or ``chat``.
        temperature: of the headline answer; 0 is greedy.
        samples: further answers per item, drawn at temperature 1, for noise floors.
        sample_limit: items per task that are sampled, from the first on; None is all.
        max_new_tokens: None is each task's own.
        batch_size: rows per batch.
        seed: keys the draws.
        choices: also score the options by likelihood.
        engine: that decodes: ``transformers`` or ``vllm``.
    """

    limit: int | None = None
    prompt: str = "clean"
    temperature: float = 0.0
    samples: int = 0
    sample_limit: int | None = None
    max_new_tokens: int | None = None
    batch_size: int = 32
    seed: int = 0
    choices: bool = False
    engine: str = DEFAULT_ENGINE

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.samples < 0 or (self.limit is not None and self.limit < 1):
            raise ConfigError(
                f"batch_size is {self.batch_size}, samples {self.samples}, limit {self.limit}; "
                "batch_size and limit must be at least 1, samples at least 0"
            )
        if self.sample_limit is not None and (self.samples < 1 or self.sample_limit < 1):
            raise ConfigError(
                f"sample_limit is {self.sample_limit} and samples {self.samples}: it limits the items "
                "that are sampled, so both must be at least 1"
            )
        if self.engine not in get_args(Engine):
            raise ConfigError(
                f"there is no engine {self.engine!r}; choose one of {', '.join(get_args(Engine))}"
            )


def evaluate(
    model: str,
    tasks: str | Sequence[str | Mapping[str, Any]],
    out: str | Path,
    *,
    dtype: str = "auto",
    device: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    **settings: Any,
) -> dict[str, Any]:
    """Answer tasks with one model and write the answers as a ``generations`` table.

    Finished batches are kept in ``<out>.partial`` until the file is complete, so the same call goes on
    where a killed one stopped; when everything is there it does nothing.

    Args:
        model: embedded name, hub id, checkpoint folder, adapter folder, or a run's training step.
        tasks: ids, suites, mappings of own tasks as in a study, or YAML files that hold such mappings.
        out: the Parquet file; with ``choices`` the scored options go to ``<stem>.choices.parquet``.
        dtype: of the weights; ``auto`` is float32 for embedded models, else bfloat16.
        device: ``cpu`` or ``cuda``; by default the accelerator where there is one.
        say: takes lines about progress.
        settings: fields of :class:`Settings`.

    Returns:
        ``{model, out, tasks: [{task, n, accuracy: {estimate, low, high, signature}, score, invalid,
        too_long}], complete_before}``; accuracy is None for free text.

    Raises:
        UserError: an unknown model, task or template; absent data; ``out`` holds something else.
    """
    how, path = Settings(**settings), Path(out)
    refs = asked_tasks(tasks)
    if not refs:
        raise ConfigError("no task was named: give ids or suites of `kdscope data ls`")
    find_template(how.prompt) if how.prompt != "chat" else None
    if path.suffix != ".parquet":
        raise ConfigError(f"the prediction file {path} must end in .parquet")
    subject = find_subject(model, dtype)
    items = {ref.name: items_of(ref.fields, ref.path, limit=how.limit) for ref in refs}
    mark = _mark(subject, refs, how)
    before = _is_complete(path, mark)
    if not before:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        _answer(subject, refs, items, how, path, mark, device, say)
    rows = tables.read("generations", path).to_pylist()
    return {
        "model": subject.name,
        "out": str(path),
        "tasks": [_summary(name, [row for row in rows if row["task"] == name]) for name in items],
        "complete_before": before,
    }


def as_text(found: dict[str, Any]) -> str:
    """The summary for people."""
    lines = [f"{'task':<16}{'n':>7}{'accuracy (95 %)':>24}{'score':>8}{'invalid':>9}"]
    for row in found["tasks"]:
        share = row["accuracy"]
        shown = (
            f"{share['estimate']:.1%} [{share['low']:.1%}, {share['high']:.1%}]" if share else "-"
        )
        lines.append(
            f"{row['task']:<16}{row['n']:>7,}{shown:>24}{row['score']:>8.3f}{row['invalid']:>9,}"
        )
    return "\n".join(lines)


def choices_file(out: Path) -> Path:
    """Where the scored options of a prediction file go."""
    return out.with_name(f"{out.stem}.choices.parquet")


def _mark(subject: Subject, refs: Sequence[TaskRef], how: Settings) -> str:
    """Digest of everything that can change the file."""
    data = [[*ref.fields.values()] for ref in refs]
    later = {
        "engine": DEFAULT_ENGINE,
        "sample_limit": None,
    }  # files of earlier versions stay theirs
    settings = {k: v for k, v in asdict(how).items() if k not in later or v != later[k]}
    return digest([subject.name, subject.identity, data, settings])


def _is_complete(path: Path, mark: str) -> bool:
    """Whether the file is this evaluation's. Raises StoreError if it is anything else."""
    if not path.exists():
        return False
    try:
        found = (pq.read_schema(path).metadata or {}).get(_MARK, b"").decode()
    except (OSError, ValueError):
        found = ""
    if found == mark:
        return True
    what = "another evaluation (model, tasks or settings differ)" if found else "something else"
    raise StoreError(
        f"{path} exists and holds {what}; nothing was written over it. "
        "Give another --out, or remove the file first"
    )


def _answer(
    subject: Subject,
    refs: Sequence[TaskRef],
    items: dict[str, list[Item]],
    how: Settings,
    path: Path,
    mark: str,
    device: str,
    say: Callable[[str], None],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    journal = Journal(partial, mark)
    if len(journal):
        say(f"{len(journal)} finished batches found in {partial}")
    answering = AnsweringModel(subject.reference, subject.path, subject.trained, device)
    decoder = answering.decoder(how.engine, how.batch_size)
    template = find_template(how.prompt, decoder.tokenizer)
    system = {"model": subject.name, "settings": "{}"}
    rows: list[Row] = []
    scored: list[Row] = []
    for ref in refs:
        name, asked, task = ref.name, items[ref.name], task_of(ref.fields)
        asking = Asking(template, _decodings(task, how), how.sample_limit)

        def progress(done: int, total: int, name: str = name) -> None:
            say(f"{name}: {done:,} of {total:,} answers")

        rows += answer_rows(decoder, asked, asking, system, journal=journal, progress=progress)
        if how.choices and can_be_scored(asked):
            options = choice_rows(
                answering.model,
                decoder.tokenizer,
                asked,
                template,
                system,
                statement=task.statement,
                batch_size=how.batch_size,
            )
            scored += options
            if left := unscored(asked, options):
                say(
                    f"{name}: {left} items with their options exceed the model's context: not scored"
                )
    if too_long(rows):
        say(f"{too_long(rows)} prompts leave no room in the model's context: counted as invalid")
    if how.choices:
        tables.write("choices", scored, choices_file(path))
    tables.write("generations", rows, path, {_MARK.decode(): mark})
    partial.unlink()


def _decodings(task: Task, how: Settings) -> tuple[Decoding, ...]:
    length = how.max_new_tokens or task.max_new_tokens
    headline = Decoding(length, how.temperature, how.seed)
    return with_samples(headline, how.samples, 1.0)


def _summary(task: str, rows: Sequence[Row]) -> dict[str, Any]:
    first = [row for row in rows if row["sample"] == 0]
    graded = [row["correct"] for row in first if row["correct"] is not None]
    share = proportion(graded) if graded else None
    return {
        "task": task,
        "n": len(first),
        "accuracy": share
        and {
            "estimate": share.estimate,
            "low": share.low,
            "high": share.high,
            "signature": share.signature,
        },
        "score": sum(row["score"] for row in first) / len(first),
        "invalid": sum(not row["valid"] for row in first),
        "too_long": too_long(first),
    }
