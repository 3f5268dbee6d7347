"""Is a difference small enough to be called none? Two one-sided tests."""

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.weightstats import ttost_paired

from kdscope.errors import NotEstimableError
from kdscope.stats._checks import numbers
from kdscope.stats.classic import paired_t
from kdscope.stats.records import Estimate


def tost_paired(a: ArrayLike, b: ArrayLike, margin: float) -> Estimate:
    """Two one-sided paired t tests: a small p says that ``mean(a - b)`` lies within ±margin.

    A large p never says that the two are equal or different. The margin must be fixed beforehand.
    Estimate and its 95 % interval are those of the paired difference. Unit: that of the values.

    Raises:
        NotEstimableError: the margin is not positive, or the differences are fewer than two or
            constant.
    """
    if not margin > 0:
        raise NotEstimableError(f"an equivalence margin must be greater than 0, not {margin:g}")
    difference = paired_t(a, b)
    x, y = numbers(a, "the first sample", 2), numbers(b, "the second sample", 2)
    p, lower, upper = ttost_paired(x, y, -margin, margin)
    worse = max(lower, upper, key=lambda side: float(side[1]))
    return difference._replace(
        p=float(p),
        statistic=float(worse[0]),
        signature=f"tost:paired|margin:{margin:g}|df:{x.size - 1}|ci:t95",
    )


def tost_drawn(drawn: ArrayLike, margin: float) -> float:
    """P of two one-sided tests from the resamples of a difference, never 0.

    The larger of the shares of resamples at or below -margin and at or above margin; below 5 % it
    means that the 90 % percentile interval lies within ±margin.

    Args:
        drawn: [R] resamples of the difference; undefined ones are left out.
        margin: fixed beforehand, in the difference's unit.

    Raises:
        NotEstimableError: the margin is not positive, or no resample is defined.
    """
    if not margin > 0:
        raise NotEstimableError(f"an equivalence margin must be greater than 0, not {margin:g}")
    values = np.asarray(drawn, float)
    values = values[np.isfinite(values)]
    if not len(values):
        raise NotEstimableError("no resample of the difference is defined")
    outside = max(int((values <= -margin).sum()), int((values >= margin).sum()))
    return (1 + outside) / (1 + len(values))
