"""A key-value cache with room for the whole answer, so that a new token is written and nothing copied.

transformers' own layer joins old and new states at every token; on a CPU with 64 rows that was a fifth of
the time of decoding, and more the longer the answers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class _RoomyLayer(DynamicLayer):
    """The states of one layer in a buffer of fixed length; ``keys`` and ``values`` are views of it."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.length = room, 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Float[Tensor, "B heads T D"], Float[Tensor, "B heads T D"]]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.key_room, self.value_room = self._buffer(key_states), self._buffer(value_states)
        end = self.length + key_states.shape[-2]
        self.key_room[:, :, self.length : end] = key_states
        self.value_room[:, :, self.length : end] = value_states
        self.length = end
        self._look()
        return self.keys, self.values  # type: ignore[return-value]

    def batch_repeat_interleave(self, repeats: int) -> None:
        self.key_room = self.key_room.repeat_interleave(repeats, dim=0)
        self.value_room = self.value_room.repeat_interleave(repeats, dim=0)
        self._look()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows; one that keeps its place is not copied (see :func:`places_kept`)."""
        moved = (indices != torch.arange(len(indices), device=indices.device)).nonzero().squeeze(-1)
        if len(moved):
            self.key_room[moved] = self.key_room[indices[moved]]
            self.value_room[moved] = self.value_room[indices[moved]]
        self.key_room, self.value_room = (
            self.key_room[: len(indices)],
            self.value_room[: len(indices)],
        )
        self._look()

    def _buffer(self, states: Tensor) -> Tensor:
        rows, heads, _, width = states.shape
        return states.new_empty(rows, heads, self.room, width)

    def _look(self) -> None:
        self.keys = self.key_room[:, :, : self.length]
        self.values = self.value_room[:, :, : self.length]


def places_kept(running: Sequence[int]) -> list[int]:
    """The places that go on, in an order in which most stay: the last of them fill the gaps."""
    count, kept = len(running), set(running)
    late = [place for place in running if place >= count]
    return [place if place in kept else late.pop() for place in range(count)]


def is_roomy(cache: DynamicCache) -> bool:
    """Whether every layer keeps all tokens in their order, so that blanks may stand among them."""
    return all(isinstance(layer, _RoomyLayer) for layer in cache.layers)


def roomy_cache(model: PreTrainedModel, room: int) -> DynamicCache:
    """An empty cache for ``room`` tokens; layers with a form of their own (sliding, linear) keep it."""
    cache = DynamicCache(config=model.config)
    cache.layers = [
        _RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache
