"""What a teacher says about the supervised tokens of a batch, as the loss takes it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kdscope.divergences import Head, Objective, fused_objective
from kdscope.errors import NumericalError

ABSENT = -1e4  # stands where a position has fewer than k tokens
_LEVELS = 127.0


@dataclass(frozen=True, eq=False)
class States:
    """Final hidden states and the head that turns them into the teacher's exact distribution.

    Attributes:
        hidden: ``[N, H]``.
        head: of the teacher.
    """

    hidden: Float[Tensor, "N H"]
    head: Head


@dataclass(frozen=True, eq=False)
class TopK:
    """The k most probable tokens; what is left of the probability is one further outcome.

    Attributes:
        ids: ``[N, k]``; -1 where a position has fewer than k.
        logprobs: ``[N, k]`` at temperature 1, in nats; not read where ``ids`` is -1.
    """

    ids: Int[Tensor, "N k"]
    logprobs: Float[Tensor, "N k"]


Targets = States | TopK


def quantised(states: Float[Tensor, "N H"]) -> dict[str, Tensor]:
    """States in int8 with one scale per token: the largest value of a token becomes 127."""
    wide = states.float()
    scales = wide.abs().amax(-1, keepdim=True).clamp_min(1e-30) / _LEVELS
    return {"states": (wide / scales).round_().to(torch.int8), "scales": scales}


def restored(rows: dict[str, Tensor], dtype: torch.dtype) -> Float[Tensor, "N H"]:
    """The states that :func:`quantised` left, rounded."""
    return (rows["states"].float() * rows["scales"]).to(dtype)


@torch.no_grad()
def quantisation_kl(states: Float[Tensor, "N H"], head: Head, vocabulary: int) -> float:
    """Sum over tokens of KL(exact ‖ int8), in nats.

    Raises:
        NumericalError: the states are not finite.
    """
    rounded = restored(quantised(states), states.dtype)
    ones = torch.ones(len(states), device=states.device)
    loss = fused_objective(
        rounded, head, None, ones, Objective("forward_kl"), teacher_hidden=states, teacher_head=head,
        vocab_size=vocabulary,
    ).loss  # fmt: skip
    if not torch.isfinite(loss):
        raise NumericalError("the teacher's states are not finite")
    return float(loss)
