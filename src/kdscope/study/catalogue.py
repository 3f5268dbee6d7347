"""What the study engine asks of the data catalogue: identities, sizes, what is not at hand.

Of data it reads only the bytes of local files, for their identity, and it needs no library.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdscope.data import synthetic
from kdscope.data.pins import Pin
from kdscope.data.tasks import TASKS, TRAIN_SETS, Task, TrainSet, task_of
from kdscope.models.sources import cache_folder

# Sizes where the catalogue has counted none, for the cost models alone: as printed by the sets' authors.
_PRINTED_SIZES = {
    "math10k": 10_000, "math7k": 7_000, "math14k": 14_000, "commonsense15k": 15_000, "asdiv": 2305,
}  # fmt: skip
UNKNOWN_SIZE = 1000  # of anything else


class Entry(NamedTuple):
    """A data set of the catalogue: its identity for content keys and its size."""

    identity: str
    size: int


def task(name: str) -> Entry:
    """An evaluation task by its id."""
    found = TASKS[name]
    return Entry(_identity(found), _size(found, synthetic.TEST_SIZES.get(name)))


def train_set(name: str) -> Entry:
    """A training set by its id."""
    found = TRAIN_SETS[name]
    return Entry(_identity(found), _size(found, synthetic.TRAIN_SIZE))


def task_size(field: Mapping[str, Any]) -> int:
    """Number of items of a step's ``task`` field."""
    if "own" in field:
        return UNKNOWN_SIZE
    return _size(TASKS[field["name"]], synthetic.TEST_SIZES.get(field["name"]))


def answer_length(field: Mapping[str, Any]) -> int:
    """Tokens that a task's answers may have, where the study does not say."""
    return task_of(field).max_new_tokens


def absent(names: Iterable[str]) -> list[tuple[str, int | None]]:
    """Files that tasks and training sets need and that are not here, with their bytes if known."""
    sets = [TASKS.get(name) or TRAIN_SETS.get(name) for name in names]
    pins = {pin for found in sets if found for pin in found.pins if _local(pin) is None}
    return sorted((pin.path, pin.size) for pin in pins)


def _size(found: Task | TrainSet, generated: int | None) -> int:
    if found.reader == "synthetic":
        return generated or UNKNOWN_SIZE
    return found.count or _PRINTED_SIZES.get(found.id, UNKNOWN_SIZE)


def _identity(found: Task | TrainSet) -> str:
    """Local files count by their content, so that an edited copy is another data set."""
    if found.reader == "synthetic":
        return f"{found.identity}|v{synthetic.VERSION}"
    return "|".join((found.id, found.reader, *map(_pin_identity, found.pins)))


def _pin_identity(pin: Pin) -> str:
    path = _local(pin)
    if path is None:
        return pin.identity
    content = path.read_bytes()
    head = b"blob %d\0" % len(content)
    return f"git:{hashlib.sha1(head + content, usedforsecurity=False).hexdigest()}"


def _local(pin: Pin) -> Path | None:
    folder = os.environ.get("KDSCOPE_DATA")
    places = [Path(folder) / path for path in (pin.path, pin.upstream) if path] if folder else []
    return next((p for p in (*places, cache_folder() / pin.path) if p.is_file()), None)
