"""Teacher signals: where the teacher's distribution comes from.

A signal gives the teacher's final hidden states at the supervised positions, in the order in which the
student's come; with the teacher's head they are its exact distribution, for every objective, temperature
and noise level.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdscope.data.collation import Batch, Encoded
from kdscope.distillation.cache import TeacherCache
from kdscope.divergences import Head, model_head
from kdscope.models.adapters import plain
from kdscope.models.states import supervised_states, take_head_out


class TeacherSignal(Protocol):
    """Hidden states of the teacher, and the head that belongs to them."""

    head: Head

    def states(self, examples: Sequence[Encoded], batch: Batch) -> Float[Tensor, "N H"]:
        """States at the supervised positions of ``batch``, which holds ``examples`` in this order."""
        ...


class LiveTeacher:
    """The teacher runs on every batch; the only signal for the student's own rollouts."""

    def __init__(self, model: nn.Module) -> None:
        if model.training:
            raise RuntimeError("a teacher must be in evaluation mode: call model.eval() first")
        self.head = model_head(plain(model))
        self.model = model.requires_grad_(False)
        take_head_out(model)
        self.tokens = 0

    @torch.no_grad()
    def states(self, examples: Sequence[Encoded], batch: Batch) -> Float[Tensor, "N H"]:
        """Forward the batch through the teacher's backbone."""
        self.tokens += int(batch.attention_mask.sum())
        return supervised_states(self.model, *batch)[0]


class CachedTeacher:
    """States that were written once, for reference (or teacher) text."""

    def __init__(self, cache: TeacherCache, device: str) -> None:
        self.cache, self.device = cache, device
        head = cache.head()
        self.head = Head(
            head.weight.to(device),
            None if head.bias is None else head.bias.to(device),
            head.scale,
            head.softcap,
        )

    def states(self, examples: Sequence[Encoded], batch: Batch) -> Float[Tensor, "N H"]:
        """Read the states of these examples."""
        return torch.cat([self.cache.states(example) for example in examples]).to(self.device)
