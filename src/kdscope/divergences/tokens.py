"""Two models token by token: KLs, JSD and matching choices, from hidden states and heads.

The measures are the objectives' own functions, at temperature 1 and without gradients; no more than
a budget of logits is alive.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from kdscope.divergences.heads import Head, gathered
from kdscope.divergences.objective import Objective
from kdscope.divergences.products import products_for
from kdscope.divergences.rows import objective_rows_
from kdscope.divergences.sweep import CPU_BUDGET, GPU_BUDGET, finish_logits_

TOP = 5
_ALIVE = 6  # matrices of a chunk that are alive at once
_MEASURES = {
    "forward_kl": Objective("forward_kl"),
    "reverse_kl": Objective("reverse_kl"),
    "jsd": Objective("jsd", beta=0.5),
}


class TokenMeasures(NamedTuple):
    """One value per position, [N], on the processor.

    Attributes:
        forward_kl: KL(p‖q), nats.
        reverse_kl: KL(q‖p), nats.
        jsd: Jensen-Shannon divergence with equal weights, nats, at most log 2.
        top1: 1 where both find the same token most probable.
        topk: share of the teacher's :data:`TOP` most probable tokens among the student's.
    """

    forward_kl: Tensor
    reverse_kl: Tensor
    jsd: Tensor
    top1: Tensor
    topk: Tensor


@torch.no_grad()
def measure_tokens(
    student_hidden: Tensor,
    student_head: Head,
    teacher_hidden: Tensor,
    teacher_head: Head,
    *,
    vocab_size: int | None = None,
    byte_budget: int | None = None,
) -> TokenMeasures:
    """Compare the two distributions at each of N positions.

    Args:
        student_hidden: final hidden states ``[N, H_s]``.
        student_head: ``V_s`` rows.
        teacher_hidden: ``[N, H_t]``, of the same tokens.
        teacher_head: ``V_t`` rows.
        vocab_size: leading rows of both heads that are real tokens; None for the rows of the
            smaller head.
        byte_budget: of logits alive at once; None for 256 MiB on a CPU, 1 GiB elsewhere.
    """
    heads = [gathered(head).frozen() for head in (student_head, teacher_head)]
    vocab = min(vocab_size or heads[0].weight.shape[0], *(head.weight.shape[0] for head in heads))
    heads = [head.rows(0, vocab) for head in heads]
    budget = byte_budget or (CPU_BUDGET if student_hidden.device.type == "cpu" else GPU_BUDGET)
    step = max(1, budget // (_ALIVE * 4 * vocab))
    parts = [
        _measure(
            logits_of(student_hidden[start : start + step], heads[0]),
            logits_of(teacher_hidden[start : start + step], heads[1]),
        )
        for start in range(0, student_hidden.shape[0], step)
    ]
    columns = zip(*parts, strict=True) if parts else [[torch.empty(0)]] * 5
    return TokenMeasures(*(torch.cat(list(column)) for column in columns))


def logits_of(hidden: Tensor, head: Head) -> Tensor:
    """Logits of some positions, ``[n, V]``, in float32 at least."""
    products = products_for(hidden, head, "exact")
    z = hidden.new_empty(hidden.shape[0], head.weight.shape[0], dtype=products.logits_dtype)
    products.project(hidden, head, z)
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    finish_logits_(z, head)
    return z


def _measure(z_s: Tensor, z_t: Tensor) -> TokenMeasures:
    """All measures of a chunk of logits, which are left as they are."""
    values = {
        name: objective_rows_(objective, z_s.clone(), z_t.clone(), None, gradient=False)
        for name, objective in _MEASURES.items()
    }
    k = min(TOP, z_s.shape[1])
    ours, theirs = z_s.topk(k).indices, z_t.topk(k).indices
    shared = (theirs.unsqueeze(-1) == ours.unsqueeze(-2)).any(-1).float().mean(-1)
    match = (z_s.argmax(-1) == z_t.argmax(-1)).float()
    clean = {name: value.clamp_min(0.0).float().cpu() for name, value in values.items()}
    return TokenMeasures(**clean, top1=match.cpu(), topk=shared.cpu())
