"""How far chance alone moves one run's score, and which runs collapsed."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportions_ztest

from kdscope.paper.gains import Result
from kdscope.paper.grid import PAIR, Grid
from kdscope.paper.printed import tasks
from kdscope.paper.records import AVERAGE, Comparison, Refusal

HALF_WIDTH = "noise: 95 % half-width of one run's gain"
_Z = float(stats.norm.ppf(0.975))


class TaskNoise(NamedTuple):
    """The noise of one sample per item, from the number of items alone (seeds come on top).

    Attributes:
        standard_error: of one score, points.
        half_width: 95 % half-width of the difference of two unpaired scores, points.
        up, down: how many of the ``runs`` gains are beyond it (pooled two-proportion z test).
    """

    task: str
    n: int
    standard_error: float
    half_width: float
    up: int
    down: int
    runs: int


class Collapsed(NamedTuple):
    """A run whose average is below its SFT student by more than the 95 % half-width."""

    benchmark: str | None
    teacher: str
    student: str
    method: str
    temperature: float
    average: float
    sft: float
    difference: float
    half_width: float


def items_of(rows: pd.DataFrame, task: str) -> int | None:
    """How many items stand behind a task's score: the column ``n``, else the paper's test set."""
    if "n" in rows and rows["n"].notna().any():
        return int(rows["n"].dropna().iloc[0])
    return tasks()[task].n if task in tasks() else None


def task_noise(grid: Grid) -> list[TaskNoise]:
    """The noise of every task whose number of items is known."""
    found = []
    for task in [name for name in grid.tasks if name != AVERAGE]:
        rows = grid.of(task)
        n = items_of(rows, task)
        if n is None:
            continue
        p = float(rows["score"].mean()) / 100
        error = 100 * math.sqrt(p * (1 - p) / n)
        z = [_z(a, b, n) for a, b in rows[["score", "sft"]].dropna().itertuples(index=False)]
        up, down = sum(v > _Z for v in z), sum(v < -_Z for v in z)
        found.append(TaskNoise(task, n, error, _Z * math.sqrt(2) * error, up, down, len(z)))
    return found


def _z(score: float, sft: float, n: int) -> float:
    right = np.array([score, sft]) * n / 100
    if right.sum() in (0, 2 * n):
        return 0.0
    return float(proportions_ztest(right, np.array([n, n]))[0])


def noise(grid: Grid) -> Iterator[Result]:
    """The half-widths as comparisons; tasks of unknown size are named."""
    known = {item.task: item for item in task_noise(grid)}
    for task in [name for name in grid.tasks if name != AVERAGE]:
        if task not in known:
            yield Refusal(HALF_WIDTH, task, "the number of items is unknown: add the column n")
            continue
        item = known[task]
        yield Comparison(
            "corrected",
            1,
            grid.benchmark,
            HALF_WIDTH,
            task,
            estimate=item.half_width,
            n=item.n,
        )


def collapsed(grid: Grid) -> list[Collapsed]:
    """The runs that fell below their SFT student by more than noise, the deepest first."""
    names = [name for name in grid.tasks if name != AVERAGE]
    sizes = {task: items_of(grid.of(task), task) for task in names}
    if None in sizes.values():
        return []
    found = []
    cells = grid.cells[grid.cells["task"] != AVERAGE].dropna(subset=["sft"])
    for (teacher, student, method), run in cells.groupby([*PAIR, "method"], sort=True):  # pyright: ignore[reportGeneralTypeIssues]
        if len(run) < len(names):
            continue
        variance = sum(
            p * (1 - p) / (sizes[task] or 1)
            for task, *both in run[["task", "score", "sft"]].itertuples(index=False, name=None)
            for p in (value / 100 for value in both)
        )
        half = 100 * _Z * math.sqrt(variance) / len(names)
        average, sft = float(run["score"].mean()), float(run["sft"].mean())
        if average - sft < -half:
            found.append(
                Collapsed(
                    grid.benchmark,
                    teacher,
                    student,
                    method,
                    float(run["temperature"].iloc[0]),
                    average,
                    sft,
                    average - sft,
                    half,
                )
            )
    return sorted(found, key=lambda run: run.difference)
