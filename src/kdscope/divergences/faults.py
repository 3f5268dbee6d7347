"""Where a loss that is not finite comes from: the first position, and what is wrong there.

Asked only after a loss has come out as NaN or infinite, so that it may cost another pass.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdscope.divergences.fused import fused_objective
from kdscope.divergences.heads import Head, as_head, gathered
from kdscope.divergences.objective import Objective
from kdscope.divergences.tokens import logits_of


class Fault(NamedTuple):
    """The first position whose value is not finite.

    Attributes:
        row: its index among the N positions.
        place: the part of the model that is to blame, with the token id where there is one.
    """

    row: int
    place: str


@torch.no_grad()
def first_fault(
    student_hidden: Tensor,
    student_head: Any,
    labels: Tensor | None,
    objective: Objective,
    *,
    teacher_hidden: Tensor | None = None,
    teacher_head: Any = None,
    vocab_size: int | None = None,
    **options: Any,
) -> Fault | None:
    """The first position at which an objective is NaN or infinite; None where all are finite.

    Args:
        student_hidden: ``[N, H_s]``.
        student_head: as for :func:`kdscope.divergences.fused_objective`.
        labels: ``[N]``, or None.
        objective: what was computed.
        teacher_hidden: ``[N, H_t]``.
        teacher_head: ``V_t`` rows.
        vocab_size: leading rows of both heads that are real tokens.
        options: further ones of :func:`kdscope.divergences.fused_objective`, as they were given.
    """
    values = fused_objective(
        student_hidden, student_head, labels, None, objective,
        teacher_hidden=teacher_hidden, teacher_head=teacher_head, vocab_size=vocab_size, **options,
    ).values  # fmt: skip
    wrong = (~values.isfinite()).nonzero()
    if not len(wrong):
        return None
    row = int(wrong[0])
    states = {"student": (student_hidden[row], gathered(as_head(student_head)))}
    if objective.needs_teacher and teacher_hidden is not None:
        states["teacher"] = (teacher_hidden[row], gathered(as_head(teacher_head)))
    vocab = min(head.weight.shape[0] for _, head in states.values())
    states = {
        who: (hidden, head.rows(0, vocab_size or vocab)) for who, (hidden, head) in states.items()
    }
    label = int(labels[row]) if objective.needs_labels and labels is not None else None
    return Fault(row, _place(states) or _excluded(states, label))


def _place(states: dict[str, tuple[Tensor, Head]]) -> str | None:
    """What is not finite before two distributions are compared: states, weights, products."""
    for who, (hidden, _) in states.items():
        if not hidden.isfinite().all():
            return f"the {who}'s last hidden state"
    for who, (hidden, head) in states.items():
        if (bad := _first(~head.weight.isfinite().all(-1))) is not None:
            return f"the weights of the {who}'s head (token {bad})"
        z = logits_of(hidden.unsqueeze(0), head).squeeze(0)
        if (bad := _first(z.isnan() | (z == torch.inf))) is not None:
            return f"the {who}'s logits (token {bad}: {z[bad].item()})"
        if (z == -torch.inf).all():
            return f"the {who}'s logits (all are -inf)"
    return None


def _excluded(states: dict[str, tuple[Tensor, Head]], label: int | None) -> str:
    """Where finite logits disagree about which tokens can be at all."""
    out = {
        who: logits_of(hidden.unsqueeze(0), head).squeeze(0) == -torch.inf
        for who, (hidden, head) in states.items()
    }
    if label is not None and bool(out["student"][label]):
        return f"the student's logits (-inf for the label, token {label})"
    both = out.get("teacher", out["student"])
    for who, mine, other in (("student", out["student"], both), ("teacher", both, out["student"])):
        if (bad := _first(mine & ~other)) is not None:
            return (
                f"the {who}'s logits (-inf for token {bad}, which the other model does not exclude)"
            )
    return "the comparison of both models' logits (noise included)"


def _first(flags: Tensor) -> int | None:
    found = flags.nonzero()
    return int(found[0]) if len(found) else None
