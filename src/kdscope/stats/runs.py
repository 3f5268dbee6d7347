"""Scores of runs in blocks: how often one method beats another, and the profile of its scores.

A block is what the methods are compared on (a student and a task); a method has one score a run in
it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kdscope.stats.records import Estimate


def probability_of_improvement(
    blocks: Sequence[tuple[ArrayLike, ArrayLike]], *, resamples: int = 2000, seed: int = 0
) -> Estimate:
    """Probability that a run of the first method beats a run of the second in the same block.

    Ties count one half; blocks weigh the same. The interval resamples the runs of each block.

    Args:
        blocks: for each block the [runs] scores of the first and of the second method.
        resamples: R.
        seed: of the resamples.

    Source: Agarwal et al. 2021, arXiv:2108.13264 (its stratified bootstrap).
    """
    rng = np.random.default_rng(seed)
    pairs = [(np.asarray(a, float), np.asarray(b, float)) for a, b in blocks]
    drawn = np.zeros(resamples)
    for first, second in pairs:
        wins = _wins(first, second)
        rows = rng.integers(len(first), size=(resamples, len(first), 1))
        columns = rng.integers(len(second), size=(resamples, 1, len(second)))
        drawn += wins[rows, columns].mean(axis=(1, 2)) / len(pairs)
    low, high = np.quantile(drawn, [0.025, 0.975])
    estimate = float(np.mean([_wins(a, b).mean() for a, b in pairs]))
    signature = (
        f"improvement|blocks:{len(pairs)}|bootstrap:runs|R:{resamples}|seed:{seed}|ci:percentile95"
    )
    return Estimate(estimate, float(low), float(high), n=len(pairs), signature=signature)


def profile(
    blocks: Sequence[ArrayLike], thresholds: ArrayLike, *, resamples: int = 2000, seed: int = 0
) -> list[Estimate]:
    """Share of runs that score above each threshold; blocks weigh the same, runs are resampled.

    Source: Agarwal et al. 2021, arXiv:2108.13264 (run-score distribution).
    """
    rng = np.random.default_rng(seed)
    levels = np.asarray(thresholds, float)
    scores = [np.asarray(block, float) for block in blocks]
    above = [block[:, None] > levels for block in scores]
    drawn = np.zeros((resamples, len(levels)))
    for block in above:
        drawn += block[rng.integers(len(block), size=(resamples, len(block)))].mean(axis=1)
    low, high = np.quantile(drawn / len(above), [0.025, 0.975], axis=0)
    point = np.mean([block.mean(axis=0) for block in above], axis=0)
    signature = (
        f"profile|blocks:{len(above)}|bootstrap:runs|R:{resamples}|seed:{seed}|ci:percentile95"
    )
    return [
        Estimate(float(p), float(a), float(b), n=len(above), signature=signature)
        for p, a, b in zip(point, low, high, strict=True)
    ]


def _wins(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[first, second] 1 where the first is above, ½ where they tie."""
    above, tied = first[:, None] > second, first[:, None] == second
    return above + 0.5 * tied
