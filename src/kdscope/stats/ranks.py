"""Several treatments in the same blocks, compared by ranks: Friedman and its post-hoc tests."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats._checks import varying
from kdscope.stats.records import Estimate

_RESAMPLES = 9_999


class PostHoc(NamedTuple):
    """One pair of treatments: indices of the columns, and the p-value of their comparison."""

    first: int
    second: int
    p: float


def friedman(blocks: ArrayLike) -> Estimate:
    """Do the treatments differ? Blocks in rows, treatments in columns.

    ``estimate`` is the largest difference between two treatments' means (no interval), ``n`` the
    number of blocks, ``statistic`` the chi-square.

    Raises:
        NotEstimableError: fewer than three treatments or three blocks.
    """
    table = _blocks(blocks)
    result = stats.friedmanchisquare(*table.T)
    means = table.mean(axis=0)
    return Estimate(
        estimate=float(means.max() - means.min()),
        p=float(result.pvalue),
        n=table.shape[0],
        statistic=float(result.statistic),
        signature=f"friedman|chi2:{table.shape[1] - 1}",
    )


def friedman_permutation(blocks: ArrayLike, rng: np.random.Generator) -> Estimate:
    """Friedman's test with p from permutations within blocks: right for few blocks and for ties.

    Each of 9,999 resamples orders the ranks of every block anew; p = (1 + count) / (1 + 9,999). The
    estimate, ``n`` and ``statistic`` are those of :func:`friedman`.

    Raises:
        NotEstimableError: fewer than three treatments or three blocks.
    """
    table = _blocks(blocks)
    ranks = stats.rankdata(table, axis=1)
    observed = float((ranks.sum(axis=0) ** 2).sum())  # the chi-square grows with it alone
    sums = np.zeros((_RESAMPLES, table.shape[1]))
    for row in ranks:
        sums += rng.permuted(np.tile(row, (_RESAMPLES, 1)), axis=1)
    extreme = int(((sums**2).sum(axis=1) >= observed - 1e-9).sum())
    return friedman(table)._replace(
        p=(1 + extreme) / (1 + _RESAMPLES), signature=f"friedman|within-blocks|R:{_RESAMPLES}"
    )


def nemenyi(blocks: ArrayLike) -> list[PostHoc]:
    """Nemenyi's post-hoc test of every pair of treatments; p is corrected for all pairs.

    Source: Nemenyi 1963; the studentized range with infinitely many degrees of freedom.
    """
    count, k = _blocks(blocks).shape
    means = mean_ranks(blocks)
    error = np.sqrt(k * (k + 1) / (12 * count))
    found = []
    for i in range(k):
        for j in range(i + 1, k):
            q = abs(means[i] - means[j]) / error
            found.append(PostHoc(i, j, float(stats.studentized_range.sf(q, k, np.inf))))
    return found


def mean_ranks(blocks: ArrayLike) -> np.ndarray:
    """Mean rank of each treatment over the blocks; 1 is the largest value, ties share a rank."""
    return stats.rankdata(-_blocks(blocks), axis=1).mean(axis=0)


def critical_difference(treatments: int, blocks: int, *, level: float = 0.95) -> float:
    """Nemenyi's critical difference of two mean ranks: closer ones are not told apart.

    Source: Demsar 2006, JMLR 7; the studentized range with infinitely many degrees of freedom.
    """
    q = float(stats.studentized_range.ppf(level, treatments, np.inf)) / np.sqrt(2)
    return float(q * np.sqrt(treatments * (treatments + 1) / (6 * blocks)))


def _blocks(blocks: ArrayLike) -> np.ndarray:
    table = np.asarray(blocks, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 3 or table.shape[0] < 3:
        raise NotEstimableError(
            f"Friedman's test needs at least three treatments in three blocks, not "
            f"{table.shape[1] if table.ndim == 2 else 1} in {table.shape[0]}"
        )
    if not np.isfinite(table).all():
        raise NotEstimableError("every block must have a number for every treatment")
    varying(table.ravel(), "the table of blocks")
    return table
