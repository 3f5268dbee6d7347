"""Tests of two systems on the same items."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdscope.stats.bootstrap import RESAMPLES, generator
from kdscope.stats.design import codes
from kdscope.stats.records import Estimate

_CHUNK_BYTES = 64 << 20


def mcnemar(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Exact McNemar test: are the items on which only one is right split evenly?

    Args:
        first: [I] correctness of the first system, 0 or 1.
        second: [I] correctness of the second.

    Returns:
        The difference in accuracy (first - second); the statistic is the number of items that only
        the first has right, p is two-sided and exact.

    Source: McNemar 1947; exact by the binomial distribution.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    gained, lost = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    p = mcnemar_p(gained, lost)
    difference = (gained - lost) / len(first) if len(first) else float("nan")
    return Estimate(
        difference,
        p=p,
        n=len(first),
        statistic=float(gained),
        signature=f"mcnemar:exact|two-sided|discordant:{gained + lost}",
    )


def mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided exact p of a split of discordant items; 1 where there are none."""
    return float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def score_interval(
    gained: float, lost: float, n: float, *, level: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval of a difference of two paired proportions, (gained - lost) / n.

    It stays honest where resamples never differ: without a discordant item it is
    ±z²/(n + z²), as wide as Wilson's interval of a share of 0, and where all items are gained it
    begins at (n - z²)/(n + z²).

    Args:
        gained: items that count for the first system alone.
        lost: items that count for the second alone.
        n: all items.
        level: of confidence.

    Source: Tango 1998, Statistics in Medicine 17, 891.
    """
    if n < 1 or min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"{gained} gained and {lost} lost of {n} items: no such table")
    z = float(stats.norm.ppf((1 + level) / 2))
    return -_score_bound(lost, gained, n, z), _score_bound(gained, lost, n, z)


def _score_bound(gained: float, lost: float, n: float, z: float) -> float:
    """The largest difference whose score statistic is not below -z, by bisection."""
    low, high = (gained - lost) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _score(middle, gained, lost, n) > -z:
            low = middle
        else:
            high = middle
    return high


def _score(difference: float, gained: float, lost: float, n: float) -> float:
    """The score statistic of a difference, its nuisance share estimated under that difference."""
    half = gained + lost - (2 * n - gained + lost) * difference
    root = half**2 + 8 * n * lost * difference * (1 - difference)
    share = (math.sqrt(max(root, 0.0)) + half) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    away = gained - lost - n * difference
    return away / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, away)


def sign_flip(
    differences: ArrayLike,
    *,
    clusters: Sequence[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int | np.random.Generator = 0,
) -> Estimate:
    """Sign-flip permutation test of a mean paired difference.

    Args:
        differences: [I] differences of the two systems, in any unit.
        clusters: [I] labels of items whose signs are flipped together.
        resamples: number of random flips; all 2^U of them where there are fewer (then p is exact).
        seed: a seed, 0 included, or a generator.

    Returns:
        The mean difference with its two-sided p = (1 + count) / (1 + R), never 0.
    """
    differences = np.asarray(differences, float)
    sums = differences
    if clusters is not None:
        unit, _ = codes(clusters)
        sums = np.bincount(unit, differences)
    active = sums[sums != 0]
    observed, slack = abs(active.sum()), 1e-12 * max(np.abs(active).sum(), 1.0)
    estimate = float(differences.mean()) if len(differences) else float("nan")
    if 2.0 ** len(active) <= resamples:
        flips = 1 - 2 * ((np.arange(2 ** len(active))[:, None] >> np.arange(len(active))) & 1)
        p, kind = float(np.mean(np.abs(flips @ active) >= observed - slack)), "exact"
    else:
        count = _count_extreme(active, observed - slack, resamples, generator(seed))
        p, kind = (1 + count) / (1 + resamples), f"R:{resamples}"
    named = str(seed) if isinstance(seed, int | np.integer) else "generator"
    unit_name = "item" if clusters is None else "cluster"
    signature = f"permutation:sign-flip|{kind}|unit:{unit_name}|seed:{named}|two-sided"
    return Estimate(estimate, p=p, n=len(differences), signature=signature)


def _count_extreme(
    sums: np.ndarray, threshold: float, resamples: int, rng: np.random.Generator
) -> int:
    """How many random flips give a sum at least as far from 0."""
    chunk, count = max(1, _CHUNK_BYTES // (8 * len(sums))), 0
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        packed = rng.integers(0, 256, (rows, -(-len(sums) // 8)), dtype=np.uint8)
        signs = 1.0 - 2.0 * np.unpackbits(packed, axis=1, count=len(sums))
        count += int(np.sum(np.abs(signs @ sums) >= threshold))
    return count
