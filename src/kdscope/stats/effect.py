"""Sizes of effects over runs: the standardised paired difference."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from kdscope.errors import NotEstimableError
from kdscope.stats.records import Estimate


def cohen_dz(differences: ArrayLike) -> Estimate:
    """Mean of paired differences over their standard deviation, with the exact interval.

    The interval inverts the noncentral t distribution.

    Raises:
        NotEstimableError: fewer than two differences, or none varies.
    """
    values = np.asarray(differences, float)
    n = len(values)
    if n < 2 or np.ptp(values) == 0:
        raise NotEstimableError("a standardised difference needs two or more differences that vary")
    t = float(values.mean() / (values.std(ddof=1) / np.sqrt(n)))

    def excess(nc: float, probability: float) -> float:
        below = float(stats.nct.cdf(t, n - 1, nc))
        # Far from t scipy gives NaN, where the function has reached its limit, 1 or 0.
        return (float(nc < t) if np.isnan(below) else below) - probability

    def bound(probability: float) -> float:
        reach = 10 * np.sqrt(n) + 2 * abs(t)
        root: Any = optimize.brentq(excess, t - reach, t + reach, args=(probability,))
        return float(root) / np.sqrt(n)

    p = float(2 * stats.t.sf(abs(t), n - 1))
    return Estimate(
        t / np.sqrt(n), bound(0.975), bound(0.025), p, n, t, "cohen-dz:paired|ci:noncentral-t95"
    )
