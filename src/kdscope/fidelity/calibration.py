"""Calibration on scored options: what confidence means, and whether it is inherited.

All functions take option probabilities p [I, K] (rows sum to 1) and the right option gold [I].
Confidence is the largest probability of an item; being right is that option being the gold one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, divide
from kdscope.stats.rank_interval import rank_interval
from kdscope.stats.records import Estimate

BINS = 15


class Bin(NamedTuple):
    """Items of similar confidence: how confident, how often right, how many."""

    confidence: float
    accuracy: float
    n: int


class RiskPoint(NamedTuple):
    """Error among the most confident share of the items."""

    coverage: float
    risk: float


def confidence(p: ArrayLike, gold: ArrayLike) -> tuple[Array, Array]:
    """Confidence [I] and being right [I] of each item."""
    p, gold = np.asarray(p, float), np.asarray(gold)
    return p.max(axis=1), (p.argmax(axis=1) == gold).astype(float)


def reliability(
    p: ArrayLike, gold: ArrayLike, *, bins: int = BINS, equal_mass: bool = False
) -> list[Bin]:
    """Bins of equal width in confidence (or of equal size), empty ones left out."""
    sure, right = confidence(p, gold)
    which = _bins(sure, bins, equal_mass)
    return [
        Bin(
            float(sure[which == b].mean()), float(right[which == b].mean()), int((which == b).sum())
        )
        for b in range(bins)
        if (which == b).any()
    ]


def _bins(sure: Array, bins: int, equal_mass: bool) -> np.ndarray:
    if equal_mass:
        rank = np.argsort(np.argsort(sure, kind="stable"), kind="stable")
        return rank * bins // max(len(sure), 1)
    return np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)


def ece(
    p: ArrayLike,
    gold: ArrayLike,
    *,
    bins: int = BINS,
    equal_mass: bool = False,
    resamples: int = bootstrap.RESAMPLES,
    seed: int | np.random.Generator = 0,
) -> Estimate:
    """Expected calibration error: mean over items of |confidence - accuracy| of their bin.

    With ``equal_mass`` the adaptive variant (ACE). Bins are those of the data in every resample.
    The estimate is biased upwards by noise within bins, more with fewer items.
    Source: Guo et al. 2017; Nixon et al. 2019.
    """
    sure, right = confidence(p, gold)
    which = _bins(sure, bins, equal_mass)
    columns = {}
    for b in range(bins):
        columns[f"gap{b}"] = np.where(which == b, sure - right, 0.0)

    def statistic(sums: bootstrap.Sums) -> Array:
        gaps = np.stack([np.abs(sums[f"gap{b}"].sum(axis=-1)) for b in range(bins)])
        return divide(gaps.sum(axis=0), sums["n"].sum(axis=-1))

    return _estimate(
        columns, statistic, f"{'ace' if equal_mass else 'ece'}|bins:{bins}", resamples, seed
    )


def brier(
    p: ArrayLike, gold: ArrayLike, *, resamples: int = bootstrap.RESAMPLES, seed: int = 0
) -> Estimate:
    """Brier score over all options: mean squared distance to the right answer, 0 to 2."""
    p, gold = np.asarray(p, float), np.asarray(gold)
    target = np.zeros_like(p)
    target[np.arange(len(p)), gold] = 1
    values = ((p - target) ** 2).sum(axis=1)
    return _estimate({"x": values}, bootstrap.ratio("x"), "brier:multiclass", resamples, seed)


def nll(
    p: ArrayLike, gold: ArrayLike, *, resamples: int = bootstrap.RESAMPLES, seed: int = 0
) -> Estimate:
    """Negative log-likelihood of the right option, nats per item (floored at 1e-12)."""
    p, gold = np.asarray(p, float), np.asarray(gold)
    values = -np.log(np.maximum(p[np.arange(len(p)), gold], 1e-12))
    return _estimate(
        {"x": values}, bootstrap.ratio("x"), "nll:options|floor:1e-12", resamples, seed
    )


def _estimate(
    columns: dict[str, Array],
    statistic: bootstrap.Statistic,
    kind: str,
    resamples: int,
    seed: int | np.random.Generator,
) -> Estimate:
    count = len(next(iter(columns.values())))
    draws = bootstrap.draw(columns, bootstrap.design(count), resamples=resamples, seed=seed)
    found = bootstrap.estimate(draws, statistic)
    return found._replace(signature=f"{kind}|{found.signature}")


def confidence_correlation(p: ArrayLike, q: ArrayLike) -> Estimate:
    """Spearman correlation of two systems' confidence over items.

    Raises:
        NotEstimableError: fewer than ten items, or one of the confidences does not vary.
    """
    first, second = np.asarray(p, float).max(axis=1), np.asarray(q, float).max(axis=1)
    n = len(first)
    if n < 10 or np.ptp(first) == 0 or np.ptp(second) == 0:
        raise NotEstimableError(
            f"a correlation of confidences needs ten items on which both vary, not {n}"
        )
    result = stats.spearmanr(first, second)
    rho = float(result.statistic)
    low, high, interval = rank_interval(rho, n)
    return Estimate(rho, low, high, float(result.pvalue), n, rho, f"spearman:confidence|{interval}")


def risk_coverage(p: ArrayLike, gold: ArrayLike) -> list[RiskPoint]:
    """Error among the most confident items, for every coverage; ties enter together."""
    sure, right = confidence(p, gold)
    order = np.argsort(-sure, kind="stable")
    errors = np.cumsum(1 - right[order])
    last = np.append(np.flatnonzero(np.diff(sure[order])), len(order) - 1) if len(order) else []
    return [RiskPoint(float((i + 1) / len(order)), float(errors[i] / (i + 1))) for i in last]


def aurc(p: ArrayLike, gold: ArrayLike) -> float:
    """Area under the risk-coverage curve: mean risk over items; lower is better.

    Source: Geifman and El-Yaniv 2017.
    """
    curve = risk_coverage(p, gold)
    if not curve:
        return float("nan")
    weights = np.diff([0.0, *(point.coverage for point in curve)])
    return float(np.dot(weights, [point.risk for point in curve]))


# -- as sums over items, for the tables of a study -------------------------------------------------


def calibration_columns(p: ArrayLike, gold: ArrayLike) -> dict[str, Array]:
    """Numbers per item for :data:`CALIBRATION`; items without a known gold option are all 0.

    Args:
        p: [I, K] option probabilities.
        gold: [I] place of the right option, -1 where unknown.
    """
    p, gold = np.asarray(p, float), np.asarray(gold)
    known = gold >= 0
    sure, right = confidence(p, gold)
    truth = np.where(known, p[np.arange(len(p)), np.maximum(gold, 0)], 1.0)
    columns = {
        "calibrated": known.astype(float),
        "brier": np.where(known, (p**2).sum(axis=1) - 2 * truth + 1, 0.0),
        "nll": -np.log(np.maximum(truth, 1e-12)),
    }
    for kind, equal_mass in (("ece", False), ("ace", True)):
        which = _bins(sure, BINS, equal_mass)
        for b in range(BINS):
            columns[f"{kind}{b}"] = np.where((which == b) & known, sure - right, 0.0)
    return columns


def _gap(kind: str) -> bootstrap.Statistic:
    def statistic(sums: bootstrap.Sums) -> Array:
        gaps = sum(np.abs(sums[f"{kind}{b}"].sum(axis=-1)) for b in range(BINS))
        return divide(gaps, sums["calibrated"].sum(axis=-1))

    return statistic


CALIBRATION: dict[str, bootstrap.Statistic] = {
    "ece": _gap("ece"),
    "ace": _gap("ace"),
    "brier": bootstrap.ratio("brier", "calibrated"),
    "nll": bootstrap.ratio("nll", "calibrated"),
}
"""Calibration of one system on scored options; within a task the bins are those of the data."""
