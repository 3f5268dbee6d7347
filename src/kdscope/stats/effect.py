"""Sizes of effects over runs: standardised paired difference, probability of improvement."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from kdscope.errors import NotEstimableError
from kdscope.stats.bootstrap import RESAMPLES, generator, interval
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


def probability_of_improvement(
    first: ArrayLike,
    second: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int | np.random.Generator = 0,
) -> Estimate:
    """Probability that a run of the first method beats one of the second; ties count half.

    Args:
        first: [K, tasks] (or [K]) scores of the first method's runs.
        second: [K', tasks] (or [K']) scores of the second's.
        resamples: of the runs, drawn for each task separately; tasks are averaged.
        seed: of the resamples; 0 is a seed.

    Source: Agarwal et al. 2021, arXiv:2108.13264, equation 3.
    """
    a, b = (np.asarray(x, float).reshape(len(np.asarray(x)), -1) for x in (first, second))
    if a.shape[1] != b.shape[1]:
        raise NotEstimableError(
            f"{a.shape[1]} tasks against {b.shape[1]}: give both methods the same"
        )
    wins = (a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])
    rng, tasks = generator(seed), a.shape[1]
    drawn = np.zeros(resamples)
    for task in range(tasks):
        rows = rng.integers(0, len(a), (resamples, len(a)))
        columns = rng.integers(0, len(b), (resamples, len(b)))
        table = wins[:, :, task]
        drawn += table[rows[:, :, None], columns[:, None, :]].mean(axis=(1, 2)) / tasks
    low, high = interval(drawn)
    signature = (
        f"probability-of-improvement|bootstrap:runs|R:{resamples}|strata:{tasks}|ci:percentile95"
    )
    return Estimate(float(wins.mean()), low, high, n=len(a) + len(b), signature=signature)
