"""Do a study's methods differ, does one beat SFT from run to run, and are any two as good?

A block is a student with its teacher on one task, a treatment a method, its score the mean accuracy
over seeds. Blocks share students and tasks, so they are fewer in truth than in number: the
signatures say what was counted.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from kdscope.fidelity.accuracies import Blocks, Treatment, accuracies, blocks, main_runs
from kdscope.fidelity.comparison_rows import Row, adjust_family, study_row, where_estimable
from kdscope.fidelity.levels import Run
from kdscope.stats import ranks
from kdscope.stats.bootstrap import Design
from kdscope.stats.effect import cohen_dz
from kdscope.stats.equivalence import tost_paired
from kdscope.stats.mixed import treatment_contrasts, treatment_effect
from kdscope.stats.proportions import wilson
from kdscope.stats.records import Estimate
from kdscope.stats.runs import probability_of_improvement

_FEWEST_BLOCKS = 3
_COUNTED = "|blocks:student-task"


def method_tests(
    runs: Sequence[Run], plan: Design, cell_rows: Sequence[Row], *, margin: float, seed: int
) -> list[Row]:
    """Rows of the tests of methods against each other, over all tasks and within each.

    Args:
        runs: every run of the study; untuned students and ablations are left out.
        plan: the items' tasks.
        cell_rows: rows on the cells, of which the collapsed ones are counted by method.
        margin: of equivalence, a fraction, fixed beforehand.
        seed: of permutations and resamples.

    What a study does not permit (two methods, one block) has no row.
    """
    frame = accuracies(main_runs(runs), plan)
    rows: list[Row] = []
    tasks = list(dict.fromkeys(frame["task"]))
    for task in ["all", *(tasks if len(tasks) > 1 else [])]:
        part = blocks(frame if task == "all" else frame[frame["task"] == task])
        if len(part.table) < _FEWEST_BLOCKS:
            continue
        rows += _rank_rows(part, task, seed)
        rows += _pairwise(part, task, margin, seed)
        rows += _over_sft(part, task, seed)
    return rows + _collapse_rates(cell_rows)


# -- ranks -----------------------------------------------------------------------------------------


def _rank_rows(part: Blocks, task: str, seed: int) -> list[Row]:
    """Friedman, mean ranks, Nemenyi's pairs and critical difference."""

    def make() -> list[Row]:
        table = part.table
        rows = [
            _study("accuracy", "friedman", ranks.friedman(table), task),
            _study(
                "accuracy",
                "friedman_permutation",
                ranks.friedman_permutation(table, np.random.default_rng(seed)),
                task,
            ),
        ]
        count, width = table.shape
        reach = Estimate(
            ranks.critical_difference(width, count),
            n=count,
            signature="nemenyi:95|studentized-range",
        )
        rows.append(_study("critical_difference", "nemenyi", reach, task))
        means = ranks.mean_ranks(table)
        for treatment, mean in zip(part.treatments, means, strict=True):
            found = Estimate(float(mean), n=count, signature="rank:1-is-best|ties:mean")
            rows.append(_method("mean_rank", "friedman", found, task, treatment))
        for i, j, p in ranks.nemenyi(table):
            gap = Estimate(
                float(means[i] - means[j]), p=p, n=count, signature=f"nemenyi|pairs-of:{width}"
            )
            first, second = part.treatments[i], part.treatments[j]
            rows.append(
                _method(
                    "difference_in_rank", "nemenyi", gap, task, first,
                    reference=label(second), p_adjusted=p,
                )
            )  # fmt: skip
        return rows

    return where_estimable(make)


# -- pairs of methods ------------------------------------------------------------------------------


def _pairwise(part: Blocks, task: str, margin: float, seed: int) -> list[Row]:
    """Every two methods: difference with the block as random effect, and equivalence."""
    long = pd.DataFrame(
        [
            {"accuracy": value, "method": i, "block": b}
            for b, row in enumerate(part.table)
            for i, value in enumerate(row)
        ],
        columns=["accuracy", "method", "block"],
    )
    names = part.treatments

    def overall() -> list[Row]:
        rng = np.random.default_rng(seed)
        found = treatment_effect(long, "accuracy", "method", "block", rng)
        return [_study("accuracy", "mixed_model", found, task)]

    def contrasts() -> list[Row]:
        return [
            _method(
                "difference_in_accuracy", "mixed_contrast", found.estimate, task,
                names[int(found.first)], reference=label(names[int(found.second)]),
            )
            for found in treatment_contrasts(long, "accuracy", "method", "block")
        ]  # fmt: skip

    pairs = where_estimable(contrasts)
    equal: list[Row] = []
    for i, j in combinations(range(len(names)), 2):
        equal += where_estimable(_bound(_equivalence, part, i, j, task, margin))
    for family in (pairs, equal):
        adjust_family(family)
    return [*where_estimable(overall), *pairs, *equal]


def _equivalence(part: Blocks, i: int, j: int, task: str, margin: float) -> list[Row]:
    found = tost_paired(part.table[:, i], part.table[:, j], margin)
    reference = label(part.treatments[j])
    return [
        _method("equivalence", "tost", found, task, part.treatments[i], reference=reference),
    ]


# -- each method against SFT -----------------------------------------------------------------------


def _over_sft(part: Blocks, task: str, seed: int) -> list[Row]:
    """Probability that a run beats an SFT run of its block, and the standardised difference."""
    found = [i for i, treatment in enumerate(part.treatments) if treatment.method == "sft"]
    if not found or not len(part.table):
        return []
    rows: list[Row] = []
    base = found[0]
    for i, treatment in enumerate(part.treatments):
        if i == base:
            continue
        wins = probability_of_improvement([(row[i], row[base]) for row in part.runs], seed=seed)
        if all(len(row[i]) == len(row[base]) == 1 for row in part.runs):
            wins = wins._replace(low=None, high=None, signature=wins.signature + "|runs:1")
        rows.append(
            _method("probability_of_improvement", "runs", wins, task, treatment, reference="sft")
        )
        gaps = np.round(part.table[:, i] - part.table[:, base], 12)
        rows += where_estimable(_bound(_size, gaps, task, treatment))
    return rows


def _size(gaps: Any, task: str, treatment: Treatment) -> list[Row]:
    size = cohen_dz(gaps)
    return [_method("effect_size", "cohen_dz", size, task, treatment, reference="sft")]


def _collapse_rates(cell_rows: Sequence[Row]) -> list[Row]:
    """Share of a method's runs that collapsed, over all its students and settings."""
    counts: dict[str, list[float]] = {}
    for row in cell_rows:
        if row["measure"] == "collapsed" and row["method"] not in ("base", "sft"):
            own = counts.setdefault(row["method"], [0.0, 0.0])
            own[0] += row["estimate"] * row["seeds"]
            own[1] += row["seeds"]
    rows = []
    for method, (gone, every) in counts.items():
        found = wilson(round(gone), round(every))
        found = found._replace(signature=f"collapse-rate:runs|{found.signature}")
        rows.append(
            study_row("method", "collapse_rate", "wilson", found, method=method, reference="sft")
        )
    return rows


# -- rows ------------------------------------------------------------------------------------------


def label(treatment: Treatment) -> str:
    """A method's short name, with its settings where it is not at the study's own."""
    return " · ".join([treatment.method, *_settings(treatment)])


def _settings(treatment: Treatment) -> Iterator[str]:
    return (f"{name} {value}" for name, value in json.loads(treatment.settings).items())


def _study(measure: str, test: str, found: Estimate, task: str) -> Row:
    found = found._replace(signature=found.signature + _COUNTED)
    return study_row("study", measure, test, found, task=task)


def _method(
    measure: str, test: str, found: Estimate, task: str, treatment: Treatment, **fields: Any
) -> Row:
    found = found._replace(signature=found.signature + _COUNTED)
    named = {"method": treatment.method, "settings": treatment.settings, **fields}
    return study_row("method", measure, test, found, task=task, **named)


def _bound(make: Callable[..., list[Row]], *arguments: Any) -> Callable[[], list[Row]]:
    return lambda: make(*arguments)
