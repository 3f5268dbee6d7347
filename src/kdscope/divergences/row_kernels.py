"""The element-wise pass on CUDA: one program per row, logits in, value and gradient out.

A row is read twice (three times for ``jsd``), and nothing is written but its gradient. The formulas
are those of :mod:`kdscope.divergences.closed_forms`. This module imports Triton and is loaded by
:mod:`kdscope.divergences.sweep` where it is of use.
"""
# ruff: noqa: PLR0913, PLR0917 - a kernel takes its pointers and numbers one by one
# Triton calls its kernels in its own way, which no checker follows.
# pyright: reportArgumentType=false, reportOperatorIssue=false, reportIndexIssue=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from kdscope.divergences.objective import Objective

BLOCK = 2048  # elements of a row at a time: 8 a thread, so that the running sums fit in registers
WARPS = 8


def supports(objective: Objective) -> bool:
    """Whether there is a kernel for the objective."""
    return objective.name in KERNELS and objective.hard_weight == 0.0


def rows_by_kernel(
    objective: Objective,
    z_s: Tensor,
    z_t: Tensor | None,
    labels: Tensor | None,
    gradient: Tensor | None,
    scales: tuple[float, float],
) -> Tensor:
    """Value per row ``[n]`` from raw logits ``[n, V]`` in any float dtype.

    Args:
        objective: one that is supported.
        z_s: student's logits in front of their scale.
        z_t: teacher's, or None for ``nll``.
        labels: for ``nll``.
        gradient: where the gradient with respect to the scaled logits is written; may be `z_s`.
        scales: of the student's and the teacher's logits.
    """
    count, vocab = z_s.shape
    values = torch.empty(count, dtype=torch.float32, device=z_s.device)
    other = labels if z_t is None else z_t
    assert other is not None
    target = z_s if gradient is None else gradient
    t = objective.temperature
    KERNELS[objective.name][(count,)](
        z_s,
        other,
        target,
        values,
        vocab,
        z_s.stride(0),
        other.stride(0),
        target.stride(0),
        scales[0] / t,
        scales[1] / t,
        objective.factor,
        objective.factor / t,
        objective.beta or 0.0,
        GRADIENT=gradient is not None,
        BLOCK=BLOCK,
        num_warps=WARPS,
    )
    return values


@triton.jit
def _load(pointer, at, inside, scale):
    """Logits of a block; far below any other where the row has ended."""
    z = tl.load(pointer + at, mask=inside, other=0.0).to(tl.float32)
    return tl.where(inside, z * scale, -1e30)


@triton.jit
def _fold(z, top, total):
    """Lane by lane: running maximum and sum of exponentials, with one exp each."""
    e = tl.exp(-tl.abs(z - top))
    rises = z > top
    higher = tl.maximum(top, z, propagate_nan=tl.PropagateNan.ALL)
    return higher, tl.where(rises, total * e + 1.0, total + e), rises, e


@triton.jit
def _weighted(p, x):
    """``p * x``, 0 where p is 0 and x is not finite."""
    return tl.where(p == 0.0, 0.0, p * x)


@triton.jit
def _log_sum(top, total):
    """Log-sum-exp of a row from its lanes, and what each lane's sum weighs in it."""
    highest = tl.max(top, axis=0)
    share = tl.exp(top - highest)
    sum_all = tl.sum(total * share, axis=0)
    return highest + tl.log(sum_all), share / sum_all


@triton.jit
def _normalisers(s_ptr, t_ptr, vocab, s_scale, t_scale, GAP: tl.constexpr, BLOCK: tl.constexpr):
    """Log-sum-exp of both rows, and KL(q || p) if `GAP`, in one reading."""
    lanes = tl.arange(0, BLOCK)
    s_top = tl.full([BLOCK], -1e30, tl.float32)
    s_sum = tl.zeros([BLOCK], tl.float32)
    t_top = tl.full([BLOCK], -1e30, tl.float32)
    t_sum = tl.zeros([BLOCK], tl.float32)
    gap = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        at = start + lanes
        z_s = _load(s_ptr, at, at < vocab, s_scale)
        z_t = _load(t_ptr, at, at < vocab, t_scale)
        s_top, s_sum, rises, e = _fold(z_s, s_top, s_sum)
        if GAP:
            d = tl.where(z_s == -float("inf"), 0.0, z_s - z_t)
            before = tl.where(rises & (e == 0.0), 0.0, tl.where(rises, gap * e, gap))
            gap = before + tl.where(rises, d, _weighted(e, d))
        t_top, t_sum, _, _ = _fold(z_t, t_top, t_sum)
    s_lse, share = _log_sum(s_top, s_sum)
    t_lse, _ = _log_sum(t_top, t_sum)
    return s_lse, t_lse, tl.sum(_weighted(share, gap), axis=0) - s_lse + t_lse


@triton.jit
def _put(pointer, at, inside, gradient):
    tl.store(pointer + at, gradient.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _nll(
    s_ptr, label_ptr, gradient_ptr, value_ptr, vocab, s_stride, label_stride, gradient_stride,
    s_scale, t_scale, factor, slope, beta, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    s_ptr += row * s_stride
    gradient_ptr += row * gradient_stride
    label = tl.load(label_ptr + row * label_stride)
    lanes = tl.arange(0, BLOCK)
    top = tl.full([BLOCK], -1e30, tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        at = start + lanes
        top, total, _, _ = _fold(_load(s_ptr, at, at < vocab, s_scale), top, total)
    lse, _ = _log_sum(top, total)
    z_label = tl.load(s_ptr + label).to(tl.float32) * s_scale
    tl.store(value_ptr + row, (lse - z_label) * factor)
    if GRADIENT:
        for start in range(0, vocab, BLOCK):
            at = start + lanes
            q = tl.exp(_load(s_ptr, at, at < vocab, s_scale) - lse)
            _put(gradient_ptr, at, at < vocab, tl.where(at == label, q - 1.0, q) * slope)


@triton.jit
def _forward_kl(
    s_ptr, t_ptr, gradient_ptr, value_ptr, vocab, s_stride, t_stride, gradient_stride,
    s_scale, t_scale, factor, slope, beta, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    s_ptr += row * s_stride
    t_ptr += row * t_stride
    gradient_ptr += row * gradient_stride
    s_lse, t_lse, _ = _normalisers(s_ptr, t_ptr, vocab, s_scale, t_scale, False, BLOCK)
    lanes = tl.arange(0, BLOCK)
    value = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        at = start + lanes
        lq = _load(s_ptr, at, at < vocab, s_scale) - s_lse
        lp = _load(t_ptr, at, at < vocab, t_scale) - t_lse
        p = tl.exp(lp)
        g = tl.exp(lq) - p
        value += _weighted(p, lp - lq) + g
        if GRADIENT:
            _put(gradient_ptr, at, at < vocab, g * slope)
    tl.store(value_ptr + row, tl.sum(value, axis=0) * factor)


@triton.jit
def _reverse_kl(
    s_ptr, t_ptr, gradient_ptr, value_ptr, vocab, s_stride, t_stride, gradient_stride,
    s_scale, t_scale, factor, slope, beta, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    s_ptr += row * s_stride
    t_ptr += row * t_stride
    gradient_ptr += row * gradient_stride
    s_lse, t_lse, kl = _normalisers(s_ptr, t_ptr, vocab, s_scale, t_scale, True, BLOCK)
    lanes = tl.arange(0, BLOCK)
    value = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        at = start + lanes
        lq = _load(s_ptr, at, at < vocab, s_scale) - s_lse
        lp = _load(t_ptr, at, at < vocab, t_scale) - t_lse
        q = tl.exp(lq)
        value += _weighted(q, lq - lp) + tl.exp(lp) - q
        if GRADIENT:
            _put(gradient_ptr, at, at < vocab, _weighted(q, lq - lp - kl) * slope)
    tl.store(value_ptr + row, tl.sum(value, axis=0) * factor)


@triton.jit
def _log_ratio(a, b):
    return tl.log(tl.maximum(a, 1e-37) / tl.maximum(b, 1e-37))


@triton.jit
def _jsd(
    s_ptr, t_ptr, gradient_ptr, value_ptr, vocab, s_stride, t_stride, gradient_stride,
    s_scale, t_scale, factor, slope, beta, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    s_ptr += row * s_stride
    t_ptr += row * t_stride
    gradient_ptr += row * gradient_stride
    s_lse, t_lse, _ = _normalisers(s_ptr, t_ptr, vocab, s_scale, t_scale, False, BLOCK)
    lanes = tl.arange(0, BLOCK)
    student = tl.zeros([BLOCK], tl.float32)
    teacher = tl.zeros([BLOCK], tl.float32)
    for start in range(0, vocab, BLOCK):
        at = start + lanes
        q = tl.exp(_load(s_ptr, at, at < vocab, s_scale) - s_lse)
        p = tl.exp(_load(t_ptr, at, at < vocab, t_scale) - t_lse)
        m = q + beta * (p - q)
        student += q * _log_ratio(q, m)
        teacher += p * _log_ratio(p, m)
    mean = tl.sum(student, axis=0)
    tl.store(value_ptr + row, (beta * tl.sum(teacher, axis=0) + (1.0 - beta) * mean) * factor)
    if GRADIENT:
        for start in range(0, vocab, BLOCK):
            at = start + lanes
            q = tl.exp(_load(s_ptr, at, at < vocab, s_scale) - s_lse)
            p = tl.exp(_load(t_ptr, at, at < vocab, t_scale) - t_lse)
            u = _log_ratio(q, q + beta * (p - q))
            _put(gradient_ptr, at, at < vocab, (1.0 - beta) * q * (u - mean) * slope)


KERNELS = {"nll": _nll, "forward_kl": _forward_kl, "reverse_kl": _reverse_kl, "jsd": _jsd}
"""By the objective's name; all take the same arguments."""
