"""The catalogue as rows, for ``kdscope data ls``, and its downloads, for ``kdscope data fetch``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kdscope.data.downloads import Progress, fetch
from kdscope.data.pins import Pin
from kdscope.data.sources import find, locate
from kdscope.data.tasks import SUITES, TASKS, TRAIN_SETS, Task, TrainSet, find_task, find_train_set
from kdscope.errors import DataError


def catalogue() -> list[dict[str, Any]]:
    """One row per task and training set.

    Columns: ``id, kind, title, form, count, chance, majority, suites, licence, citation, faults,
        source,
    here``; ``here`` says whether all its files are on this machine.
    """
    return [_row(data) for data in (*TASKS.values(), *TRAIN_SETS.values())]


def _row(data: Task | TrainSet) -> dict[str, Any]:
    test = data if isinstance(data, Task) else None
    return {
        "id": data.id,
        "kind": "test" if test else "train",
        "title": data.title,
        "form": test.form if test else None,
        "count": data.count,
        "chance": test.chance if test else None,
        "majority": test.majority if test else None,
        "suites": [suite for suite, tasks in SUITES.items() if test and data.id in tasks],
        "licence": data.licence,
        "citation": data.citation,
        "faults": data.faults,
        "source": [pin.url or f"hub:{pin.hub}/{pin.upstream}" for pin in data.pins],
        "here": all(find(pin) is not None for pin in data.pins),
    }


def fetch_all(
    names: Sequence[str], say: Callable[[str], None] = lambda _: None
) -> dict[str, list[Path]]:
    """Fetch what tasks, training sets and suites need and is not here; paths by id.

    Args:
        names: ids and suites.
        say: takes a line about each transfer, at every tenth of it.
    """
    chosen = dict.fromkeys(data for name in names for data in resolve(name))
    return {data.id: [_ready(pin, data.id, say) for pin in data.pins] for data in chosen}


def _ready(pin: Pin, id: str, say: Callable[[str], None]) -> Path:
    return locate(pin, id, id) if find(pin) else fetch(pin, _tenths(pin.path, say))


def _tenths(name: str, say: Callable[[str], None]) -> Progress:
    """A progress callback that speaks at each tenth of the file, or at every 10 MB."""
    told = -1

    def progress(done: int, total: int | None) -> None:
        nonlocal told
        tenth = 10 * done // total if total else done // 10_000_000
        if tenth > told:
            told = tenth
            say(f"{name}: {done:,} of {total:,} bytes" if total else f"{name}: {done:,} bytes")

    return progress


def resolve(name: str) -> list[Task | TrainSet]:
    """The catalogue entries that a name stands for: a task, a training set or a suite."""
    key = name.lower()
    if key in SUITES:
        return [TASKS[task] for task in SUITES[key]]
    for look_up in (find_task, find_train_set):
        try:
            return [look_up(name)]
        except DataError:
            continue
    raise DataError(
        f"there is no data set {name!r}. Tests: {', '.join(TASKS)}. Training sets: "
        f"{', '.join(TRAIN_SETS)}. Suites: {', '.join(SUITES)}"
    )


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """The catalogue for people: one line per entry, its known faults below it."""
    lines = [f"{'id':<20}{'kind':<7}{'items':>8}  {'answer':<11}{'chance':>7}  {'here':<5}licence"]
    for row in rows:
        count = f"{row['count']:,}" if row["count"] is not None else "-"
        chance = f"{row['chance']:.0%}" if row["chance"] is not None else "-"
        lines.append(
            f"{row['id']:<20}{row['kind']:<7}{count:>8}  {row['form'] or '-':<11}{chance:>7}  "
            f"{'yes' if row['here'] else 'no':<5}{row['licence']}"
        )
        if row["faults"]:
            lines.append(f"{'':<20}! {row['faults']}")
    suites = [f"{name:<20}{', '.join(tasks)}" for name, tasks in SUITES.items()]
    return "\n".join([*lines, "", "suites", *suites])
