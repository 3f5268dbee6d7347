"""An objective on the teacher's k most probable tokens and one outcome for all the others.

Both distributions are reduced to k + 1 outcomes: the k tokens, and the rest with the probability that is
left. A divergence of the reduced distributions is a lower bound of the full one (data processing), 0 only
where they agree, and nothing is renormalised. The student's logits live for a few rows at a time, and its
gradient has a closed form: with g the gradient on the k + 1 log-probabilities (it sums to 0),
``d/dz_i = g_i`` for the k tokens and ``g_rest * q_i / q_rest`` for the others.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdscope.distillation.methods import GROUPED
from kdscope.distillation.targets import TopK
from kdscope.divergences import Head, Objective
from kdscope.divergences.heads import gathered
from kdscope.divergences.rows import objective_rows_
from kdscope.errors import ConfigError

ROWS = 64  # of logits that live at once
_LEAST = 1e-12  # probability of the rest, so that its logarithm is finite
_ABSENT = -60.0  # log-probability of a token that is not there


def check_grouped(objective: Objective, sigma: float = 0.0) -> None:
    """Refuse what the k most probable tokens cannot carry.

    Raises:
        ConfigError: an objective on all logits, a temperature other than 1, or noise on the logits.
    """
    wanted = []
    if objective.name not in GROUPED:
        wanted.append(f"the objective {objective.name} (possible: {', '.join(GROUPED)})")
    if objective.temperature != 1.0:
        wanted.append(f"temperature {objective.temperature:g}")
    if sigma:
        wanted.append(f"teacher_noise {sigma:g}")
    if wanted:
        raise ConfigError(
            f"{' and '.join(wanted)} needs all of the teacher's logits, and topk and server signals have "
            "a few tokens only: use teacher_signal: cached or live"
        )


def grouped_objective(
    hidden: Tensor,
    head: Head,
    labels: Tensor,
    weights: Tensor,
    objective: Objective,
    targets: TopK,
    vocabulary: int,
) -> Tensor:
    """The weighted sum of an objective over supervised positions, a scalar.

    Args:
        hidden: the student's final hidden states ``[N, H]``.
        head: the student's.
        labels: next tokens ``[N]``, for hard labels.
        weights: of each position in the sum ``[N]``.
        objective: one that :func:`check_grouped` lets pass.
        targets: the teacher's tokens.
        vocabulary: leading rows of the head that are real tokens.
    """
    head = gathered(head).rows(0, vocabulary)
    task = _Task(head, labels, weights, objective, targets)
    return _Grouped.apply(hidden, head.weight, head.bias, task)


class _Task(NamedTuple):
    head: Head
    labels: Tensor
    weights: Tensor
    objective: Objective
    targets: TopK


class _Grouped(torch.autograd.Function):
    """The sum, with its gradients made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, task: _Task) -> Any:
        wanted = ctx.needs_input_grad
        wide = torch.promote_types(hidden.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        into_hidden = torch.zeros(hidden.shape, dtype=wide, device=hidden.device)
        into_weight = (
            torch.zeros(weight.shape, dtype=wide, device=hidden.device) if wanted[1] else None
        )
        into_bias = torch.zeros_like(bias, dtype=wide) if bias is not None and wanted[2] else None
        matrix = weight.to(wide)
        for start in range(0, len(hidden), ROWS):
            rows = slice(start, min(start + ROWS, len(hidden)))
            states = hidden[rows].to(wide)
            value, gradient = _rows(states @ matrix.t(), bias, rows, task)
            each = task.weights[rows].to(wide)
            total += value @ each
            gradient *= each.unsqueeze(-1)
            into_hidden[rows] = gradient @ matrix
            if into_weight is not None:
                into_weight.addmm_(gradient.t(), states)
            if into_bias is not None:
                into_bias += gradient.sum(0)
        ctx.save_for_backward(into_hidden.to(hidden.dtype), into_weight, into_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        (grad,) = grad_outputs
        return *(None if saved is None else saved * grad for saved in ctx.saved_tensors), None


def _rows(z: Tensor, bias: Tensor | None, rows: slice, task: _Task) -> tuple[Tensor, Tensor]:
    """Values ``[n]`` of some rows of raw logits, and their gradient ``[n, V]`` on these."""
    head, objective, targets = task.head, task.objective, task.targets
    if bias is not None:
        z = z + bias.to(z.dtype)
    z, slope = z * head.scale, None
    if head.softcap is not None:
        bounded = torch.tanh(z / head.softcap)
        z, slope = head.softcap * bounded, 1.0 - bounded.square()
    there = targets.ids[rows] >= 0
    ids = torch.where(there, targets.ids[rows], targets.ids[rows][:, :1])
    log_q = z.log_softmax(-1)
    ours = _with_rest(log_q.gather(-1, ids), there)
    theirs = _with_rest(targets.logprobs[rows].to(z.dtype), there)
    q, q_rest = log_q.exp(), ours[:, -1:].exp()
    soft = replace(objective, hard_weight=0.0)
    share = 1.0 - objective.hard_weight
    value = objective_rows_(soft, ours, theirs, None, gradient=True) * share
    ours *= share  # now the gradient on the k + 1 outcomes
    gradient = q * (ours[:, -1:] / q_rest)
    gradient.scatter_(-1, ids, torch.where(there, ours[:, :-1], ours[:, :1]))
    if objective.hard_weight:
        _add_hard_labels(value, gradient, log_q, q, task.labels[rows], objective.hard_weight)
    return value, (gradient if slope is None else gradient * slope) * head.scale


def _with_rest(logprobs: Tensor, there: Tensor) -> Tensor:
    """Log-probabilities ``[n, k + 1]``: the k tokens (absent ones next to nothing), and the rest."""
    kept = logprobs.masked_fill(~there, _ABSENT)
    rest = (1.0 - kept.exp().sum(-1, keepdim=True)).clamp_min(_LEAST).log()
    return torch.cat([kept, rest], dim=-1)


def _add_hard_labels(
    value: Tensor, gradient: Tensor, log_q: Tensor, q: Tensor, labels: Tensor, weight: float
) -> None:
    """Add the negative log-likelihood of the labels, in place."""
    at = labels.unsqueeze(-1)
    value -= weight * log_q.gather(-1, at).squeeze(-1)
    gradient += weight * q
    gradient.scatter_add_(-1, at, torch.full_like(at, -weight, dtype=gradient.dtype))
