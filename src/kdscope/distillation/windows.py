"""The examples of one optimizer step: in which order, whose share they are, in which micro-batches.

Every process walks through the same windows and takes its own share of each, so that nothing has to be
told across processes, and a window of any size is computed as one process would compute it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, Sampler

from kdscope.data.collation import Encoded


class Examples(Dataset):
    """Encoded examples by position, as the Trainer wants them."""

    def __init__(self, examples: Sequence[Encoded]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Encoded:
        return self.examples[index]


def as_they_are(examples: list[Encoded]) -> Any:
    """Leave a window as a list: examples become tensors micro-batch by micro-batch."""
    return examples


class ShuffledWindows(Sampler[list[int]]):
    """Positions of the examples of each optimizer step; every epoch has an order of its own.

    Args:
        count: examples in all.
        size: of a window, over all processes; the last of an epoch may be smaller.
        seed: of the order.
        epoch: called when an epoch begins; a run that is resumed starts in the middle of its own.
    """

    def __init__(self, count: int, size: int, seed: int, epoch: Callable[[], int]) -> None:
        self.count, self.size, self.seed, self.epoch = count, size, seed, epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch())
        order = torch.randperm(self.count, generator=generator).tolist()
        for start in range(0, self.count, self.size):
            yield order[start : start + self.size]

    def __len__(self) -> int:
        return math.ceil(self.count / self.size)


class MicroBatch(NamedTuple):
    """Examples of one forward pass; ``counts`` is False where it only keeps step with other processes."""

    examples: list[Encoded]
    counts: bool = True


class Share(NamedTuple):
    """What one process computes of a window.

    Attributes:
        examples: its own ones; at least one.
        counts: False where the window has none for it, so that it repeats one without weight.
        most: examples of the largest share.
    """

    examples: list[Encoded]
    counts: bool
    most: int


def share(window: Sequence[Encoded], rank: int, world: int) -> Share:
    """The part of process ``rank`` of ``world``."""
    own = list(window[rank::world])
    return Share(own or [window[0]], bool(own), math.ceil(len(window) / world))


def micro_batches(part: Share, size: int) -> list[MicroBatch]:
    """A share in micro-batches of at most ``size``: as many in every process, of similar lengths."""
    count = math.ceil(part.most / size)
    if count == 1:
        return [MicroBatch(part.examples, part.counts)]
    order = sorted(
        part.examples, key=lambda example: -example.length
    )  # what cannot fit fails at once
    batches = [
        MicroBatch(order[start : start + size], part.counts) for start in range(0, len(order), size)
    ]
    idle = MicroBatch(order[-1:], counts=False)
    return batches + [idle] * (count - len(batches))
