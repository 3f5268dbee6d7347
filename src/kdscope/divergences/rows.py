"""An objective on a block of logits: temperature, factor and hard labels around one closed form."""

from collections.abc import Callable

from torch import Tensor

from kdscope.divergences.closed_forms import (
    adaptive_kl,
    forward_kl,
    jsd,
    mse,
    nll,
    reverse_kl,
    skew_kl,
    skew_rkl,
    tvd,
)
from kdscope.divergences.objective import FORMS, Objective
from kdscope.divergences.paper_forms import paper_forward_kl, paper_jsd, paper_reverse_kl

DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "forward_kl": forward_kl,
    "reverse_kl": reverse_kl,
    "jsd": jsd,
    "skew_kl": skew_kl,
    "skew_rkl": skew_rkl,
    "tvd": tvd,
    "mse": mse,
    "adaptive_kl": adaptive_kl,
    "paper_forward_kl": paper_forward_kl,
    "paper_reverse_kl": paper_reverse_kl,
    "paper_jsd": paper_jsd,
}
"""The functions of student and teacher logits; ``nll`` stands apart, since it takes labels."""


def objective_rows_(
    objective: Objective,
    z_s: Tensor,
    z_t: Tensor | None,
    labels: Tensor | None,
    *,
    gradient: bool,
) -> Tensor:
    """Value per row ``[n]``; with `gradient` its gradient with respect to `z_s` is left in `z_s`.

    Both logits matrices ``[n, V]`` are overwritten.
    """
    if objective.name == "nll":
        assert labels is not None
        return nll(z_s, labels, gradient=gradient)
    assert z_t is not None
    share, t = objective.hard_weight, objective.temperature
    hard = z_s.clone() if share else None
    if t != 1.0:
        z_s.mul_(1.0 / t)
        z_t.mul_(1.0 / t)
    value = DIVERGENCES[objective.name](z_s, z_t, **_parameter(objective), gradient=gradient)
    if objective.factor != 1.0:
        value.mul_(objective.factor)
    if gradient and objective.factor != t:
        z_s.mul_(objective.factor / t)
    if hard is not None:
        assert labels is not None
        value.add_(nll(hard, labels, gradient=gradient), alpha=share)
        if gradient:
            z_s.add_(hard, alpha=share)
    return value


def _parameter(objective: Objective) -> dict[str, float]:
    name = FORMS[objective.name].parameter
    return {} if name is None else {name: getattr(objective, name)}


def per_token(
    objective: Objective,
    student_logits: Tensor,
    teacher_logits: Tensor | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """The objective as a measure: its value ``[...]`` at every position of logits ``[..., V]``.

    The same function that students are trained on. Logits of any float dtype are taken at float32
    at least; the two may differ in width, the columns of the wider one beyond the narrower are
    dropped.
    """
    z_s, z_t = _wide(student_logits), None
    if teacher_logits is not None:
        vocab = min(student_logits.shape[-1], teacher_logits.shape[-1])
        z_s, z_t = _wide(student_logits[..., :vocab]), _wide(teacher_logits[..., :vocab])
        z_t = z_t.reshape(-1, vocab)
    flat = None if labels is None else labels.reshape(-1)
    rows = z_s.reshape(-1, z_s.shape[-1])
    return objective_rows_(objective, rows, z_t, flat, gradient=False).reshape(z_s.shape[:-1])


def _wide(logits: Tensor) -> Tensor:
    """A copy in float32, or float64 where it already is, that may be overwritten."""
    wide = logits.detach().clone()
    return wide if wide.element_size() == 8 else wide.float()
