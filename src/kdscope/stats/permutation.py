"""Permutation tests at the level of what is really independent.

scipy permutes observations. Where a label belongs to a whole cluster (the size of a student, the
score of a teacher within one student) the label must move with it: that test is here.
"""

import itertools
import math
from collections.abc import Callable, Hashable, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats._checks import numbers, together, varying
from kdscope.stats.records import Estimate

_EXACT, _RESAMPLES = 50_000, 9_999
_TIE = 1e-9


def label_permutation(
    labels: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    strata: Sequence[Hashable] | None = None,
    rng: np.random.Generator | None = None,
) -> Estimate:
    """Is ``statistic(labels)`` further from 0 than if labels were handed out at random?

    One label per independent unit; ``statistic`` takes labels in its last axis, of any number of
    orders at once, and maps them to rows as it needs. With ``strata`` a label only moves among the
    units of its own stratum. All orders are enumerated up to 50,000, else 9,999 are drawn from
    ``rng``. p is the share of orders with ``|statistic|`` at least the observed one (the drawn kind
    counts the observed order too); an order for which it is NaN counts as extreme.

    Raises:
        NotEstimableError: all labels equal, no stratum has two units, the statistic of the observed
            order is not defined, or a generator is missing.
    """
    observed = varying(numbers(labels, "the labels", 2), "the labels")
    groups = _strata(observed.size, strata)
    orders = math.prod(math.factorial(len(group)) for group in groups)
    if orders == 1:
        raise NotEstimableError("no stratum has two units, so no label can move")
    value = float(statistic(observed[None, :])[0])
    if not math.isfinite(value):
        raise NotEstimableError("the statistic is not defined: nothing is left to relate")
    exact = orders <= _EXACT
    permuted = observed[_all_orders(groups) if exact else _some_orders(groups, rng)]
    extreme = int((~(np.abs(statistic(permuted)) < abs(value) - _TIE)).sum())
    drawn = len(permuted)
    return Estimate(
        estimate=value,
        p=extreme / drawn if exact else (extreme + 1) / (drawn + 1),
        n=int(observed.size),
        statistic=value,
        signature="label-permutation|" + (f"exact:{orders}" if exact else f"R:{drawn}"),
    )


def rank_permutation(
    x: ArrayLike, y: ArrayLike, rng: np.random.Generator | None = None
) -> Estimate:
    """Spearman's rho with a permutation p: right with ties and few pairs, where t is not."""
    a = stats.rankdata(varying(numbers(x, "the first variable", 3), "the first variable"))
    b = stats.rankdata(varying(numbers(y, "the second variable", 3), "the second variable"))
    together(a, b)
    centred = (a - a.mean()) / float(np.linalg.norm(a - a.mean()) * np.linalg.norm(b - b.mean()))
    result = label_permutation(b, lambda ranks: ranks @ centred, rng=rng)
    return result._replace(signature="spearman|" + result.signature)


def _strata(size: int, strata: Sequence[Hashable] | None) -> list[NDArray[np.int64]]:
    if strata is None:
        return [np.arange(size)]
    if len(strata) != size:
        raise NotEstimableError(f"{size} labels need {size} strata, not {len(strata)}")
    names = list(dict.fromkeys(strata))
    return [np.array([i for i, s in enumerate(strata) if s == name]) for name in names]


def _all_orders(groups: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Every order, one a row: which unit's label each unit gets."""
    orders = np.empty((1, 0), dtype=np.int64)
    for group in groups:
        own = group[_orders_of(group.size)]
        orders = np.concatenate(
            [np.repeat(orders, len(own), axis=0), np.tile(own, (len(orders), 1))], axis=1
        )
    return _placed(groups, orders)


@cache
def _orders_of(n: int) -> NDArray[np.int64]:
    return np.array(list(itertools.permutations(range(n))), dtype=np.int64)


def _some_orders(
    groups: list[NDArray[np.int64]], rng: np.random.Generator | None
) -> NDArray[np.int64]:
    if rng is None:
        raise NotEstimableError("so many orders need a generator to draw from")
    parts = [rng.permuted(np.tile(group, (_RESAMPLES, 1)), axis=1) for group in groups]
    return _placed(groups, np.concatenate(parts, axis=1))


def _placed(groups: list[NDArray[np.int64]], orders: NDArray[np.int64]) -> NDArray[np.int64]:
    placed = np.empty_like(orders)
    placed[:, np.concatenate(groups)] = orders
    return placed
