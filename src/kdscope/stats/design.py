"""What is resampled with what: units, strata, and clusters that span them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Block:
    """Units that are drawn among themselves.

    Attributes:
        items: indices of the block's items, [I_b].
        unit: unit of each of these items, [I_b], in 0..units-1.
        units: number of units.
        groups: the groups that the block's items belong to.
    """

    items: NDArray[np.intp]
    unit: NDArray[np.intp]
    units: int
    groups: NDArray[np.intp]


@dataclass(frozen=True)
class Design:
    """What is drawn with what: made once per set of items, shared by all columns.

    Attributes:
        group: group of each item, [I], in 0..len(labels)-1.
        labels: the groups' names, in sorted order; ``("all",)`` without groups.
        blocks: the resampling strata. A cluster that spans two groups (a question that two
            benchmarks share) makes them draw from common blocks, so that it stays whole.
        clustered: some unit has more than one item.
    """

    group: NDArray[np.intp]
    labels: tuple[str, ...]
    blocks: tuple[Block, ...]
    clustered: bool

    @property
    def units(self) -> int:
        """Number of independent units."""
        return sum(block.units for block in self.blocks)


def codes(values: Sequence[Any] | NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Integer codes in 0..n-1 of the values, and the sorted distinct values."""
    distinct, code = np.unique(np.asarray(values), return_inverse=True)
    return code.reshape(-1), distinct


def design(
    items: int, *, groups: Sequence[Any] | None = None, clusters: Sequence[Any] | None = None
) -> Design:
    """Describe how items are resampled.

    Args:
        items: number of items I.
        groups: [I] labels (task) within which items are drawn, so that each keeps its size.
        clusters: [I] labels of items that are drawn together (duplicated question, twin pair).
    """
    if items < 1:
        raise ValueError("a bootstrap needs at least one item")
    for name, values in (("groups", groups), ("clusters", clusters)):
        if values is not None and len(values) != items:
            raise ValueError(f"{name} has {len(values)} labels for {items} items")
    group, names = codes(groups) if groups is not None else (np.zeros(items, np.intp), ["all"])
    cluster, kinds = codes(clusters) if clusters is not None else (np.arange(items), range(items))
    touched = np.zeros((len(kinds), len(names)), bool)
    touched[cluster, group] = True
    patterns, block_of = np.unique(touched, axis=0, return_inverse=True)
    block_of = block_of.reshape(-1)
    blocks = []
    for b, pattern in enumerate(patterns):
        members = np.flatnonzero(block_of[cluster] == b)
        unit, distinct = codes(cluster[members])
        blocks.append(Block(members, unit, len(distinct), np.flatnonzero(pattern)))
    labels = tuple(str(name) for name in names)
    return Design(group.astype(np.intp), labels, tuple(blocks), len(kinds) < items)
