"""What a study's data names refer to: training sets and tasks, of the catalogue or the user's own.

Nothing of the data is loaded here; the user's own files are read as bytes, for their digest.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kdscope.data.tasks import SUITES, TASKS, expand, find_train_set
from kdscope.errors import ConfigError, DataError
from kdscope.study import catalogue
from kdscope.study.config_data import OwnData, OwnTask
from kdscope.study.references import UnresolvedError, existing, places

DATA_SUFFIXES = {".json", ".jsonl", ".csv", ".parquet"}
BYTES_EACH = 400  # of a record in a file that nobody has counted, for the cost models


@dataclass(frozen=True)
class DataRef:
    """A training set as steps see it.

    Attributes:
        name: as tables call it.
        fields: keyed: ``name, identity``, and ``source`` (column map, hub) for a mapping.
        path: the user's own file; never part of a key.
        count: examples, guessed from the bytes where nobody has counted.
    """

    name: str
    fields: dict[str, Any]
    path: str | None
    count: int


@dataclass(frozen=True)
class TaskRef:
    """A task as steps see it.

    Attributes:
        name: its id.
        fields: keyed: ``name, identity``, and ``own`` (form, options, columns, ...) for the user's own.
        path: the user's own file; never part of a key.
    """

    name: str
    fields: dict[str, Any]
    path: str | None = None

    @property
    def location(self) -> str:
        """Its key among the locations that steps are told."""
        return task_location(self.name)


def task_location(name: str) -> str:
    """The key of a task's file among the locations that steps are told."""
    return f"task {name}"


def data_ref(data: str | OwnData, folder: Path) -> DataRef:
    """Resolve a training set: a catalogue name, the path of a user's own file, or a mapping.

    Raises:
        UnresolvedError: none of them.
    """
    if isinstance(data, OwnData):
        return _mapped(data, folder)
    try:
        known = find_train_set(data).id
    except DataError as error:
        if existing(data, folder) is None and not _looks_like_a_file(data):
            raise UnresolvedError(str(error)) from None
    else:
        entry = catalogue.train_set(known)
        return DataRef(known, {"name": known, "identity": entry.identity}, None, entry.size)
    path = _data_file(data, folder)
    fields = {"name": path.name, "identity": f"sha256:{content_digest(path)}"}
    return DataRef(path.name, fields, str(path), _guess(path))


def task_refs(entries: Iterable[str | OwnTask], folder: Path) -> tuple[TaskRef, ...]:
    """Tasks in order, suites opened, each once; case does not matter for names of the catalogue.

    Raises:
        UnresolvedError: a name that is neither a task nor a suite, an own task without its file, or two
            own tasks of one name.
    """
    found: dict[str, TaskRef] = {}
    for entry in entries:
        if isinstance(entry, OwnTask):
            if entry.name in found:
                raise UnresolvedError(f"a second task called {entry.name!r}: names must differ")
            found[entry.name] = _own_task(entry, folder)
            continue
        for name in task_names([entry]):
            fields = {"name": name, "identity": catalogue.task(name).identity}
            found.setdefault(name, TaskRef(name, fields))
    return tuple(found.values())


def task_names(names: Sequence[str]) -> list[str]:
    """Tasks of a list of task and suite names, in order, each once; case does not matter.

    Raises:
        UnresolvedError: a name that is neither a task nor a suite.
    """
    for name in names:
        if _looks_like_a_file(name):
            raise UnresolvedError(
                f"{name!r} is a file: a task of your own is written as a mapping, "
                "{name: mine, path: " + name + ", form: number} (docs/data.md)"
            )
    try:
        return expand(names)
    except DataError as error:
        raise UnresolvedError(str(error)) from None


def asked_tasks(asked: str | Iterable[str | Mapping[str, Any]]) -> tuple[TaskRef, ...]:
    """The tasks that a verb without a study is given.

    Args:
        asked: names of tasks and suites (a text is split at its commas), mappings of own tasks as in a
            study, or YAML files that hold such mappings; paths in a file are relative to it.

    Raises:
        ConfigError: a name or file that is not there, or a mapping of another form.
    """
    found: dict[str, TaskRef] = {}
    for entry in asked.split(",") if isinstance(asked, str) else asked:
        entries, folder, origin = [entry], Path.cwd(), "tasks"
        if isinstance(entry, str) and Path(entry.strip()).suffix in {".yaml", ".yml"}:
            path = Path(entry.strip()).expanduser()
            entries, folder, origin = _entries_of(path), path.parent, str(path)
        given = [_entry(e, origin) for e in entries if not isinstance(e, str) or e.strip()]
        try:
            found |= {ref.name: ref for ref in task_refs(given, folder)}
        except UnresolvedError as error:
            raise ConfigError(str(error)) from None
    return tuple(found.values())


def _entries_of(path: Path) -> list[Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as a YAML file of tasks: {error}") from None
    return content if isinstance(content, list) else [content]


def _entry(entry: Any, origin: str) -> str | OwnTask:
    if isinstance(entry, str):
        return entry.strip()
    try:
        return OwnTask.model_validate(entry)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'a task'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise ConfigError(
            f"{origin}: a task of your own is not as it must be: {mistakes}"
        ) from None


def unpinned(data: Iterable[DataRef], tasks: Iterable[TaskRef]) -> list[str]:
    """Notes on sets of the hub whose content is not pinned by a revision."""
    sources = {ref.name: ref.fields.get("source", {}) for ref in data}
    sources |= {ref.name: ref.fields.get("own", {}) for ref in tasks}
    return [
        f"{name}: {source['hub']} has no revision, so that a change on the hub reruns nothing; pin it with "
        "revision: <commit>"
        for name, source in sources.items()
        if source.get("hub") and not source.get("revision")
    ]


def content_digest(path: Path) -> str:
    """SHA-256 of every byte of a data file: a change of one record is another data set."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _mapped(data: OwnData, folder: Path) -> DataRef:
    written = data.model_dump(mode="json", exclude_none=True, exclude={"path", "name"})
    source = {key: value for key, value in written.items() if value != {}}
    if data.path is None:
        name = data.name or str(data.hub)
        fields = {"name": name, "identity": _hub_identity(data), "source": source}
        return DataRef(name, fields, None, catalogue.UNKNOWN_SIZE)
    path = _data_file(data.path, folder)
    name = data.name or path.name
    fields = {"name": name, "identity": f"sha256:{content_digest(path)}", "source": source}
    return DataRef(name, fields, str(path), _guess(path))


def _own_task(entry: OwnTask, folder: Path) -> TaskRef:
    if entry.name in TASKS or entry.name in SUITES:
        raise UnresolvedError(
            f"{entry.name!r} is a task or suite of the catalogue: give yours another name"
        )
    own = entry.model_dump(mode="json", exclude={"path", "name"})
    own["columns"] = {k: v for k, v in own["columns"].items() if v is not None}
    path = _data_file(entry.path, folder) if entry.path is not None else None
    identity = _hub_identity(entry) if path is None else f"sha256:{content_digest(path)}"
    fields = {"name": entry.name, "identity": identity, "own": own}
    return TaskRef(entry.name, fields, None if path is None else str(path))


def _hub_identity(data: OwnData | OwnTask) -> str:
    return f"hub:{data.hub}@{data.revision or 'main'}/{data.config or ''}/{data.split or 'train'}"


def _looks_like_a_file(name: str) -> bool:
    return "/" in name or Path(name).suffix in DATA_SUFFIXES


def _data_file(name: str, folder: Path) -> Path:
    path = existing(name, folder)
    if path is None or not path.is_file():
        raise UnresolvedError(f"there is no file {name!r} (looked in {places(folder)})")
    if path.suffix.lower() not in DATA_SUFFIXES:
        endings = ", ".join(sorted(DATA_SUFFIXES))
        raise UnresolvedError(f"{path} is not a data file: its name must end in {endings}")
    if path.stat().st_size == 0:
        raise UnresolvedError(f"{path} is empty: there is not one record in it")
    return path.resolve()


def _guess(path: Path) -> int:
    return max(1, path.stat().st_size // BYTES_EACH)
