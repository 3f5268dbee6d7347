"""What a study of this size can see: run against run, and the items and seeds that it would take."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdscope.errors import NotEstimableError
from kdscope.fidelity.comparison_rows import Row, adjust_family, study_row
from kdscope.fidelity.levels import Run
from kdscope.stats.bootstrap import Array, Design
from kdscope.stats.multiplicity import adjust
from kdscope.stats.paired import mcnemar
from kdscope.stats.power import needed, smallest_difference
from kdscope.stats.records import Estimate
from kdscope.stats.spread import pooled_sd

POINT = 0.01  # the difference in accuracy that power is stated for
LEVEL = 0.05
Pairs = Sequence[tuple[Run, Run]]


class Both(NamedTuple):
    """Two runs on the items of one task where both were graded."""

    first: Array
    second: Array

    @property
    def discordant(self) -> float:
        """Share of items that exactly one of the two has right."""
        return float(np.mean(self.first != self.second))

    @property
    def difference(self) -> float:
        """Accuracy of the first less that of the second."""
        return float(self.first.mean() - self.second.mean())


def by_task(first: Run, second: Run, plan: Design) -> dict[str, Both]:
    """The two runs task by task; tasks on which none was graded are absent."""
    known = (first.columns["graded_run"] > 0) & (second.columns["graded_run"] > 0)
    right = [run.columns["right"] for run in (first, second)]
    found = {}
    for g, task in enumerate(plan.labels):
        rows = known & (plan.group == g)
        if rows.any():
            found[task] = Both(*(own[rows] for own in right))
    return found


def mcnemar_rows(pairs: Pairs, plan: Design) -> list[Row]:
    """Exact McNemar of each run with the SFT run of the same student, task by task.

    Two runs are all that the test knows of: it says whether these two differ on such questions, not
    whether their methods do. Holm's p is taken within a run's method and task, over its seeds.
    """
    rows = []
    for run, base in pairs:
        for task, both in by_task(run, base, plan).items():
            found = mcnemar(both.first, both.second)
            named = {**run.system, "task": task, "reference": "sft"}
            del named["model"]
            rows.append(study_row("run", "difference_in_accuracy", "mcnemar", found, **named))
    families: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("teacher", "student", "method", "settings", "task"))
        families.setdefault(key, []).append(row)
    for family in families.values():
        adjust_family(family)
    return rows


def power_rows(pairs: Pairs, plan: Design) -> list[Row]:
    """To see one point: items, and seeds where the study has several; and what its items can show.

    Args:
        pairs: the distilled runs, each with the SFT run of its student and seed.
        plan: the items' tasks.

    The discordant share is the mean over all pairs, the spread over seeds is pooled over cells;
    ``all`` takes the items of all tasks together.
    """
    found: dict[str, list[tuple[tuple[Any, ...], Both]]] = {}
    for run, base in pairs:
        own = by_task(run, base, plan)
        if len(own) > 1:
            own = {"all": Both(*map(np.concatenate, zip(*own.values(), strict=True))), **own}
        for task, both in own.items():
            found.setdefault(task, []).append((run.cell, both))
    rows: list[Row] = []
    for task, own in found.items():
        discordant = float(np.mean([both.discordant for _, both in own]))
        rows += _power(task, discordant, _seed_sd(own), len(own[0][1].first))
    return rows


def _seed_sd(own: Iterable[tuple[tuple[Any, ...], Both]]) -> float | None:
    """Standard deviation over seeds of the paired difference, pooled over cells."""
    cells: dict[tuple[Any, ...], list[float]] = {}
    for cell, both in own:
        cells.setdefault(cell, []).append(both.difference)
    try:
        return pooled_sd(list(cells.values())).estimate
    except NotEstimableError:
        return None


def _power(task: str, discordant: float, seed_sd: float | None, items: int) -> list[Row]:
    spread = "unknown" if seed_sd is None else f"{seed_sd:.4g}"
    basis = f"discordant:{discordant:.4g}|power:80|level:95"
    rows = []
    try:
        takes = needed(POINT, discordant, seed_sd)
        signature = f"power:mcnemar|difference:{POINT:g}|{basis}|seed-sd:{spread}"
        numbers = {"items_needed": takes.items, "seeds_needed": takes.seeds}
        rows += [
            study_row(
                "study", name, "power", Estimate(value, n=items, signature=signature), task=task
            )
            for name, value in numbers.items()
            if value is not None
        ]
    except NotEstimableError:
        pass
    try:
        least = smallest_difference(items, discordant)
        found = Estimate(least, n=items, signature=f"power:mcnemar|{basis}|seeds:none")
        rows.append(study_row("study", "smallest_difference", "power", found, task=task))
    except NotEstimableError:
        pass
    return rows


def family_rows(rows: Sequence[Row]) -> list[Row]:
    """How many of a family of p-values are below 5 %: as they are, after BH, after Holm.

    A family is one measure and test on one task over all cells. ``n`` is its size, ``statistic``
    the number below 5 %, ``estimate`` their share.
    """
    families: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row["scope"] == "cell" and row["p"] is not None:
            key = (row["measure"], row["test"], row["task"])
            families.setdefault(key, []).append(row["p"])
    found = []
    for (measure, test, task), p in families.items():
        if len(p) < 2:
            continue
        for kind, values in _adjusted(p).items():
            below = sum(value is not None and value < LEVEL for value in values)
            count = Estimate(
                below / len(p),
                statistic=below,
                n=len(p),
                signature=f"family:{test}|below:{LEVEL:g}",
            )
            found.append(study_row("study", measure, f"family_{kind}", count, task=task))
    return found


def _adjusted(p: Sequence[float]) -> Mapping[str, Sequence[float | None]]:
    return {"unadjusted": p, "bh": adjust(p, "bh"), "holm": adjust(p, "holm")}
