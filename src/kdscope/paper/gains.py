"""Table 1 again: does distillation help, and do the methods differ?

What is independent here is the student (6 in the paper), not the run (33): runs share their
baseline and their teachers. Methods are compared within the same pair of models.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from kdscope.errors import NotEstimableError
from kdscope.paper.grid import PAIR, Grid, require
from kdscope.paper.printed import tasks
from kdscope.paper.records import AVERAGE, Comparison, Refusal, comparison
from kdscope.stats.classic import mean_t, paired_t
from kdscope.stats.equivalence import tost_paired
from kdscope.stats.mixed import treatment_contrasts, treatment_effect
from kdscope.stats.multiplicity import adjust
from kdscope.stats.paired import sign_flip
from kdscope.stats.ranks import friedman, friedman_permutation, nemenyi
from kdscope.stats.records import Estimate

GAIN = "gain over SFT (mean over students)"
FRIEDMAN = "methods: Friedman over pairs"
PERMUTED = f"{FRIEDMAN}, permutation p"
MIXED = "methods: mixed model, pair random"
Result = Comparison | Refusal


def gain_of(method: str) -> str:
    """The name of the test of one method's gain."""
    return f"gain of {method} over SFT (mean over students)"


def attempt(
    table: int, grid: Grid, test: str, task: str, make: Callable[..., Estimate], *arguments: Any
) -> Comparison | Refusal:
    """``make(*arguments)`` as a comparison, or why these numbers cannot carry it."""
    try:
        return comparison("corrected", table, grid.benchmark, test, task, make(*arguments))
    except NotEstimableError as error:
        return Refusal(test, task, str(error))


def by_student(rows: pd.DataFrame, name: str = "gain") -> pd.Series:
    """Mean per student: of a pair's methods first, then of the student's pairs."""
    require(rows, name)
    pairs = rows.dropna(subset=[name]).groupby(PAIR, sort=True)[name].mean()
    return pairs.groupby("student", sort=True).mean()


def students_t(rows: pd.DataFrame, name: str = "gain") -> Estimate:
    """Mean over students with Student's t, two-sided."""
    return mean_t(_of_two_or_more(by_student(rows, name)))


def _flips(rows: pd.DataFrame) -> Estimate:
    return sign_flip(_of_two_or_more(by_student(rows)))


def _of_two_or_more(means: pd.Series) -> pd.Series:
    if len(means) < 2:
        raise NotEstimableError(
            "the table has one student; a mean over students needs at least two"
        )
    return means


def _permuted(blocks: pd.DataFrame) -> Estimate:
    return friedman_permutation(blocks, np.random.default_rng(0))


def gains(grid: Grid) -> Iterator[Result]:
    """The gain over SFT, of all methods and of each, per task."""
    for task in grid.tasks:
        rows = grid.of(task)
        yield attempt(1, grid, GAIN, task, students_t, rows)
        for method in grid.methods:
            own = grid.of(task, method)
            yield attempt(1, grid, gain_of(method), task, students_t, own)
        name = "gain over SFT: sign flips of students"
        yield attempt(1, grid, name, task, _flips, rows)


def leaked_and_clean(grid: Grid) -> Iterator[Result]:
    """The same gain on tasks whose test questions stand in the training set, and on the others."""
    names = [task for task in grid.tasks if task in tasks()]
    leaked = [task for task in names if tasks()[task].leaked]
    clean = [task for task in names if not tasks()[task].leaked]
    if not leaked or not clean:
        return
    keys = [*PAIR, "method"]
    parts = {
        kind: grid.cells[grid.cells["task"].isin(group)].groupby(keys)["gain"].mean()
        for kind, group in (("leaked", leaked), ("clean", clean))
    }
    table = pd.DataFrame(parts).assign(difference=lambda t: t["leaked"] - t["clean"]).reset_index()
    for kind, group in (("leaked", leaked), ("clean", clean)):
        name = f"gain over SFT, {kind} tasks ({', '.join(group)})"
        yield attempt(1, grid, name, AVERAGE, students_t, table, kind)
    name = "gain over SFT, leaked minus clean tasks"
    yield attempt(1, grid, name, AVERAGE, students_t, table, "difference")


def methods(grid: Grid, margin: float) -> Iterator[Result]:
    """Do the methods differ within the same pair, by how much, and are they equal within a margin?

    Scores serve as well as gains: a pair's methods share one baseline.
    """
    if len(grid.methods) < 2:
        yield Refusal(
            "comparison of methods", AVERAGE, f"the table has one method ({grid.methods[0]})"
        )
        return
    for task in grid.tasks:
        rows = grid.of(task)
        blocks = rows.pivot(index=PAIR, columns="method", values="score")
        full = blocks.dropna()
        yield attempt(1, grid, FRIEDMAN, task, friedman, full)
        yield attempt(1, grid, PERMUTED, task, _permuted, full)
        pair = rows.assign(pair=rows["teacher"] + " > " + rows["student"])
        columns = ("score", "method", "pair")
        rng = np.random.default_rng(0)
        yield attempt(1, grid, MIXED, task, treatment_effect, pair, *columns, rng)
        yield from _contrasts(grid, task, blocks, margin)
        if task == AVERAGE:
            yield from _post_hoc(grid, task, full, pair)


def _contrasts(grid: Grid, task: str, blocks: pd.DataFrame, margin: float) -> Iterator[Result]:
    names = [(a, b) for i, a in enumerate(blocks) for b in list(blocks)[i + 1 :]]
    tost = f"methods: {{}} = {{}} within {margin:g} points (TOST)"
    kinds = {"methods: {} - {}": (paired_t, ()), tost: (tost_paired, (margin,))}
    for name, (test, more) in kinds.items():
        results = []
        for a, b in names:
            both = blocks[[a, b]].dropna()
            title = name.format(a, b)
            results.append(attempt(1, grid, title, task, test, both[a], both[b], *more))
        done = [r for r in results if isinstance(r, Comparison)]
        adjusted = dict(zip([r.test for r in done], adjust([r.p for r in done]), strict=True))
        for r in results:
            yield r._replace(p_adjusted=adjusted[r.test]) if isinstance(r, Comparison) else r


def _post_hoc(grid: Grid, task: str, full: pd.DataFrame, pair: pd.DataFrame) -> Iterator[Result]:
    """Nemenyi's p of every pair of methods, and the mixed model's differences."""
    try:
        for i, j, p in nemenyi(full):
            a, b = str(full.columns[i]), str(full.columns[j])
            yield Comparison(
                "corrected",
                1,
                grid.benchmark,
                f"methods: {a} - {b}, Nemenyi",
                task,
                estimate=float(full[a].mean() - full[b].mean()),
                p=p,
                p_adjusted=p,
                n=len(full),
            )
        for a, b, estimate in treatment_contrasts(pair, "score", "method", "pair"):
            name = f"methods: {a} - {b}, mixed model"
            yield comparison("corrected", 1, grid.benchmark, name, task, estimate)
    except NotEstimableError:
        return  # Friedman and the mixed model have already said why
