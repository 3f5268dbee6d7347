"""Is a difference small enough to be called none? Two one-sided tests."""

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
