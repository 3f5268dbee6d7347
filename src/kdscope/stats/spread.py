"""How far repetitions of one setting lie apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats._checks import numbers
from kdscope.stats.records import Estimate


def pooled_sd(groups: Sequence[ArrayLike]) -> Estimate:
    """Standard deviation within groups (seeds of one setting), pooled over groups.

    The interval is the chi-square one, exact for normal values. Unit: that of the values.

    Raises:
        NotEstimableError: no group has two values, or nothing varies.
    """
    arrays = [numbers(group, "a group", 1) for group in groups]
    df = sum(array.size - 1 for array in arrays)
    squares = sum(float(((array - array.mean()) ** 2).sum()) for array in arrays)
    if df < 1 or squares == 0:
        raise NotEstimableError("a spread needs a group with two different values")
    low, high = np.sqrt(squares / stats.chi2.ppf([0.975, 0.025], df))
    return Estimate(
        estimate=float(np.sqrt(squares / df)),
        low=float(low),
        high=float(high),
        n=sum(array.size for array in arrays),
        signature=f"sd:pooled|df:{df}|ci:chi2-95",
    )
