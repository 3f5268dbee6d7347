"""Matrix products with an output head: from hidden states to logits, and gradients back.

One class per way of multiplying, chosen by :func:`products_for` from dtype, device and precision.
Logits are float32 (float64 for float64 input) unless the way is :class:`Narrow`.
"""

# ruff: noqa: D102 - the three methods are documented once, in Products

from collections.abc import Iterator
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from kdscope.divergences.heads import Head
from kdscope.divergences.onednn import add_back, project_into

CAST_BYTES = 8 * 2**20  # of the block of a narrow head that is widened at a time


class Products(Protocol):
    """How logits are made and gradients are brought back.

    Attributes:
        logits_dtype: of the matrix that `project` fills.
        gradient_dtype: of the matrix that `back` and `accumulate` take.
        scratch: bytes beside those matrices.
    """

    logits_dtype: torch.dtype
    gradient_dtype: torch.dtype
    scratch: int

    def project(self, hidden: Tensor, head: Head, out: Tensor) -> None:
        """Write ``hidden @ weight.T + bias`` to `out` ``[n, V]``; scale and cap come later."""
        ...

    def back(self, gradient: Tensor, head: Head) -> Tensor:
        """``gradient @ weight``: ``[n, H]``."""
        ...

    def accumulate(self, gradient: Tensor, hidden: Tensor, total: Tensor) -> None:
        """Add ``gradient.T @ hidden`` to the wide `total` ``[V, H]``."""
        ...


class Native:
    """Hidden states and head share float32 or float64."""

    scratch = CAST_BYTES

    def __init__(self, dtype: torch.dtype) -> None:
        self.logits_dtype = self.gradient_dtype = dtype

    def project(self, hidden: Tensor, head: Head, out: Tensor) -> None:
        project_into(hidden, head.weight, out)
        if head.bias is not None:
            out.add_(head.bias)

    def back(self, gradient: Tensor, head: Head) -> Tensor:
        total = gradient.new_zeros(gradient.shape[0], head.weight.shape[1])
        add_back(gradient, head.weight, total)
        return total

    def accumulate(self, gradient: Tensor, hidden: Tensor, total: Tensor) -> None:
        total.addmm_(gradient.t(), hidden)


class Widened:
    """A narrow head, widened block by block: exact on any device."""

    scratch = CAST_BYTES

    def __init__(self, dtype: torch.dtype) -> None:
        self.logits_dtype = self.gradient_dtype = dtype

    def project(self, hidden: Tensor, head: Head, out: Tensor) -> None:
        hidden = hidden.to(out.dtype)
        for rows, block in self._blocks(head):
            project_into(hidden, block, out[:, rows])
        if head.bias is not None:
            out.add_(head.bias)

    def back(self, gradient: Tensor, head: Head) -> Tensor:
        total = gradient.new_zeros(gradient.shape[0], head.weight.shape[1])
        for rows, block in self._blocks(head):
            add_back(gradient[:, rows], block, total)
        return total

    def accumulate(self, gradient: Tensor, hidden: Tensor, total: Tensor) -> None:
        total.addmm_(gradient.t(), hidden.to(gradient.dtype))

    def _blocks(self, head: Head) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the vocabulary with the head's rows in the wide dtype, one buffer for all."""
        vocab, width = head.weight.shape
        step = min(vocab, max(1, CAST_BYTES // (self.logits_dtype.itemsize * width)))
        buffer = torch.empty(step, width, dtype=self.logits_dtype, device=head.weight.device)
        for start in range(0, vocab, step):
            rows = slice(start, min(start + step, vocab))
            yield rows, buffer[: rows.stop - start].copy_(head.weight[rows])


class WideOutput:
    """Narrow operands, float32 sums: CUDA has products that do not round what they accumulate."""

    logits_dtype = torch.float32
    scratch = CAST_BYTES

    def __init__(self, dtype: torch.dtype) -> None:
        self.gradient_dtype = dtype

    def project(self, hidden: Tensor, head: Head, out: Tensor) -> None:
        _project_widely(hidden, head, out)

    def back(self, gradient: Tensor, head: Head) -> Tensor:
        return torch.mm(gradient, head.weight, out_dtype=torch.float32)

    def accumulate(self, gradient: Tensor, hidden: Tensor, total: Tensor) -> None:
        hidden = hidden.to(gradient.dtype)
        step = max(1, CAST_BYTES // (4 * hidden.shape[1]))
        for start in range(0, total.shape[0], step):
            block = gradient[:, start : start + step].t()
            total[start : start + step].add_(torch.mm(block, hidden, out_dtype=torch.float32))


def _project_widely(hidden: Tensor, head: Head, out: Tensor) -> None:
    torch.mm(hidden, head.weight.t(), out_dtype=torch.float32, out=out)
    if head.bias is not None:
        out.add_(head.bias)


class WideProjection(Widened):
    """float16 on CUDA: projected as :class:`WideOutput` does; its gradients would underflow."""

    def project(self, hidden: Tensor, head: Head, out: Tensor) -> None:
        _project_widely(hidden, head, out)


class Narrow:
    """Logits and gradients rounded to the dtype of the head: ``fast``."""

    scratch = CAST_BYTES

    def __init__(self, dtype: torch.dtype) -> None:
        self.logits_dtype = self.gradient_dtype = dtype

    def project(self, hidden: Tensor, head: Head, out: Tensor) -> None:
        torch.mm(hidden, head.weight.t(), out=out)
        if head.bias is not None:
            out.add_(head.bias)

    def back(self, gradient: Tensor, head: Head) -> Tensor:
        return torch.mm(gradient, head.weight)

    def accumulate(self, gradient: Tensor, hidden: Tensor, total: Tensor) -> None:
        hidden = hidden.to(total.dtype)
        step = max(1, CAST_BYTES // (4 * hidden.shape[0]))
        for start in range(0, total.shape[0], step):
            block = gradient[:, start : start + step].to(total.dtype)
            total[start : start + step].addmm_(block.t(), hidden)


def products_for(hidden: Tensor, head: Head, precision: str) -> Products:
    """The way to multiply `hidden` with `head` in `precision` (``exact`` or ``fast``).

    Where the processor has no fast product of the narrow dtype, ``fast`` is no faster than
    ``exact``, and exact is what it gives.
    """
    dtype, of_head = hidden.dtype, head.weight.dtype
    if torch.float64 in (dtype, of_head):
        return Native(dtype) if dtype == of_head else Widened(torch.float64)
    if dtype != of_head:
        return Widened(torch.float32)
    if dtype == torch.float32:
        return Native(dtype)
    on_cpu, short = hidden.device.type == "cpu", dtype == torch.bfloat16
    if precision == "fast" and short and (not on_cpu or narrow_products_are_fast()):
        return Narrow(dtype)
    if hidden.device.type == "cuda" and torch_has_wide_output():
        return WideOutput(dtype) if short else WideProjection(torch.float32)
    return Widened(torch.float32)


@cache
def narrow_products_are_fast() -> bool:
    """Whether this CPU multiplies bfloat16 matrices faster than float32 ones.

    Told from what the processor is, not from a timing, so that the same call always gives the same
    numbers on one machine. AMX does; so do AMD's AVX-512 units (Zen 4 on), which take two bfloat16
    pairs a lane at full rate. Intel's AVX-512 units without AMX were measured to be slower.
    """
    able = getattr(torch.cpu, "get_capabilities", dict)()
    by_avx512 = able.get("avx512_bf16", False) and "AMD" in str(able.get("cpu_name", ""))
    return bool(able.get("amx_bf16", False) or by_avx512)


@cache
def torch_has_wide_output() -> bool:
    """Whether ``torch.mm`` takes ``out_dtype`` (torch 2.8 and later)."""
    return "dtype" in torch.ops.aten.mm.overloads()
