"""Intervals of a single proportion."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdscope.stats.records import Estimate


def wilson(successes: float, n: int, *, level: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval, which stays honest at 0 and at 1.

    Args:
        successes: number of successes, 0..n.
        n: number of independent trials.
        level: of confidence.

    Source: Wilson 1927.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} trials: the count must lie in 0..n")
    signature = f"wilson{100 * level:g}"
    if n == 0:
        return Estimate(float("nan"), n=0, signature=signature)
    z = stats.norm.ppf((1 + level) / 2)
    share, spread = successes / n, z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # Rounding must not push the bound past an extreme proportion.
    low, high = (0.0 if successes == 0 else low), (1.0 if successes == n else high)
    return Estimate(share, float(low), float(high), n=n, signature=signature)


def proportion(flags: ArrayLike) -> Estimate:
    """Wilson interval of the share of true values in [I] flags."""
    values = np.asarray(flags, float)
    return wilson(float(values.sum()), len(values))
