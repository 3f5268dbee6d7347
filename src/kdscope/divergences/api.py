"""The public function that other trainers can call."""

import torch
from torch import Tensor

from kdscope.divergences.fused import fused_objective
from kdscope.divergences.heads import Head
from kdscope.divergences.objective import Objective
from kdscope.errors import UserError

REDUCTIONS = ("mean", "sum", "none")
IGNORED = -100


def divergence(  # noqa: PLR0913 - every argument is a tensor or a setting of one formula
    student_hidden: Tensor,
    student_head: Tensor | Head,
    teacher_hidden: Tensor | None = None,
    teacher_head: Tensor | Head | None = None,
    *,
    objective: str = "reverse_kl",
    beta: float | None = None,
    alpha: float | None = None,
    mu: float | None = None,
    temperature: float = 1.0,
    scale_by_t2: bool = False,
    vocab_size: int | None = None,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    labels: Tensor | None = None,
    reduction: str = "mean",
    precision: str = "exact",
    byte_budget: int | None = None,
) -> Tensor:
    """A divergence of student and teacher from their hidden states, without materialising logits.

    Exact in value and gradient; differentiable in `student_hidden` and, where they require it, in
    `student_head` and `student_bias`, once: the teacher gets no gradient, and a second derivative is
    refused. Gradients are made in the forward pass, backward only rescales. A NaN among the hidden
    states or weights gives NaN, it is never hidden. A logit of -inf (padded rows with a bias of
    -inf, say) is a token of probability 0: excluded by both models it changes nothing, and a KL is
    inf where its second distribution excludes what its first does not.

    Example:
        >>> loss = kdscope.divergence(h_s, student.lm_head.weight, h_t, teacher.lm_head.weight,
        ...                           objective="jsd", beta=0.5, labels=labels)
        >>> loss.backward()

    Args:
        student_hidden: final hidden states ``[N, H_s]``; position i is followed by ``labels[i]``.
        student_head: ``[V_s, H_s]``, or a :class:`kdscope.divergences.Head` with scale and softcap.
        teacher_hidden: ``[N, H_t]``; not needed by ``nll``.
        teacher_head: ``[V_t, H_t]``, of another number of rows if need be.
        objective: ``nll``, ``forward_kl``, ``reverse_kl``, ``jsd``, ``skew_kl``, ``skew_rkl``,
            ``tvd``, ``mse`` or ``adaptive_kl``.
        beta: weight of the teacher in the mixture of ``jsd``, default 0.5.
        alpha: skew of ``skew_kl`` and ``skew_rkl``, default 0.1.
        mu: mass of the head of ``adaptive_kl``, default 0.5.
        temperature: of both softmaxes.
        scale_by_t2: multiply by temperature**2.
        vocab_size: leading rows of both heads that are real tokens; None for the rows of the
            smaller head.
        student_bias: ``[V_s]``.
        teacher_bias: ``[V_t]``.
        labels: next tokens ``[N]``; positions labelled -100 are left out, whatever the objective.
        reduction: ``mean`` over the positions that count (0 if there are none), ``sum``, or
            ``none`` for ``[N]`` with 0 where the label is -100.
        precision: ``exact`` (float32 logits) or ``fast`` (rounded to the dtype of the head).
        byte_budget: of logits and scratch alive at once; None for 256 MiB on a CPU, 1 GiB
            elsewhere.

    Raises:
        UserError: for unknown names, parameters that the objective does not have, shapes that do
            not fit.
    """
    if reduction not in REDUCTIONS:
        raise UserError(f"reduction {reduction!r}: choose one of {', '.join(REDUCTIONS)}")
    goal = Objective(
        objective, beta=beta, alpha=alpha, mu=mu, temperature=temperature, scale_by_t2=scale_by_t2
    )
    hidden, keep = student_hidden, None
    if labels is not None and labels.shape != hidden.shape[:1]:
        raise UserError(
            f"labels of shape {tuple(labels.shape)} for {hidden.shape[0]} positions: "
            "one number each is needed"
        )
    if labels is not None and bool((labels == IGNORED).any()):
        keep = (labels != IGNORED).nonzero().squeeze(-1)
        hidden, labels = student_hidden[keep], labels[keep]
        teacher_hidden = None if teacher_hidden is None else teacher_hidden[keep]
    count = hidden.shape[0]
    each = None
    if reduction != "none":
        share = 1.0 / max(1, count) if reduction == "mean" else 1.0
        each = hidden.new_full(
            (count,), share, dtype=torch.promote_types(hidden.dtype, torch.float32)
        )
    result = fused_objective(
        hidden,
        student_head,
        labels,
        each,
        goal,
        teacher_hidden=teacher_hidden,
        teacher_head=teacher_head,
        vocab_size=vocab_size,
        student_bias=student_bias,
        teacher_bias=teacher_bias,
        precision=precision,
        byte_budget=byte_budget,
    )
    if reduction != "none":
        return result.loss
    if keep is None:
        return result.values
    return result.values.new_zeros(student_hidden.shape[0]).index_copy(0, keep, result.values)
