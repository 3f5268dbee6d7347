"""What is watched while training, from the logits in memory. At temperature 1, in nats."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from kdscope.divergences.closed_forms import expectation, log_softmax_


@dataclass(frozen=True, eq=False)
class Telemetry:
    """Sums over tokens (divide by `tokens` for means); None where there is no teacher.

    Attributes:
        tokens: number of positions.
        student_entropy: entropy of the student's distribution.
        teacher_entropy: entropy of the teacher's distribution.
        top1_match: positions where both find the same token most probable.
        forward_kl: ``KL(p || q)``.
        reverse_kl: ``KL(q || p)``.
        dropped_mass: probability that the teacher gives to rows beyond the shared vocabulary.
        student_dropped_mass: the same of the student.
    """

    tokens: int
    student_entropy: Tensor
    teacher_entropy: Tensor | None = None
    top1_match: Tensor | None = None
    forward_kl: Tensor | None = None
    reverse_kl: Tensor | None = None
    dropped_mass: Tensor | None = None
    student_dropped_mass: Tensor | None = None

    def __add__(self, other: "Telemetry") -> "Telemetry":
        return Telemetry(
            **{
                field.name: _sum(getattr(self, field.name), getattr(other, field.name))
                for field in fields(self)
            }
        )

    def on_cpu(self) -> "Telemetry":
        """The same sums, to be told to another process."""
        sums = ((field.name, getattr(self, field.name)) for field in fields(self)[1:])
        return replace(self, **{name: value.cpu() for name, value in sums if value is not None})

    def means(self) -> dict[str, float]:
        """Mean per token of everything that was observed."""
        count = max(1, self.tokens)
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self)[1:])
        return {name: float(value) / count for name, value in pairs if value is not None}


def _sum(a, b):
    return b if a is None else a if b is None else a + b


def observe(z_s: Tensor, z_t: Tensor | None) -> Telemetry:
    """Telemetry of a block of logits ``[n, V]``, which are left as they are."""
    lq = log_softmax_(z_s.clone())
    q = lq.exp()
    negative_entropy = expectation(q, lq)
    if z_t is None:
        return Telemetry(z_s.shape[0], -negative_entropy.sum())
    lp = log_softmax_(z_t.clone())
    p = lp.exp()
    negative_teacher_entropy = expectation(p, lp)
    match = z_s.argmax(-1) == z_t.argmax(-1)
    reverse = negative_entropy - expectation(q, lp)
    forward = negative_teacher_entropy - expectation(p, lq)
    return Telemetry(
        z_s.shape[0],
        -negative_entropy.sum(),
        -negative_teacher_entropy.sum(),
        match.sum().to(z_s.dtype),
        forward.sum(),
        reverse.sum(),
    )


def dropped_mass(kept: Tensor, rest: Tensor) -> Tensor:
    """Probability, summed over rows, of logits `rest` ``[n, R]`` beside `kept` ``[n, V]``."""
    gap = torch.logsumexp(rest, dim=-1) - torch.logsumexp(kept, dim=-1)
    return torch.sigmoid(gap).sum()
