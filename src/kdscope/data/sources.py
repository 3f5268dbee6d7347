"""Loading: a task's items and a training set's examples, from a local folder or the download cache.

The folder named by ``KDSCOPE_DATA`` comes first and is taken as it is; the cache, which ``kdscope
data fetch`` fills, comes second. Nothing is downloaded here. The user's own data: :mod:`kdscope.data.own`.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pooch

from kdscope.data import synthetic
from kdscope.data.audit import question_keys
from kdscope.data.checksums import check, git_blob_id
from kdscope.data.forms import canonical
from kdscope.data.own import allowed, own_examples, own_items
from kdscope.data.parsing import EXAMPLE_READERS, ITEM_READERS, example_of_record
from kdscope.data.pins import Pin
from kdscope.data.readers import SUFFIXES, Record, read_records, read_text
from kdscope.data.records import Example, Item
from kdscope.data.tasks import Task, TrainSet, find_task, find_train_set
from kdscope.errors import DataError

DATA_FOLDER = "KDSCOPE_DATA"
CACHE_FOLDER = "KDSCOPE_CACHE"

# As written in a study: a catalogue id, a file, or {path | hub, columns, split, revision, config}.
TrainSource = str | Path | Mapping[str, Any]


def load_items(task: str | Task, *, limit: int | None = None) -> list[Item]:
    """The items of a task, in the order of its file; the first ``limit`` of them.

    Raises:
        DataError: unknown task, absent data (with the ways to get them), a malformed record.
    """
    task = find_task(task) if isinstance(task, str) else task
    if task.reader == "synthetic":
        return list(islice(synthetic.tiny_items(task.id), limit))
    paths = [locate(pin, task.id, task.title) for pin in task.pins]
    items = read_items(task, paths, limit=limit)
    if not items:
        raise DataError(f"{paths[0]} holds no items for {task.id}; a task must have at least one")
    return items


def items_of(
    field: Mapping[str, Any], path: str | None = None, *, limit: int | None = None
) -> list[Item]:
    """The items of a step's ``task`` field: of the catalogue, or the user's own (its file at ``path``).

    Raises:
        DataError: as :func:`load_items`.
    """
    if "own" in field:
        return own_items(field, path, limit=limit)
    return load_items(field["name"], limit=limit)


def examples_of(field: Mapping[str, Any], path: str | None = None) -> list[Example]:
    """The examples of a step's ``data`` field; ``path`` is the user's own file.

    Raises:
        DataError: as :func:`load_examples`.
    """
    if "source" in field:
        return own_examples({**field["source"], "path": path} if path else field["source"])
    return load_examples(path or field["name"])


def read_items(task: Task, paths: list[Path], *, limit: int | None = None) -> list[Item]:
    """The items of a task read from given files of its form (see ``Task.pins``)."""
    records = _read_asdiv(paths[0]) if task.reader == "asdiv" else read_records(paths[0])
    read = ITEM_READERS["mawps" if task.reader == "asdiv" else task.reader]
    if task.reader == "mawps":
        records = _less_questions_of(records, paths[1:])
    numbered = islice(enumerate(records), limit)
    return [read(record, task, str(number)) for number, record in numbered]


def _less_questions_of(records: list[Record], paths: list[Path]) -> list[Record]:
    """Records whose question (normalised) stands in none of the files."""
    taken = {
        question_keys(question).normalised
        for path in paths
        for question in questions_of(read_records(path))
    }
    return [
        record
        for record, question in zip(records, questions_of(records), strict=True)
        if question_keys(question).normalised not in taken
    ]


def questions_of(records: Iterable[Record]) -> list[str]:
    """The question of each record, with its further context, whatever the file's form."""
    from_names = ("instruction", "prompt", "question", "original_text", "sQuestion", "query")
    return [_question(record, from_names) for record in records]


def _question(record: Record, names: tuple[str, ...]) -> str:
    for name in names:
        if isinstance(record.fields.get(name), str):
            return f"{record.fields[name]} {_context(record.fields)}".strip()
    raise DataError(
        f"{record.where}: a record without a question; one of the columns {', '.join(names)} "
        "must be there"
    )


def _context(fields: Mapping[str, Any]) -> str:
    """The further context of a question; in Self-Instruct's form that of its instance."""
    instances = fields.get("instances")
    holder = instances[0] if isinstance(instances, list) and instances else fields
    context = holder.get("input") if isinstance(holder, Mapping) else None
    return context if isinstance(context, str) else ""


def _read_asdiv(path: Path) -> list[Record]:
    """ASDiv's XML in MWPToolkit's form; problems without one numeric answer are left out."""
    try:
        problems = ElementTree.fromstring(read_text(path)).iter("Problem")
    except ElementTree.ParseError as error:
        raise DataError(f"{path}:{error.position[0]}: not valid XML: {error}") from None
    records = []
    for problem in problems:
        answer = canonical((problem.findtext("Answer") or "").partition("(")[0], "number")
        text = " ".join((problem.findtext(part) or "").strip() for part in ("Body", "Question"))
        if answer is not None:
            records.append(
                Record(f"{path}:{problem.get('ID')}", {"original_text": text, "ans": answer})
            )
    return records


def load_examples(train_set: TrainSource | TrainSet, *, limit: int | None = None) -> list[Example]:
    """The examples of a training set, in the order of its file; the first ``limit`` of them.

    Raises:
        DataError: unknown set, absent data, a malformed record, an empty set, or
            ``math_data.json``.
    """
    if isinstance(train_set, Mapping):
        return own_examples(train_set, limit)
    if isinstance(train_set, Path) or _is_path(train_set):
        path = Path(str(train_set)).expanduser()
        return _examples(read_records(allowed(path)), path.stem, example_of_record, limit)
    data = find_train_set(train_set) if isinstance(train_set, str) else train_set
    if data.reader == "synthetic":
        return list(islice(synthetic.tiny_examples(), limit))
    files = [read_records(locate(pin, data.id, data.title)) for pin in data.pins]
    return _examples(_in_turn(files), data.id, EXAMPLE_READERS[data.reader], limit)


def _in_turn(files: list[list[Record]]) -> list[Record]:
    """One record of each file after another, so that any first part of a mixture is mixed."""
    rounds = zip_longest(*files)
    return [record for together in rounds for record in together if record is not None]


def _is_path(name: str | TrainSet) -> bool:
    return isinstance(name, str) and (Path(name).suffix.lower() in SUFFIXES or os.sep in name)


def _examples(
    records: list[Record], stem: str, read: Callable[[Record, str], Example], limit: int | None
) -> list[Example]:
    numbered = islice(enumerate(records), limit)
    return [read(record, f"{stem}/{number}") for number, record in numbered]


# --- where files lie ----------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where downloads are kept: ``KDSCOPE_CACHE``, else the user's cache folder."""
    return Path(os.environ.get(CACHE_FOLDER) or pooch.os_cache("kdscope"))


def candidates(pin: Pin) -> list[Path]:
    """Where a pinned file may lie, in order of preference."""
    folder = os.environ.get(DATA_FOLDER)
    local = [Path(folder) / place for place in (pin.path, pin.upstream) if place] if folder else []
    return [*local, cache_folder() / pin.path]


def find(pin: Pin) -> Path | None:
    """The local copy of a pinned file, or None."""
    return next((path for path in candidates(pin) if path.is_file()), None)


def locate(pin: Pin, id: str, title: str) -> Path:
    """The local copy of a pinned file. Raises DataError with the ways to get it."""
    path = find(pin)
    if path is None:
        looked = ", ".join(str(candidate) for candidate in candidates(pin))
        raise DataError(
            f"the data of {title} are not here (looked for {looked}). "
            f"Get them with `kdscope data fetch {id}`, or set {DATA_FOLDER} to a folder that "
            f"holds {pin.path}"
        )
    if path == cache_folder() / pin.path:
        check(pin, path)
    return path


def missing_pins(*sets: Task | TrainSet) -> list[Pin]:
    """The pinned files of tasks and training sets that are not here, without repetition."""
    return list(dict.fromkeys(pin for data in sets for pin in data.pins if find(pin) is None))


def identity(source: TrainSource | Task | TrainSet) -> str:
    """What pins the data for content keys.

    Local files count by their content, so that an edited copy is another data set; a catalogue
    entry whose file is not here counts by its pin, which equals the former where the copy is
    genuine.
    """
    if isinstance(source, (Task, TrainSet)):
        return "|".join((source.id, source.reader, *map(_pin_identity, source.pins)))
    if isinstance(source, Mapping):
        rest = sorted((key, str(value)) for key, value in source.items() if key != "path")
        start = identity(Path(str(source["path"]))) if "path" in source else "hub"
        return f"{start}|{rest}"
    if isinstance(source, Path) or _is_path(source):
        path = Path(str(source)).expanduser()
        return (
            f"file:{git_blob_id(allowed(path).read_bytes())}"
            if path.is_file()
            else f"file:{path.name}"
        )
    return identity(find_train_set(source))


def _pin_identity(pin: Pin) -> str:
    path = find(pin)
    return pin.identity if path is None else f"git:{git_blob_id(path.read_bytes())}"
