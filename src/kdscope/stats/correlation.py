"""Relations with something else held fixed, and slopes."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.regression.linear_model import OLS

from kdscope.errors import NotEstimableError
from kdscope.stats._checks import numbers, together, varying
from kdscope.stats.rank_interval import rank_interval
from kdscope.stats.records import Estimate


def partial_spearman(x: ArrayLike, y: ArrayLike, given: ArrayLike) -> Estimate:
    """Rank correlation of ``x`` and ``y`` with ``given`` held: Pearson of the ranks' residuals.

    p is two-sided by t with n - 3 degrees of freedom.

    Raises:
        NotEstimableError: fewer than four triples, or the ranks of ``given`` explain x or y wholly.
    """
    named = ((x, "the first variable"), (y, "the second variable"), (given, "the one held"))
    arrays = [varying(numbers(values, name, 4), name) for values, name in named]
    together(*arrays)
    n, rho = arrays[0].size, float(partial_rho(*arrays))
    if not np.isfinite(rho):
        raise NotEstimableError("a variable is a function of the one held: nothing is left")
    low, high, interval = rank_interval(rho, n, given=1)
    df = n - 3
    t = rho * np.sqrt(df / max(1e-300, 1 - rho * rho))
    return Estimate(
        estimate=rho,
        low=low,
        high=high,
        p=float(2 * stats.t.sf(abs(t), df)),
        n=n,
        statistic=rho,
        signature=f"spearman:partial|df:{df}|{interval}",
    )


def partial_rho(x: ArrayLike, y: ArrayLike, given: ArrayLike) -> NDArray[np.float64]:
    """The partial rank correlation alone; variables run along the last axis, the others broadcast.

    NaN where the ranks of ``given`` explain those of x or y wholly.
    """
    a, b, held = (_centred_ranks(values) for values in (x, y, given))
    left, right = _residual(a, held), _residual(b, held)
    scale = np.linalg.norm(left, axis=-1) * np.linalg.norm(right, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(scale < 1e-9, np.nan, (left * right).sum(axis=-1) / scale)
    return np.clip(rho, -1, 1)


def _centred_ranks(values: ArrayLike) -> NDArray[np.float64]:
    ranks = stats.rankdata(np.asarray(values, dtype=np.float64), axis=-1)
    return ranks - ranks.mean(axis=-1, keepdims=True)


def _residual(values: NDArray[np.float64], held: NDArray[np.float64]) -> NDArray[np.float64]:
    weight = (held * held).sum(axis=-1, keepdims=True)
    share = (values * held).sum(axis=-1, keepdims=True) / np.where(weight > 0, weight, 1.0)
    return values - held * share


def slope(x: ArrayLike, y: ArrayLike, within: Sequence[Hashable] | None = None) -> Estimate:
    """Least-squares slope of ``y`` on ``x``, with an intercept for each group of ``within``.

    Unit: that of y per unit of x. The interval is t.

    Raises:
        NotEstimableError: no degree of freedom is left, or x does not vary (within any group).
    """
    a, b = numbers(x, "x", 3), numbers(y, "y", 3)
    together(a, b)
    groups = list(within) if within is not None else [0] * a.size
    names = sorted(set(groups), key=str)
    dummies = np.array([[float(group == name) for name in names] for group in groups])
    df = a.size - len(names) - 1
    inside = a - dummies @ (dummies.T @ a / dummies.sum(axis=0))
    if df < 1 or np.linalg.norm(inside) < 1e-12:
        raise NotEstimableError(
            f"{a.size} points in {len(names)} groups leave {max(df, 0)} degrees of freedom "
            "for a slope"
        )
    fit = OLS(b, np.column_stack([a, dummies])).fit()
    low, high = fit.conf_int(alpha=0.05)[0]
    return Estimate(
        estimate=float(fit.params[0]),
        low=float(low),
        high=float(high),
        p=float(fit.pvalues[0]),
        n=a.size,
        statistic=float(fit.tvalues[0]),
        signature=f"ols:slope|groups:{len(names)}|df:{df}|ci:t95",
    )
