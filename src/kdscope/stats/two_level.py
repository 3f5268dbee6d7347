"""Two levels of chance: the items that were asked, and the seeds that trained the models.

Axes: items ``I``, resamples ``R``, seeds (runs) ``K``.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from kdscope.stats.bootstrap import (
    LEVEL,
    RESAMPLES,
    Array,
    design,
    draw,
    generator,
    interval,
    mean_over_groups,
)
from kdscope.stats.records import Estimate


def over_seeds(
    points: ArrayLike,
    drawn: ArrayLike,
    *,
    seed: int | np.random.Generator,
    signature: str = "",
    n: int = 0,
) -> tuple[Estimate, Array]:
    """The mean over training seeds of a statistic, its interval covering items and seeds.

    To each resample of the items, in which all runs are averaged, a normal draw with the squared
    standard error s^2/K of the K runs is added: variances of items and seeds add up (the noise of a
    run's own answers counts in both, so the interval errs on the wide side). Because s^2 is known
    from K runs only, deviations are stretched by t(df)/z with Satterthwaite's df = (V + s^2/K)^2
    (K-1) / (s^2/K)^2, V the
    variance from items: the interval tends to Student's where seeds dominate, to the percentile
    bootstrap where items do.

    Args:
        points: [K] the statistic of each run.
        drawn: [R, K] the statistic of each run in each resample of the items, one resample a row.
        seed: of the draws for the seeds.
        signature: of the resamples of the items.
        n: number of items.

    Returns:
        The estimate, and the [R] draws behind its interval (for tests). With one seed the interval
        covers the items alone, and the signature says so.
    """
    points, drawn = np.asarray(points, float), np.asarray(drawn, float)
    runs, point = len(points), float(points.mean())
    mean = drawn.mean(axis=1)
    if runs > 1:
        between = float(points.var(ddof=1)) / runs
        known = mean[np.isfinite(mean)]
        within = float(known.var()) if len(known) else 0.0
        tail = 1 - (1 - LEVEL) / 2
        df = (runs - 1) * ((within + between) / between) ** 2 if between > 0 else np.inf
        noise = _normals(seed, len(mean)) * np.sqrt(between)
        stretch = special.stdtrit(min(df, 1e9), tail) / special.ndtri(tail)
        mean = point + (mean - point + noise) * stretch
    low, high = interval(mean)
    kind = f"seeds:{runs}:satterthwaite" if runs > 1 else "seeds:1:items-only"
    level = f"{signature}|{kind}|ci:percentile95".lstrip("|")
    return Estimate(point, low, high, n=n or None, signature=level), mean


def _normals(seed: int | np.random.Generator, count: int) -> Array:
    """Normal quantiles in random order: the draws for the seeds; those of a seed are made once."""
    if isinstance(seed, int | np.integer):
        return _seeded_normals(int(seed), count)
    return special.ndtri((seed.permutation(count) + 0.5) / count)


@lru_cache(maxsize=4)
def _seeded_normals(seed: int, count: int) -> Array:
    return special.ndtri((generator(seed).permutation(count) + 0.5) / count)


def standard_errors(points: ArrayLike, drawn: ArrayLike) -> tuple[float, float | None]:
    """Standard error of the mean over runs from items, and from seeds (None with one seed).

    Args:
        points: [K].
        drawn: [R, K], as for :func:`over_seeds`.
    """
    points = np.asarray(points, float)
    items = float(np.std(np.asarray(drawn, float).mean(axis=1), ddof=1))
    runs = len(points)
    return items, float(np.std(points, ddof=1) / np.sqrt(runs)) if runs > 1 else None


def bootstrap_two_level(
    values: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    clusters: Sequence[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int | np.random.Generator = 0,
) -> Estimate:
    """The mean of values [K, I] over seeds and items, its interval covering both."""
    values, rng = np.asarray(values, float), generator(seed)
    plan = design(values.shape[1], groups=groups, clusters=clusters)
    draws = draw({str(k): row for k, row in enumerate(values)}, plan, resamples=resamples, seed=rng)
    runs = [draws.apply(mean_over_groups(str(k))) for k in range(len(values))]
    named = (
        draws.signature.replace("seed:generator", f"seed:{seed}")
        if isinstance(seed, int)
        else draws.signature
    )
    return over_seeds(
        [point for point, _ in runs],
        np.column_stack([drawn for _, drawn in runs]),
        seed=rng,
        signature=named,
        n=draws.n,
    )[0]
