"""Test sets, training sets and suites: what an entry of the catalogue is, and finding one by its name.

The entries themselves stand in ``catalogue.yaml``, in this folder.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import yaml

from kdscope.data.forms import canonical
from kdscope.data.pins import Pin, git_pin, hub_pin
from kdscope.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A test set.

    Attributes:
        id: lower-case id, as in study files and tables.
        title: as the paper and the report print it.
        form: number | letter | word | boolean | text | verifiable.
        reader: how the file is read: ``adapters``, ``mawps``, ``asdiv``, ``instruct``,
            ``self_instruct``, ``ifeval`` or ``synthetic``.
        pins: the file, and for ``mawps-clean`` the files whose questions are taken out.
        count: number of items; None where it has not been counted.
        licence: as its publisher states it.
        citation: authors, year and identifier.
        chance: expected accuracy of blind guessing in [0, 1]; None for free text.
        majority: accuracy of always giving the most frequent answer; None where it means nothing.
        options: the admissible answers where all items share them; None where each item lists its
            own.
        max_new_tokens: a length that holds the reference answers.
        faults: what a reader of the score must know; empty if nothing is known.
        statement: how a text chooses an option, for scoring by likelihood.
    """

    id: str
    title: str
    form: str
    reader: str
    pins: tuple[Pin, ...]
    count: int | None
    licence: str
    citation: str
    chance: float | None = None
    majority: float | None = None
    options: tuple[str, ...] | None = None
    max_new_tokens: int = 256
    faults: str = ""
    statement: str = "the correct answer is {}"

    @property
    def identity(self) -> str:
        """What pins the items, for content keys: id, reader and the pins of its files."""
        return "|".join((self.id, self.reader, *(pin.identity for pin in self.pins)))


@dataclass(frozen=True)
class TrainSet:
    """A training set.

    Attributes:
        id: as in study files.
        title: as the report prints it.
        reader: ``records`` (LLM-Adapters form and its kin), ``gsm8k``, ``self_instruct`` or
            ``synthetic``.
        pins: its one file; none for the embedded set.
        count: number of records; None where it has not been counted.
        licence: as its publisher states it.
        citation: authors, year and identifier.
        faults: what a user must know.
    """

    id: str
    title: str
    reader: str
    pins: tuple[Pin, ...]
    count: int | None
    licence: str
    citation: str
    faults: str = ""

    @property
    def identity(self) -> str:
        """What pins the examples, for content keys: id, reader and the pin of its file."""
        return "|".join((self.id, self.reader, *(pin.identity for pin in self.pins)))


def _entries(section: str, kind: Callable[..., T]) -> dict[str, T]:
    """The entries of a section of the catalogue, as records by id."""
    return {
        id: kind(
            id=id,
            pins=tuple(_pin(file) for file in entry.pop("files", ())),
            count=entry.pop("count", None),
            **{name: _value(name, value) for name, value in entry.items()},
        )
        for id, entry in _CATALOGUE[section].items()
    }


def _pin(file: Mapping[str, Any]) -> Pin:
    if "hub" in file:
        return hub_pin(file["hub"], file["file"], file.get("revision"))
    repository = _CATALOGUE["repositories"][file["in"]]
    return git_pin(file["path"], repository, file["file"], file.get("blob"), file.get("size"))


def _value(name: str, value: Any) -> Any:
    """Shares are written as fractions (``63/254``), options as lists."""
    if name in ("chance", "majority"):
        return float(Fraction(value))
    return tuple(value) if name == "options" else value


_CATALOGUE: dict[str, dict[str, Any]] = yaml.load(
    (Path(__file__).parent / "catalogue.yaml").read_text(encoding="utf-8"),
    Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader),
)
TASKS: dict[str, Task] = _entries("tests", Task)
TRAIN_SETS: dict[str, TrainSet] = _entries("training", TrainSet)
SUITES: dict[str, tuple[str, ...]] = {
    name: tuple(tasks) for name, tasks in _CATALOGUE["suites"].items()
}
_ALIASES: dict[str, str] = _CATALOGUE["aliases"]


def find_task(name: str) -> Task:
    """A task by its id in any case, or another known spelling. Raises DataError with the ids."""
    return _find(name, TASKS, "task")


def task_of(field: Mapping[str, Any]) -> Task:
    """The task that a step's ``task`` field describes: the catalogue's, or the user's own."""
    own = field.get("own")
    if own is None:
        return find_task(field["name"])
    options = tuple(canonical(name, own["form"]) or name for name in own["options"] or ()) or None
    if own["form"] == "boolean":
        options = ("true", "false")
    return Task(
        field["name"],
        field["name"],
        own["form"],
        "own",
        (),
        None,
        "the user's own",
        "",
        chance=1 / len(options) if options else 0.0 if own["form"] == "number" else None,
        options=options,
        max_new_tokens=own["max_new_tokens"],
        statement=own["statement"],
    )


def find_train_set(name: str) -> TrainSet:
    """A training set by its id, in any case. Raises DataError with the ids."""
    return _find(name, TRAIN_SETS, "training set")


def expand(names: str | Iterable[str]) -> list[str]:
    """Task ids from ids and suite names, in order and without repetition."""
    names = [names] if isinstance(names, str) else list(names)
    ids = [task for name in names for task in SUITES.get(name.lower(), (name,))]
    return list(dict.fromkeys(_find(name, TASKS, "task", (*TASKS, *SUITES)).id for name in ids))


def _find(name: str, registry: dict[str, T], kind: str, choices: Iterable[str] = ()) -> T:
    key = name.lower()
    key = _ALIASES.get(key, key)
    if key in registry:
        return registry[key]
    choices = list(choices) or list(registry)
    near = difflib.get_close_matches(key, choices, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"there is no {kind} {name!r}{hint} Choose one of: {', '.join(choices)}")
