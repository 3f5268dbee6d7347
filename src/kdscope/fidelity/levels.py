"""Every measure of every run of a study, on its data and in each resample of its items.

The runs of one student are resampled together, so that all their differences are paired by item.
Items that ask the same question are drawn together, and tasks keep their size.
"""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kdscope.fidelity import percentiles
from kdscope.fidelity.columns import (
    MEASURES,
)
from kdscope.fidelity.inheritance import GROUPED
from kdscope.fidelity.percentiles import Tail
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, Design, Draws

CELL = ("teacher", "student", "method", "settings")
SYSTEM = ("model", *CELL, "seed")


@dataclass(frozen=True)
class Level:
    """One measure of one run: [G] on the data, [R, G] in the resamples, [G] items behind it."""

    points: Array
    drawn: Array
    counts: Array

    def over_tasks(self) -> tuple[float, Array]:
        """The mean over the tasks where it is defined, and the same in each resample [R]."""
        defined = np.isfinite(self.points)
        if not defined.any():
            return float("nan"), np.full(len(self.drawn), np.nan)
        drawn = self.drawn[:, defined]
        if np.isnan(drawn).all(axis=0).any():  # a task without an interval leaves the mean without
            return float(self.points[defined].mean()), np.full(len(drawn), np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a resample without any defined task
            average = drawn.mean(axis=1) if np.isfinite(drawn).all() else np.nanmean(drawn, axis=1)
        return float(self.points[defined].mean()), average

    def of_task(self, group: int) -> tuple[float, Array]:
        """One task."""
        return float(self.points[group]), self.drawn[:, group]


@dataclass
class Run:
    """One evaluated system: a cell with its seed.

    Attributes:
        system: the columns of :data:`SYSTEM`.
        links: (relation, reference model) of its fidelity rows.
        columns: name -> [I] numbers per item of the study.
        groups: names of the groups of items, where errors are counted by group.
        tails: (reference, percentile's measure) -> what its level is made of.
        levels: (relation, reference, measure) -> level; relation and reference are empty for levels
            of the run itself.
    """

    system: dict[str, Any]
    links: list[tuple[str, str]] = field(default_factory=list)
    columns: dict[str, Array] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    tails: dict[tuple[str, str], Tail] = field(default_factory=dict)
    levels: dict[tuple[str, str, str], Level] = field(default_factory=dict)

    def link(self, relation: str, reference: str, columns: Mapping[str, Array]) -> None:
        """Note the columns [I] of a relation to a reference."""
        self.links.append((relation, reference))
        prefix = _prefix(relation, reference)
        self.columns |= {prefix + name: values for name, values in columns.items()}

    def linked(self, relation: str, reference: str) -> dict[str, Array]:
        """The columns [I] of a relation under their own names."""
        start = _prefix(relation, reference)
        return {n.removeprefix(start): v for n, v in self.columns.items() if n.startswith(start)}

    @property
    def cell(self) -> tuple[Any, ...]:
        """The cell that it belongs to."""
        return tuple(self.system[name] for name in CELL)


def _prefix(relation: str, reference: str) -> str:
    return f"{relation}\0{reference}\0"


def add_levels(runs: Sequence[Run], plan: Design, *, resamples: int, seed: int) -> None:
    """Fill the levels of some runs, all under the same resamples."""
    columns = {f"{i}\0{name}": v for i, run in enumerate(runs) for name, v in run.columns.items()}
    draws = bootstrap.draw(columns, plan, resamples=resamples, seed=seed)
    for i, run in enumerate(runs):
        for relation, reference in [("", ""), *run.links]:
            prefix = f"{i}\0" + (_prefix(relation, reference) if relation else "")
            for name, (statistic, behind) in MEASURES[relation].items():
                counts = draws.observed[:, draws.place[prefix + behind]]
                if counts.any():
                    point, drawn = draws.by_group(statistic, prefix)
                    if relation == "tokens":
                        drawn = _widened(point, drawn, counts)
                    run.levels[relation, reference, name] = Level(point, drawn, counts)
            if relation == "groups":
                _add_group_levels(run, reference, draws, prefix)
        for (reference, name), tail in run.tails.items():
            prefix, on = (
                f"{i}\0" + _prefix("tokens", reference),
                name.split("_on_")[1].split("_")[0],
            )
            found = percentiles.of_draws(tail, draws, prefix + name, f"{prefix}tokens_on_{on}")
            texts = draws.observed[:, draws.place[f"{prefix}texts_on_{on}"]]
            run.levels["tokens", reference, name] = Level(*found, texts)


def _add_group_levels(run: Run, reference: str, draws: Draws, prefix: str) -> None:
    """Errors by group of items, over all tasks together."""
    for group in run.groups:
        for name, columns in GROUPED.items():
            top, bottom = (f"{group}\0{column}" for column in columns)
            count = draws.observed[:, draws.place[prefix + bottom]].sum()
            if count:
                point, drawn = draws.apply(bootstrap.ratio(top, bottom), prefix)
                level = Level(np.array([point]), drawn[:, None], np.array([count]))
                run.levels["groups", reference, f"{name}\0{group}"] = level


def _widened(point: Array, drawn: Array, items: Array) -> Array:
    """Resamples as far from the point as the few texts of a comparison of distributions ask."""
    wide = np.array([bootstrap.stretch(round(count)) for count in items])
    return point + (drawn - point) * wide
