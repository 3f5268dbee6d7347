"""The user's own data: a file or a data set of the hub, read under a column map, for training or as a task.

A study writes it as a mapping; a step receives the same as a plain ``field`` that holds everything but
the file's path: ``{name, identity}`` of an entry of the catalogue, further ``source`` for own training
data and ``own`` for a task of the user's. Only local files and the hub's cache are read here.
"""

import json
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from kdscope.data.forms import canonical
from kdscope.data.parsing import (
    CONTEXT,
    INSTRUCTION,
    example_of_record,
    listed_options,
    optional_text,
    renamed,
    text_of,
)
from kdscope.data.readers import Record, read_records
from kdscope.data.records import Example, Item
from kdscope.data.tasks import Task, task_of
from kdscope.errors import DataError, missing_extra

SOURCE_KEYS = ("path", "hub", "columns", "split", "revision", "config")
EXAMPLE_FIELDS = ("instruction", "input", "output")
ITEM_FIELDS = ("instruction", "input", "answer", "reference", "topic")
OWN_FORMS = ("number", "letter", "word", "boolean", "text")

_GOLD = ("answer", "gold", "label", "target", "output", "response", "completion")
_SOLUTION = ("reference", "rationale", "output", "response", "completion")
_TRUTH = {"yes": "true", "no": "false", "1": "true", "0": "false"}


def own_examples(source: Mapping[str, Any], limit: int | None = None) -> list[Example]:
    """The training examples of ``{path | hub, columns, split, revision, config}``.

    Raises:
        DataError: an unknown key, a column that is not there, a malformed record; file and line are
            named.
    """
    if "path" in source:
        allowed(Path(str(source["path"])))
    records, stem = _records(source)
    columns = dict(source.get("columns") or {})
    named = [renamed(record, columns, EXAMPLE_FIELDS) for record in islice(records, limit)]
    return [example_of_record(record, f"{stem}/{i}") for i, record in enumerate(named)]


def own_items(
    field: Mapping[str, Any], path: str | None, *, limit: int | None = None
) -> list[Item]:
    """The items of a task of the user's own; ``path`` is its file, None for a set of the hub.

    Raises:
        DataError: a column that is not there, a record without question or answer, an answer that is
            none of the options; file and line are named.
    """
    task, own = task_of(field), field["own"]
    source = {name: own[name] for name in SOURCE_KEYS if own.get(name) is not None}
    records, _ = _records({**source, "path": path} if path else source)
    columns = dict(own.get("columns") or {})
    named = [renamed(record, columns, ITEM_FIELDS) for record in islice(records, limit)]
    return [item_of_own(record, task, str(i)) for i, record in enumerate(named)]


def item_of_own(record: Record, task: Task, item: str) -> Item:
    """A record of LLM-Adapters form, or with a question and an answer column."""
    question = text_of(record, INSTRUCTION, "an instruction")
    options = listed_options(question, task)
    if task.form == "word" and not options:
        raise DataError(
            f"{record.where}: {task.id} is of the form word and has no options: give `options: [...]` in "
            'the study, or end each question in "Answer format: one/other"'
        )
    references = _references(record, task)
    gold = _gold(record, task, options) if references is None else references[0]
    solution = next(
        (n for n in _SOLUTION if record.fields.get(n) and n != _gold_column(record)), None
    )
    reference = optional_text(record, (solution,)) if solution else None
    if references is not None:
        reference = json.dumps(references, ensure_ascii=False) if references[1:] else None
    context = optional_text(record, CONTEXT)
    topic = optional_text(record, ("topic",)) or None
    return Item(task.id, item, question, gold, task.form, options, context, reference, topic)


def _gold_column(record: Record) -> str | None:
    return next((name for name in _GOLD if record.fields.get(name) is not None), None)


def _references(record: Record, task: Task) -> list[str] | None:
    """Several admissible texts, where a text's answer column holds a list."""
    listed = record.fields.get(_gold_column(record) or "")
    if task.form != "text" or not isinstance(listed, list):
        return None
    texts = [str(text).strip() for text in listed if str(text).strip()]
    if not texts:
        raise DataError(f"{record.where}: the list of answers is empty; an item needs an answer")
    return texts


def _gold(record: Record, task: Task, options: tuple[str, ...] | None) -> str:
    column = _gold_column(record)
    value = record.fields.get(column or "")
    if task.form == "boolean" and isinstance(value, bool):
        return str(value).lower()
    answer = text_of(record, _GOLD, "an answer").strip()
    if task.form == "number":
        answer = answer.rpartition("####")[2].strip()  # GSM8K's form
    if task.form == "boolean":
        answer = _TRUTH.get(answer.lower(), answer)
    gold = canonical(answer, task.form)
    if gold is None or (options and gold not in options):
        choices = f"one of {', '.join(options)}" if options else f"a bare {task.form}"
        raise DataError(
            f"{record.where}: the answer {answer[:60]!r} of {task.id} must be {choices}; it was read "
            f"from the column {column!r} (another one: `columns: {{answer: ...}}`)"
        )
    return gold


# --- where records come from --------------------------------------------------------------------


def _records(source: Mapping[str, Any]) -> tuple[list[Record], str]:
    """The records of a file or a hub data set, and the name that their ids begin with."""
    unknown = sorted(set(source) - set(SOURCE_KEYS))
    if unknown or ("path" in source) == ("hub" in source):
        raise DataError(
            "a data set is an id, a file, or a mapping with either `path` or `hub` and optionally "
            f"columns, config, revision, split; got {sorted(source)}"
        )
    if "path" in source:
        path = Path(str(source["path"])).expanduser()
        return read_records(path), path.stem
    return _hub_records(source), str(source["hub"])


def allowed(path: Path) -> Path:
    """Refuse the one file that must never be trained on with these tests."""
    if path.name.lower() == "math_data.json":
        raise DataError(
            f"{path}: math_data.json holds 80 % of the very test sets (GSM8K, SVAMP, AQuA and the "
            "others), so a model trained on it has seen the answers. Train on math7k or "
            "gsm8k-train instead."
        )
    return path


def _hub_records(source: Mapping[str, Any]) -> list[Record]:
    try:
        import datasets
    except ImportError:
        raise missing_extra("train", "datasets", "a data set of the hub") from None
    hub = str(source["hub"])
    split, revision = str(source.get("split") or "train"), source.get("revision")
    load: Callable[..., Any] = datasets.load_dataset
    try:
        rows = load(hub, source.get("config"), split=split, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{hub} (split {split}) could not be loaded from the hub or its cache: {error}. "
            "Check the name and the network, or download it first and give a `path`."
        ) from None
    return [Record(f"{hub}:{number}", dict(row)) for number, row in enumerate(rows, start=1)]
