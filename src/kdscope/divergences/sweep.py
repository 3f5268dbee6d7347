"""One pass over all supervised positions in chunks that fill a byte budget.

Project, value, closed-form gradient, back-project; the buffers serve the next chunk. Within a chunk
the element-wise work goes over slices of rows that stay in the processor's cache.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from kdscope.divergences.heads import Head
from kdscope.divergences.objective import Objective
from kdscope.divergences.products import Products, products_for
from kdscope.divergences.rows import objective_rows_
from kdscope.divergences.telemetry import Telemetry, dropped_mass, observe

Noise = Callable[[slice], Tensor]
"""Noise to be added to the teacher's logits of a slice of rows: ``[n, V]`` (or wider, then cut)."""

CPU_BUDGET = 256 * 2**20
GPU_BUDGET = 1024 * 2**20  # matrix products of few rows leave a GPU idle
SLICE_BYTES = (
    512 * 2**10
)  # of one matrix of the slice that the element-wise pass works on, on a CPU
SLICES = 8  # such matrices, scratch included, that are alive in the element-wise pass


@dataclass(eq=False)
class Task:
    """One call, checked and unpacked: everything but the tensors that autograd has to see.

    The heads are cut to the shared vocabulary; `dropped` holds what was cut off the student's and
    the teacher's, where telemetry asks for it.
    """

    objective: Objective
    teacher: Head | None
    teacher_hidden: Tensor | None
    teacher_noise: Noise | None
    labels: Tensor | None
    precision: str
    byte_budget: int | None
    telemetry: bool
    dropped: tuple[Head | None, Head | None]
    collected: Telemetry | None = None


class Sweep:
    """The pass: values per row, gradients of their weighted sum, telemetry.

    Attributes:
        values: value per row ``[N]``.
        into_hidden: gradient with respect to the student's hidden states ``[N, H]``, where wanted.
        into_weight: gradient with respect to the student's head ``[V, H]``, wide, where wanted.
        into_bias: gradient with respect to its bias ``[V]``, where wanted.
        telemetry: sums over all rows, where asked for.
    """

    def __init__(
        self, task: Task, hidden: Tensor, student: Head, weights: Tensor, wanted: tuple[bool, ...]
    ) -> None:
        self.task, self.hidden, self.student, self.weights = task, hidden, student, weights
        self.vocab = student.weight.shape[0]
        self.products = products_for(hidden, student, task.precision)
        self.theirs: Products | None = None
        if task.teacher is not None and task.teacher_hidden is not None:
            self.theirs = products_for(task.teacher_hidden, task.teacher, task.precision)
        self.kernels = kernels_for(hidden, student, task)
        self.dtype = torch.promote_types(self.products.logits_dtype, torch.float32)
        self.gradient_wanted = any(wanted)
        new = hidden.new_zeros
        self.values = hidden.new_empty(hidden.shape[0], dtype=self.dtype)
        # A mean's gradient underflows in float16 before a loss scaler can lift it in backward.
        kept = self.dtype if hidden.dtype == torch.float16 else hidden.dtype
        self.into_hidden = torch.empty_like(hidden, dtype=kept) if wanted[0] else None
        self.into_weight = new(student.weight.shape, dtype=self.dtype) if wanted[1] else None
        self.into_bias = new(self.vocab, dtype=self.dtype) if wanted[2] else None
        self.telemetry: Telemetry | None = None

    def run(self) -> "Sweep":
        """Go over all rows in chunks of nearly equal size."""
        count = self.hidden.shape[0]
        if count == 0:
            return self
        z_s, z_t, gradient = self._buffers(count)
        step = z_s.shape[0]
        for start in range(0, count, step):
            rows = slice(start, min(start + step, count))
            part = slice(0, rows.stop - start)
            self._chunk(rows, z_s[part], _of(z_t, part), _of(gradient, part))
        return self

    def _buffers(self, count: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Logits of student and teacher, and the gradient where it does not replace the former."""
        ours, theirs = self.products, self.theirs
        apart = self.gradient_wanted and ours.gradient_dtype != ours.logits_dtype
        dtypes = (
            None if theirs is None else theirs.logits_dtype,
            ours.gradient_dtype if apart else None,
        )
        on_cpu = self.hidden.device.type == "cpu"
        budget = self.task.byte_budget or (CPU_BUDGET if on_cpu else GPU_BUDGET)
        row = self.vocab * self.dtype.itemsize
        self.slice_rows = max(1, (SLICE_BYTES if on_cpu else budget // (4 * SLICES)) // row)
        scratch = SLICES * min(self.slice_rows, count) * row
        scratch += max(ours.scratch, theirs.scratch if theirs else 0)
        per_row = sum(
            self.vocab * dtype.itemsize for dtype in (ours.logits_dtype, *dtypes) if dtype
        )
        most = max(1, (budget - scratch) // per_row)
        step = -(-count // -(-count // most))
        z_t, gradient = (None if dtype is None else self._matrix(step, dtype) for dtype in dtypes)
        return self._matrix(step, ours.logits_dtype), z_t, gradient

    def _matrix(self, rows: int, dtype: torch.dtype) -> Tensor:
        """A buffer ``[rows, V]``; on a GPU with rows that start where wide loads can."""
        width = self.vocab if self.hidden.device.type == "cpu" else -(-self.vocab // 64) * 64
        return self.hidden.new_empty(rows, width, dtype=dtype)[:, : self.vocab]

    def _chunk(self, rows: slice, z_s: Tensor, z_t: Tensor | None, gradient: Tensor | None) -> None:
        task, hidden = self.task, self.hidden[rows]
        self.products.project(hidden, self.student, z_s)
        if z_t is not None and self.theirs and task.teacher and task.teacher_hidden is not None:
            self.theirs.project(task.teacher_hidden[rows], task.teacher, z_t)
        target = z_s if gradient is None else gradient
        if self.kernels is None:
            for part, here in self._slices(rows):
                found = self._slice(here, z_s[part], _of(z_t, part))
                if self.gradient_wanted and found.dtype != target.dtype:
                    target[part] = found
        else:
            self._rows_by_kernel(rows, z_s, z_t, target if self.gradient_wanted else None)
        if self.gradient_wanted:
            self._back_project(rows, hidden, target)

    def _slices(self, rows: slice) -> Iterator[tuple[slice, slice]]:
        """Rows of a chunk a few at a time, counted from the chunk's and from the first position."""
        for low in range(0, rows.stop - rows.start, self.slice_rows):
            high = min(low + self.slice_rows, rows.stop - rows.start)
            yield slice(low, high), slice(rows.start + low, rows.start + high)

    def _rows_by_kernel(
        self, rows: slice, z_s: Tensor, z_t: Tensor | None, target: Tensor | None
    ) -> None:
        """The element-wise pass of a whole chunk in one launch."""
        task, teacher = self.task, self.task.teacher
        scales = (self.student.scale, 1.0 if teacher is None else teacher.scale)
        if task.telemetry or task.teacher_noise is not None:
            scales = (1.0, 1.0)
            for part, here in self._slices(rows):
                z_s[part], finished, _ = self._finish(here, z_s[part], _of(z_t, part))
                if z_t is not None and finished is not None:
                    z_t[part] = finished
        labels = None if task.labels is None else task.labels[rows]
        assert self.kernels is not None
        self.values[rows] = self.kernels.rows_by_kernel(
            task.objective, z_s, z_t, labels, target, scales
        )

    def _slice(self, rows: slice, z_s: Tensor, z_t: Tensor | None) -> Tensor:
        """Note the values of a few rows; returns their gradient, in `z_s` if its dtype allows."""
        task = self.task
        z_s, z_t, slope = self._finish(rows, z_s, z_t)
        labels = None if task.labels is None else task.labels[rows]
        self.values[rows] = objective_rows_(
            task.objective, z_s, z_t, labels, gradient=self.gradient_wanted
        )
        return z_s if slope is None else z_s.mul_(slope)

    def _finish(
        self, rows: slice, z_s: Tensor, z_t: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Logits of a few rows out of raw products, wide, with noise; watched where asked for.

        Returns:
            Student's and teacher's logits, in place where dtypes allow, and the slope of the cap.
        """
        task = self.task
        z_s = z_s.to(self.dtype)
        slope = finish_logits_(z_s, self.student, slope=self.gradient_wanted)
        if z_t is not None and task.teacher is not None:
            z_t = z_t.to(self.dtype)
            finish_logits_(z_t, task.teacher)
        masses = self._dropped(rows, z_s, z_t) if task.telemetry else {}
        if z_t is not None and task.teacher_noise is not None:
            z_t.add_(task.teacher_noise(rows)[:, : self.vocab])
        if task.telemetry:
            seen = replace(observe(z_s, z_t), **masses)
            self.telemetry = seen if self.telemetry is None else self.telemetry + seen
        return z_s, z_t, slope

    def _dropped(self, rows: slice, z_s: Tensor, z_t: Tensor | None) -> dict[str, Tensor]:
        """Probability, summed over rows, on the rows of the heads that the objective leaves out."""
        of_student, of_teacher = self.task.dropped
        masses = {}
        if of_student is not None:
            masses["student_dropped_mass"] = self._mass(self.hidden[rows], of_student, z_s)
        if of_teacher is not None and z_t is not None:
            assert self.task.teacher_hidden is not None
            masses["dropped_mass"] = self._mass(self.task.teacher_hidden[rows], of_teacher, z_t)
        return masses

    def _mass(self, hidden: Tensor, rest: Head, kept: Tensor) -> Tensor:
        products = products_for(hidden, rest, "exact")
        beyond = hidden.new_empty(
            hidden.shape[0], rest.weight.shape[0], dtype=products.logits_dtype
        )
        products.project(hidden, rest, beyond)
        finish_logits_(beyond, rest)
        return dropped_mass(kept, beyond)

    def _back_project(self, rows: slice, hidden: Tensor, gradient: Tensor) -> None:
        """Bring the gradient of a chunk's logits home to hidden states, weight and bias."""
        scale = (self.weights[rows].to(self.dtype) * self.student.scale).unsqueeze(-1)
        if self.into_hidden is not None:
            self.into_hidden[rows] = self.products.back(gradient, self.student).mul_(scale)
        if self.into_weight is not None:
            self.products.accumulate(gradient, hidden * scale, self.into_weight)
        if self.into_bias is not None:
            self.into_bias.add_(gradient.t().to(self.dtype) @ scale.squeeze(-1))


def finish_logits_(z: Tensor, head: Head, *, slope: bool = False) -> Tensor | None:
    """Apply a head's scale and cap to its raw products, in place.

    Returns:
        The derivative of the capped logits with respect to the uncapped ones, if asked for and
        capped.
    """
    if head.scale != 1.0:
        z.mul_(head.scale)
    if head.softcap is None:
        return None
    z.div_(head.softcap).tanh_()
    derivative = z.square().neg_().add_(1.0) if slope else None
    z.mul_(head.softcap)
    return derivative


def _of(matrix: Tensor | None, rows: slice) -> Tensor | None:
    return None if matrix is None else matrix[rows]


def kernels_for(hidden: Tensor, student: Head, task: Task) -> ModuleType | None:
    """The module of Triton kernels, where there is one for this task and device."""
    if hidden.device.type != "cuda" or hidden.dtype == torch.float64:
        return None
    kernels = _kernels()
    capped = student.softcap or (task.teacher and task.teacher.softcap)
    return kernels if kernels and kernels.supports(task.objective) and not capped else None


@cache
def _kernels() -> ModuleType | None:
    if find_spec("triton") is None:
        return None
    return import_module("kdscope.divergences.row_kernels")
