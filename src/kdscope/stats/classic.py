"""The tests of the classic textbook, as the paper uses them: t, one-way ANOVA, Spearman.

Each is scipy's test with an interval beside it, in one record.
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats._checks import numbers, together, varying
from kdscope.stats.rank_interval import rank_interval
from kdscope.stats.records import Estimate

Alternative = Literal["two-sided", "greater", "less"]


def mean_t(values: ArrayLike, alternative: Alternative = "two-sided") -> Estimate:
    """Mean of independent values against 0, Student's t.

    The interval is the two-sided 95 % one whatever the alternative, so that it can be read without
    knowing which side was tested. Unit: that of the values.

    Raises:
        NotEstimableError: fewer than two values, or all equal.
    """
    x = varying(numbers(values, "the sample", 2), "the sample")
    result = stats.ttest_1samp(x, 0.0, alternative=alternative)
    low, high = stats.t.interval(0.95, x.size - 1, loc=x.mean(), scale=stats.sem(x))
    return Estimate(
        estimate=float(x.mean()),
        low=float(low),
        high=float(high),
        p=float(result.pvalue),
        n=int(x.size),
        statistic=float(result.statistic),
        signature=f"t:one-sample|alternative:{alternative}|df:{x.size - 1}|ci:t95",
    )


def one_sided_t(values: ArrayLike) -> Estimate:
    """Mean of independent values, tested against 0 on the side "greater" (the paper's Table 1)."""
    return mean_t(values, "greater")


def paired_t(a: ArrayLike, b: ArrayLike, alternative: Alternative = "two-sided") -> Estimate:
    """Mean of the paired differences ``a - b`` with Student's t. Unit: that of the values."""
    x, y = numbers(a, "the first sample", 2), numbers(b, "the second sample", 2)
    together(x, y)
    result = mean_t(x - y, alternative)
    return result._replace(signature=result.signature.replace("one-sample", "paired"))


def one_way_anova(*groups: ArrayLike) -> Estimate:
    """Equality of the means of independent groups by the F test.

    ``estimate`` is the largest difference between two group means, without an interval; ``n``
    counts all values. Unit: that of the values.
    """
    arrays = [numbers(group, f"group {i}", 2) for i, group in enumerate(groups)]
    if len(arrays) < 2:
        raise NotEstimableError(f"an analysis of variance needs two groups, not {len(arrays)}")
    varying(np.concatenate(arrays), "the sample")
    result = stats.f_oneway(*arrays)
    means = [float(array.mean()) for array in arrays]
    n = sum(array.size for array in arrays)
    return Estimate(
        estimate=max(means) - min(means),
        p=float(result.pvalue),
        n=n,
        statistic=float(result.statistic),
        signature=f"anova:one-way|df:{len(arrays) - 1},{n - len(arrays)}",
    )


def spearman(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Spearman's rank correlation; p by the t approximation, two-sided, as scipy gives it.

    The interval is that of :mod:`kdscope.stats.rank_interval`, None for fewer than ten pairs.
    """
    a, b = numbers(x, "the first variable", 3), numbers(y, "the second variable", 3)
    together(a, b)
    result = stats.spearmanr(varying(a, "the first variable"), varying(b, "the second variable"))
    rho = float(result.statistic)
    low, high, interval = rank_interval(rho, a.size)
    return Estimate(
        estimate=rho,
        low=low,
        high=high,
        p=float(result.pvalue),
        n=int(a.size),
        statistic=rho,
        signature=f"spearman|p:t-approximation|{interval}",
    )
