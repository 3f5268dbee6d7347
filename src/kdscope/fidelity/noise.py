"""Noise floors and ceilings: how often does a system agree with itself?

At temperature 1 even the teacher does not always give its own answer again, so no student can agree
with it more often than chance in sampling lets it. Agreement between two systems is therefore also
given relative to the agreement of each with itself.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kdscope.stats.bootstrap import Array, Statistic, Sums, divide, ratio


def self_agreement(codes: ArrayLike) -> Array:
    """Share of pairs of samples that give the same answer, per item.

    Args:
        codes: [I, S] answer codes, negative where invalid; an invalid answer equals nothing. Rows
            with fewer samples are padded with -2.

    Returns:
        [I], NaN where an item has fewer than two samples. Its mean over items is the probability
        that two samples agree, without the bias of counting a sample against itself.
    """
    codes = np.asarray(codes)
    present = (codes != -2).sum(axis=1)
    same = np.zeros(len(codes))
    for s in range(codes.shape[1] if codes.ndim == 2 else 0):
        for other in range(s + 1, codes.shape[1]):
            same += (codes[:, s] == codes[:, other]) & (codes[:, s] >= 0)
    return divide(same, present * (present - 1) / 2)


def cross_agreement(first: ArrayLike, second: ArrayLike) -> Array:
    """Share of pairs (a sample of each) that give the same answer, per item, [I]."""
    first, second = np.asarray(first), np.asarray(second)
    same = np.zeros(len(first))
    for s in range(first.shape[1]):
        for other in range(second.shape[1]):
            same += (first[:, s] == second[:, other]) & (first[:, s] >= 0)
    return divide(same, (first != -2).sum(axis=1) * (second != -2).sum(axis=1))


def total_agreement(samples: Sequence[Sequence[object | None]]) -> float:
    """TAR@N: share of items on which all N runs give the same answer (or raw text).

    Args:
        samples: N sequences over the same items; None equals nothing.

    Source: Atil et al. 2024, arXiv:2408.04667.
    """
    items = list(zip(*samples, strict=True))
    if not items:
        return float("nan")
    return float(np.mean([row[0] is not None and all(x == row[0] for x in row) for row in items]))


def noise_columns(first: ArrayLike, second: ArrayLike) -> dict[str, Array]:
    """Numbers per item for :data:`NOISE`; items without two samples of both drop out.

    Args:
        first: [I, S] answer codes of the reference.
        second: [I, S'] answer codes of the other, in the same coding.
    """
    own, other, cross = (
        self_agreement(first),
        self_agreement(second),
        cross_agreement(first, second),
    )
    defined = np.isfinite(own) & np.isfinite(other) & np.isfinite(cross)
    table = {"sampled": defined.astype(float)}
    for name, values in (("self_reference", own), ("self_other", other), ("cross", cross)):
        table[name] = np.where(defined, values, 0.0)
    return table


def _normalised(sums: Sums) -> Array:
    """A(T,S) / sqrt(A(T,T) A(S,S)): 1 where the two differ no more than each from itself."""
    own = sums["self_reference"].sum(axis=-1) * sums["self_other"].sum(axis=-1)
    return divide(sums["cross"].sum(axis=-1), np.sqrt(own))


NOISE: dict[str, Statistic] = {
    "self_agreement_reference": ratio("self_reference", "sampled"),
    "self_agreement_other": ratio("self_other", "sampled"),
    "agreement_over_samples": ratio("cross", "sampled"),
    "agreement_normalised": _normalised,
}
"""Agreement over samples, its two ceilings, and its share of their geometric mean."""
