"""The corrected analysis: every question of Tables 1 to 5, asked of what is really independent."""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import pandas as pd

from kdscope.paper import alignment, covariates, gains
from kdscope.paper.gains import Result, attempt
from kdscope.paper.grid import PAIR, Grid
from kdscope.paper.noise import collapsed, noise
from kdscope.paper.reading import SFT
from kdscope.paper.records import Comparison, Refusal
from kdscope.stats.multiplicity import adjust
from kdscope.stats.spread import pooled_sd

SEEDS = "spread between seeds (standard deviation)"
WITHOUT = ", collapsed runs left out"


class Corrected(NamedTuple):
    """What the data carry, and what they do not."""

    comparisons: list[Comparison]
    refusals: list[Refusal]


def primary(table: int, printed_test: str) -> str:
    """The corrected test that answers the question of one of the paper's tests."""
    if table == 1:
        if printed_test == "t-test all methods":
            return gains.GAIN
        if printed_test == "ANOVA all methods":
            return gains.FRIEDMAN
        return gains.gain_of(printed_test.removeprefix("t-test "))
    return {
        2: covariates.TEACHER,
        3: covariates.SIZE,
        4: alignment.GAIN_AGAINST_GAIN,
        5: alignment.FIDELITY,
    }[table]


def corrected_tests(
    grid: Grid, aligned: Grid, margin: float, runs: pd.DataFrame | None = None
) -> Corrected:
    """Run every test that the grid carries.

    Args:
        grid: one cell per (pair, method, task).
        aligned: the cells whose agreement and fidelity were measured on the very run beside them.
        margin: equivalence margin in points, fixed beforehand.
        runs: the scores before seeds were averaged, for the spread between seeds.
    """
    results = list(
        chain(
            gains.gains(grid),
            _gains_without_collapsed(grid),
            gains.leaked_and_clean(grid),
            gains.methods(grid, margin),
            _seeds(grid, runs),
            noise(grid),
            covariates.teacher(grid),
            covariates.size(grid),
            alignment.agreement(aligned),
            _agreement_without_collapsed(aligned),
            alignment.fidelity(aligned),
        )
    )
    done = [r for r in results if isinstance(r, Comparison)]
    return Corrected(done, [r for r in results if isinstance(r, Refusal)])


def adjust_primary(comparisons: list[Comparison]) -> list[Comparison]:
    """Holm over the whole family: the primary test of each question, on all tasks given."""
    names = {primary(1, "t-test all methods"), primary(1, "ANOVA all methods")}
    names |= {primary(table, "") for table in (2, 3, 4, 5)}
    chosen = [
        i
        for i, c in enumerate(comparisons)
        if c.test in names or (c.test.startswith("gain of ") and c.p_adjusted is None)
    ]
    adjusted = adjust([comparisons[i].p for i in chosen])
    found = list(comparisons)
    for i, p in zip(chosen, adjusted, strict=True):
        found[i] = found[i]._replace(p_adjusted=p)
    return found


def _seeds(grid: Grid, runs: pd.DataFrame | None) -> Iterator[Result]:
    if runs is None or runs["seed"].nunique() < 2:
        yield Refusal(
            SEEDS, "average", "the table has one seed; training noise needs three or more"
        )
        return
    keys = [*PAIR, "method", "temperature"]
    for task in grid.tasks:
        rows = runs[(runs["task"] == task) & (runs["method"] != SFT)]
        groups = [group["score"].to_numpy() for _, group in rows.groupby(keys)]
        yield attempt(1, grid, SEEDS, task, pooled_sd, groups)


def _kept(grid: Grid) -> Grid:
    """The grid without its collapsed runs."""
    lost = {(run.teacher, run.student, run.method) for run in collapsed(grid)}
    keys = grid.cells[[*PAIR, "method"]].itertuples(index=False, name=None)
    return grid._replace(cells=grid.cells[[key not in lost for key in keys]])


def _gains_without_collapsed(grid: Grid) -> Iterator[Result]:
    kept = _kept(grid)
    if len(kept.cells) < len(grid.cells):
        for task in grid.tasks:
            name = gains.GAIN + WITHOUT
            yield attempt(1, grid, name, task, gains.students_t, kept.of(task))


def _agreement_without_collapsed(aligned: Grid) -> Iterator[Result]:
    if "agreement" not in aligned.cells:
        return
    kept = _kept(aligned)
    if len(kept.cells) < len(aligned.cells):
        yield from alignment.agreement(kept, WITHOUT)
