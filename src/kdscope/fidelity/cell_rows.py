"""Rows on one cell of a study: levels, paired differences, and what is uncertain about them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdscope.fidelity.comparison_rows import Row, cell_row, value_range
from kdscope.fidelity.levels import Level, Run
from kdscope.stats import bootstrap, flat, two_level
from kdscope.stats.bootstrap import Array, Design
from kdscope.stats.equivalence import tost_drawn
from kdscope.stats.records import Estimate

_KAPPAS = ("kappa", "error_consistency")
_OF_SHARES = (
    "difference_in_accuracy", "difference_in_accuracy_strict", "difference_in_accuracy_paper",
    "gain_in_agreement", "gain_in_agreement_when_teacher_wrong",
)  # fmt: skip


class CellRows:
    """Makes rows of one measure of one cell, per task and over all tasks."""

    def __init__(self, plan: Design, signature: str, seed: int) -> None:
        self.tasks, self.signature, self.seed = plan.labels, signature, seed

    def rows(
        self,
        measure: str,
        cell: Sequence[Run],
        levels: Sequence[Level | None],
        expected: Sequence[Level | None] = (),
        **fields: Any,
    ) -> list[Row]:
        """Rows of a level; ``expected`` is the agreement by chance behind a kappa, where it is known."""
        found = [level for level in levels if level is not None]
        if not found:
            return []
        rows = []
        for group, task in [(None, "all"), *enumerate(self.tasks)]:
            parts = [
                level.over_tasks() if group is None else level.of_task(group) for level in found
            ]
            count = sum(count_of(level, group) for level in found) / len(found)
            if np.isfinite([point for point, _ in parts]).any():
                estimate, _ = self.over_seeds(parts, count)
                if value_range(measure) == (0.0, 1.0):
                    estimate = flat.share(estimate)
                elif measure.endswith(_KAPPAS):
                    estimate = _kappa(estimate, expected, group, count)
                rows.append(cell_row(measure, cell[0].system, task, estimate, len(parts), **fields))
        return rows

    def pooled(
        self, measure: str, cell: Sequence[Run], levels: Sequence[Level | None], **fields: Any
    ) -> list[Row]:
        """A row over all tasks together."""
        found = [level for level in levels if level is not None]
        if not found:
            return []
        count = sum(count_of(level, None) for level in found) / len(found)
        estimate, _ = self.over_seeds([level.over_tasks() for level in found], count)
        return [
            cell_row(measure, cell[0].system, "all", flat.share(estimate), len(found), **fields)
        ]

    def differences(
        self, measure: str, cell: Sequence[Run], pairs: Sequence[tuple[Level, Level]], **fields: Any
    ) -> list[Row]:
        """Rows of paired differences (first less second), with the p of no difference."""
        rows = []
        for group, task in [(None, "all"), *enumerate(self.tasks)] if pairs else []:
            parts = [difference(first, second, group) for first, second in pairs]
            if not np.isfinite([point for point, _ in parts]).any():
                continue
            count = sum(count_of(first, group) for first, _ in pairs) / len(pairs)
            estimate, drawn = self.over_seeds(parts, count)
            estimate = estimate._replace(
                p=bootstrap.p_value(drawn), signature=estimate.signature + "|p:bootstrap-two-sided"
            )
            estimate = (flat.difference if measure in _OF_SHARES else flat.without)(estimate)
            rows.append(cell_row(measure, cell[0].system, task, estimate, len(parts), **fields))
        return rows

    def certainty(
        self, cell: Sequence[Run], pairs: Sequence[tuple[Run, Run]], margin: float
    ) -> list[Row]:
        """Whether accuracy is SFT's within the margin, and the errors from items and from seeds."""
        levels = [[run.levels.get(("", "", "accuracy")) for run in pair] for pair in pairs]
        both = [(a, b) for a, b in levels if a is not None and b is not None]
        rows = []
        for group, task in [(None, "all"), *enumerate(self.tasks)] if both else []:
            parts = [difference(first, second, group) for first, second in both]
            parts = [part for part in parts if np.isfinite(part[0])]
            if not parts:
                continue
            count = sum(count_of(first, group) for first, _ in both) / len(both)
            found, drawn = self.over_seeds(parts, count)
            equal = flat.equivalence(found, margin) or found._replace(
                p=tost_drawn(drawn, margin),
                signature=f"{found.signature}|tost|margin:{margin:g}|p:bootstrap",
            )
            named: dict[str, Any] = {"reference": "sft"}
            who = (cell[0].system, task)
            rows.append(
                cell_row("equivalence", *who, equal, len(parts), test="tost_bootstrap", **named)
            )
            errors = two_level.standard_errors(
                [point for point, _ in parts], np.column_stack([drawn for _, drawn in parts])
            )
            for name, error in zip(("items", "seeds"), errors, strict=True):
                if error is not None:
                    size = Estimate(error, n=found.n, signature=f"{self.signature}|se:{name}")
                    measure = f"standard_error_{name}"
                    rows.append(cell_row(measure, *who, size, len(parts), **named))
        return rows

    def over_seeds(
        self, parts: Sequence[tuple[float, Array]], count: float
    ) -> tuple[Estimate, Array]:
        """The mean over the runs where it is defined, with the interval over items and seeds."""
        defined = [part for part in parts if np.isfinite(part[0])]
        return two_level.over_seeds(
            [point for point, _ in defined],
            np.column_stack([drawn for _, drawn in defined]),
            seed=self.seed,
            signature=self.signature,
            n=round(count),
        )


def _kappa(
    found: Estimate, expected: Sequence[Level | None], group: int | None, count: float
) -> Estimate:
    """A kappa of 1 in all resamples: everything agrees, as far as so few items can tell."""
    levels = [level for level in expected if level is not None]
    if found.estimate == 1.0 and flat.is_flat(found) and levels:
        points = [(x.over_tasks() if group is None else x.of_task(group))[0] for x in levels]
        found = flat.beyond_chance(found, 1.0, float(np.mean(points)), round(count))
    return flat.without(found)


def count_of(level: Level, group: int | None) -> float:
    """Items behind a level: of one task, or of all."""
    return float(level.counts.sum() if group is None else level.counts[group])


def difference(first: Level, second: Level, group: int | None) -> tuple[float, Array]:
    """First less second, on one task or on the mean over the tasks where both are defined."""
    if group is not None:
        (a, drawn_a), (b, drawn_b) = first.of_task(group), second.of_task(group)
        return a - b, drawn_a - drawn_b
    return Level(
        first.points - second.points, first.drawn - second.drawn, first.counts
    ).over_tasks()
