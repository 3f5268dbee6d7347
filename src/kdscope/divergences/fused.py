"""The fused head: hidden states and head weights in, loss out, a budget of logits alive.

Gradients are made in the forward pass; backward only rescales them. A frozen head costs neither a
gradient nor a product.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdscope.divergences.heads import Head, as_head, gathered
from kdscope.divergences.objective import Objective
from kdscope.divergences.sweep import Noise, Sweep, Task
from kdscope.divergences.telemetry import Telemetry
from kdscope.errors import UserError

PRECISIONS = ("exact", "fast")


class FusedLoss(NamedTuple):
    """What one pass over the supervised positions gave.

    Attributes:
        loss: ``sum_i weights_i * value_i``, differentiable; a scalar.
        values: value per position ``[N]``: differentiable if no weights were given, else detached.
        telemetry: sums over positions, detached, or None where not asked for.
    """

    loss: Tensor
    values: Tensor
    telemetry: Telemetry | None


def fused_objective(  # noqa: PLR0913 - the one wide door of this room
    student_hidden: Tensor,
    student_head: Any,
    labels: Tensor | None,
    weights: Tensor | None,
    objective: Objective,
    *,
    teacher_hidden: Tensor | None = None,
    teacher_head: Any = None,
    teacher_noise: Noise | None = None,
    vocab_size: int | None = None,
    student_bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    precision: str = "exact",
    byte_budget: int | None = None,
    telemetry: bool = False,
) -> FusedLoss:
    """The weighted sum of an objective over supervised positions, without ever holding all logits.

    Gradients go to `student_hidden` and, where they require it, to the student's head and bias.

    Args:
        student_hidden: final hidden states of the supervised positions ``[N, H_s]``.
        student_head: weight ``[V_s, H_s]``, a linear module, or a :class:`Head` (with scale and
            softcap).
        labels: next token of each position ``[N]``, below `vocab_size`; for ``nll`` and hard
            labels.
        weights: of each position in the sum ``[N]``. None for 1 each, and values that are
            differentiable one by one (a trainable head then takes a second pass in backward).
        objective: what is computed per position.
        teacher_hidden: ``[N, H_t]``, on the student's device.
        teacher_head: as `student_head`, ``V_t`` rows.
        teacher_noise: gives the noise that is added to the teacher's logits of a slice of rows.
        vocab_size: leading rows of both heads that are real tokens; None for the rows of the
            smaller head.
        student_bias: ``[V_s]``, instead of the head's own.
        teacher_bias: ``[V_t]``, instead of the head's own.
        precision: ``exact`` (float32 logits) or ``fast`` (logits rounded to the dtype of the head,
            where the device multiplies that dtype faster).
        byte_budget: of logits and scratch alive at once, head and hidden-state gradients apart;
            None for 256 MiB on a CPU, 1 GiB elsewhere.
        telemetry: collect entropies, KLs, top-1 match and dropped mass as well.

    Raises:
        UserError: if shapes or settings do not fit together.
        ModelError: if a head carries a LoRA adapter.
    """
    student = gathered(as_head(student_head, student_bias))
    teacher = None
    if objective.needs_teacher and teacher_head is not None:
        teacher = gathered(as_head(teacher_head, teacher_bias)).frozen()
    count = _checked_count(student_hidden, student, objective, teacher_hidden, teacher)
    _check_vectors(count, labels, weights, objective)
    _check_settings(precision, byte_budget)
    vocab = _shared_vocabulary(student, teacher, vocab_size)
    if objective.needs_labels and labels is not None:
        _check_labels(labels, vocab)
    task = Task(
        objective=objective,
        teacher=teacher and teacher.rows(0, vocab),
        teacher_hidden=None if teacher_hidden is None else teacher_hidden.detach(),
        teacher_noise=teacher_noise,
        labels=labels if objective.needs_labels else None,
        precision=precision,
        byte_budget=byte_budget,
        telemetry=telemetry,
        dropped=_dropped(student, teacher, vocab) if telemetry else (None, None),
    )
    student = student.rows(0, vocab)
    function = _Weighted if weights is not None else _PerPosition
    out = function.apply(student_hidden, student.weight, student.bias, student, weights, task)
    loss, values = out if weights is not None else (out.sum(), out)
    return FusedLoss(loss, values, task.collected)


class _Weighted(torch.autograd.Function):
    """The weighted sum, with its gradients made in the forward pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, *rest: Any) -> Any:
        student, weights, task = rest
        sweep = _swept(ctx.needs_input_grad, hidden, weight, bias, student, weights, task)
        ctx.save_for_backward(sweep.into_hidden, sweep.into_weight, sweep.into_bias)
        ctx.mark_non_differentiable(sweep.values)
        return torch.dot(sweep.values, weights.to(sweep.values.dtype)), sweep.values

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        _refuse_second_derivative()
        into = ctx.saved_tensors
        grad = grad_outputs[0]
        return *(None if saved is None else saved * grad for saved in into), None, None, None


class _PerPosition(torch.autograd.Function):
    """Values one by one: the gradient of a trainable head needs their weights, so a second pass."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, *rest: Any) -> Any:
        student, _, task = rest
        needed = ctx.needs_input_grad
        ctx.again = (student, task) if needed[1] or needed[2] else None
        ones = hidden.new_ones(()).expand(hidden.shape[0])
        first = (needed[0] and ctx.again is None, False, False)
        sweep = _swept(first, hidden, weight, bias, student, ones, task)
        if ctx.again is None:
            ctx.save_for_backward(sweep.into_hidden)
        else:
            ctx.save_for_backward(hidden, weight, bias)
        return sweep.values

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        _refuse_second_derivative()
        (grad,) = grad_outputs
        if ctx.again is None:
            (into,) = ctx.saved_tensors
            scaled = None if into is None else into * grad.unsqueeze(-1).to(into.dtype)
            return scaled, None, None, None, None, None
        student, task = ctx.again
        hidden, weight, bias = ctx.saved_tensors
        task = replace(task, telemetry=False)
        sweep = _swept(ctx.needs_input_grad, hidden, weight, bias, student, grad, task)
        return sweep.into_hidden, sweep.into_weight, sweep.into_bias, None, None, None


def _refuse_second_derivative() -> None:
    """Gradients are constants here: a graph over them would be without this part, silently."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise UserError(
            "the gradient of a fused objective is made in the forward pass and cannot be "
            "differentiated again: leave out create_graph=True"
        )


def _swept(
    wanted: tuple[bool, ...],
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    student: Head,
    weights: Tensor,
    task: Task,
) -> Sweep:
    student = replace(student, weight=weight, bias=bias)
    with torch.autocast(hidden.device.type, enabled=False):
        sweep = Sweep(task, hidden, student, weights, wanted[:3]).run()
    task.collected = sweep.telemetry or task.collected
    return sweep


def _check_settings(precision: str, byte_budget: int | None) -> None:
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if byte_budget is not None and byte_budget < 1:
        raise UserError(
            f"byte_budget {byte_budget!r}: a number of bytes above 0 is needed (None for the default)"
        )


def _check_labels(labels: Tensor, vocab: int) -> None:
    """Refuse labels outside the vocabulary, where looking at them does not stop the device."""
    if labels.is_floating_point():
        raise UserError(
            f"labels of {labels.dtype}: they are token ids, an integer tensor is needed"
        )
    if labels.device.type != "cpu" or labels.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low < 0 or high >= vocab:
        raise UserError(
            f"labels run from {low} to {high}, but the vocabulary has {vocab} tokens: leave out "
            "ignored positions, and check that the labels come from this tokenizer"
        )


def _dropped(student: Head, teacher: Head | None, vocab: int) -> tuple[Head | None, Head | None]:
    """The rows from `vocab` on of both heads, where there are any."""
    first, second = (
        None if head is None or head.weight.shape[0] == vocab else head.frozen().rows(vocab, None)
        for head in (student, teacher)
    )
    return first, second


def _shared_vocabulary(student: Head, teacher: Head | None, vocab_size: int | None) -> int:
    rows = {"student": student.weight.shape[0]}
    if teacher is not None:
        rows["teacher"] = teacher.weight.shape[0]
    if vocab_size is None:
        return min(rows.values())
    if not 0 < vocab_size <= min(rows.values()):
        have = ", ".join(f"{who} {count}" for who, count in rows.items())
        raise UserError(
            f"vocab_size {vocab_size} does not fit the heads (rows: {have}). Give the number of "
            "tokens that the tokenizer really has, at most the rows of the smaller head, or None "
            "for those."
        )
    return vocab_size


def _checked_count(
    hidden: Tensor,
    student: Head,
    objective: Objective,
    teacher_hidden: Tensor | None,
    teacher: Head | None,
) -> int:
    """The number of positions, once states and heads are known to fit together."""
    count = _fit("student", hidden, student)
    if not objective.needs_teacher:
        return count
    if teacher is None or teacher_hidden is None:
        raise UserError(
            f"{objective.name} compares with the teacher: give teacher_hidden and teacher_head"
        )
    if (other := _fit("teacher", teacher_hidden, teacher)) != count:
        raise UserError(
            f"{count} positions of the student but {other} of the teacher: "
            "they must be the same tokens"
        )
    return count


def _fit(who: str, hidden: Tensor, head: Head) -> int:
    if hidden.dim() != 2 or hidden.shape[1] != head.weight.shape[1]:
        raise UserError(
            f"{who}: hidden states of shape {tuple(hidden.shape)} do not fit a head of shape "
            f"{tuple(head.weight.shape)}; they must be [N, H] and [V, H]: "
            "gather the supervised positions (`hidden[mask]`), or give `hidden.flatten(0, 1)` and labels "
            "with -100 where nothing is supervised"
        )
    if not (hidden.is_floating_point() and head.weight.is_floating_point()):
        raise UserError(
            f"{who}: hidden states of {hidden.dtype} and a head of {head.weight.dtype}: floating "
            "point is needed; dequantise a packed head first"
        )
    if hidden.device != head.weight.device:
        raise UserError(
            f"{who}: hidden states on {hidden.device} but the head on {head.weight.device}: "
            "move one of them"
        )
    return hidden.shape[0]


def _check_vectors(
    count: int, labels: Tensor | None, weights: Tensor | None, objective: Objective
) -> None:
    if objective.needs_labels and labels is None:
        raise UserError(f"{objective.name} (hard_weight {objective.hard_weight}) needs labels")
    for name, vector in (("labels", labels), ("weights", weights)):
        if vector is not None and vector.shape != (count,):
            raise UserError(
                f"{name} of shape {tuple(vector.shape)} for {count} positions: "
                "one number each is needed"
            )
