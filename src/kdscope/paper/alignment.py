"""Tables 4 and 5 again: do students that gain more also come closer to their teacher?

Change is compared with change (gain of accuracy with gain of agreement), in the run that was
measured.
A student that is right more often agrees with a good teacher more often without imitating it:
the agreement that accuracy alone brings is subtracted, and kappa is what remains of the rest.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from kdscope.errors import NotEstimableError
from kdscope.paper.gains import Result, attempt, students_t
from kdscope.paper.grid import PAIR, Grid, require
from kdscope.paper.printed import tasks
from kdscope.paper.records import AVERAGE
from kdscope.stats.classic import spearman
from kdscope.stats.permutation import rank_permutation
from kdscope.stats.records import Estimate

GAIN_AGAINST_GAIN = "agreement: gain against agreement gain (Spearman)"
LEVEL_AGAINST_LEVEL = "agreement: score against agreement (Spearman)"
AGREEMENT_GAIN = "agreement: gain over SFT"
EXPECTED_GAIN = "agreement: gain that accuracy alone brings"
KAPPA_GAIN = "agreement: gain of chance-corrected kappa (x 100)"
FIDELITY = "fidelity: gain against fidelity gain (Spearman)"


def expected_agreement(
    teacher: ArrayLike, student: ArrayLike, options: ArrayLike
) -> NDArray[np.float64]:
    """Agreement of two models whose errors are independent, given their accuracies alone.

    ``t s`` for open answers; with ``K`` options also ``(1 - t)(1 - s) / (K - 1)``, wrong answers
    being spread evenly. Fractions in [0, 1]; ``options`` is NaN for open answers. Item difficulty
    is ignored, so that a change over SFT means more than a level.
    """
    t, s, k = (np.asarray(v, dtype=np.float64) for v in (teacher, student, options))
    chance = np.where(np.isnan(k), 0.0, (1 - t) * (1 - s) / (np.nan_to_num(k, nan=2.0) - 1))
    return t * s + chance


def kappa(agreement: ArrayLike, expected: ArrayLike) -> NDArray[np.float64]:
    """Agreement beyond the expected one: 0 where accuracy explains it all, 1 where complete."""
    a, e = np.asarray(agreement, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return (a - e) / (1 - e)


def with_kappa(rows: pd.DataFrame) -> pd.DataFrame:
    """The cells whose agreement is known, with gains of agreement, of the expected one, of kappa.

    New columns in points: ``agreement_gain``, ``expected_gain``, ``kappa_sft``, ``kappa``,
    ``kappa_gain``.

    Raises:
        NotEstimableError: no agreement, of KD or of SFT, or no teacher score.
    """
    require(rows, "agreement", "agreement_sft", "teacher_score", "gain")
    used = rows.dropna(subset=["agreement", "agreement_sft", "teacher_score", "gain"]).copy()
    options = np.array(
        [(tasks()[t].options if t in tasks() else None) or np.nan for t in used["task"]]
    )
    t = used["teacher_score"].to_numpy() / 100
    after = expected_agreement(t, used["score"].to_numpy() / 100, options)
    before = expected_agreement(t, used["sft"].to_numpy() / 100, options)
    used["agreement_gain"] = used["agreement"] - used["agreement_sft"]
    used["expected_gain"] = 100 * (after - before)
    used["kappa"] = 100 * kappa(used["agreement"] / 100, after)
    used["kappa_sft"] = 100 * kappa(used["agreement_sft"] / 100, before)
    used["kappa_gain"] = used["kappa"] - used["kappa_sft"]
    return used


def agreement(grid: Grid, suffix: str = "") -> Iterator[Result]:
    """Relations per task; mean gains per task and over tasks."""
    for task in [name for name in grid.tasks if name != AVERAGE]:
        rows = grid.of(task)
        for name, x, y in (
            (GAIN_AGAINST_GAIN, "gain", "agreement_gain"),
            (LEVEL_AGAINST_LEVEL, "score", "agreement"),
        ):
            yield attempt(4, grid, name + suffix, task, _related, rows, x, y)
        yield from _means(grid, task, rows, suffix)
    whole = grid.cells[grid.cells["task"] != AVERAGE]
    yield from _means(grid, AVERAGE, whole, suffix)


def fidelity(grid: Grid) -> Iterator[Result]:
    """Gain of accuracy against gain of textual similarity, per task."""
    for task in [name for name in grid.tasks if name != AVERAGE]:
        yield attempt(5, grid, FIDELITY, task, _fidelity, grid.of(task))


def _related(rows: pd.DataFrame, x: str, y: str) -> Estimate:
    """Spearman over pairs (a pair's methods averaged), p by permutation."""
    return _permuted(with_kappa(rows).groupby(PAIR, sort=True)[[x, y]].mean(), x, y)


def _fidelity(rows: pd.DataFrame) -> Estimate:
    require(rows, "gain", "fidelity", "fidelity_sft")
    used = rows.assign(fidelity_gain=rows["fidelity"] - rows["fidelity_sft"])
    used = used.dropna(subset=["gain", "fidelity_gain"])
    return _permuted(
        used.groupby(PAIR, sort=True)[["gain", "fidelity_gain"]].mean(), "gain", "fidelity_gain"
    )


def _permuted(pairs: pd.DataFrame, x: str, y: str) -> Estimate:
    if len(pairs) < 5:
        raise NotEstimableError(f"the table has {len(pairs)} pairs of models; this needs five")
    exact = rank_permutation(pairs[x], pairs[y], np.random.default_rng(0))
    return spearman(pairs[x], pairs[y])._replace(p=exact.p, signature=exact.signature)


def _means(grid: Grid, task: str, rows: pd.DataFrame, suffix: str) -> Iterator[Result]:
    for name, column in (
        (AGREEMENT_GAIN, "agreement_gain"),
        (EXPECTED_GAIN, "expected_gain"),
        (KAPPA_GAIN, "kappa_gain"),
    ):
        yield attempt(4, grid, name + suffix, task, _mean_change, rows, column)


def _mean_change(rows: pd.DataFrame, column: str) -> Estimate:
    return students_t(with_kappa(rows), column)
