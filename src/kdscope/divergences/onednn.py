"""float32 products on a CPU by oneDNN, where they were measured to beat the ones behind torch.mm.

``torch.mm`` goes to MKL, which is slow on AMD's AVX-512 units for a few dozen rows (`bench/RESULTS.md`).
oneDNN has no public door for float32 matrices in torch, so this goes through a private operator: only
where it exists, only on processors on which it was measured, and only after it has been right and
the same twice in a small trial. Everywhere else these functions are ``torch.mm``.
"""

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

BLOCK = 2048  # rows of the weight at a time: of 512 to 8,192 as fast as any
Product = Callable[[Tensor, Tensor], Tensor]


def project_into(x: Tensor, w: Tensor, out: Tensor) -> None:
    """Write ``x @ w.T`` to `out`: ``[n, K]`` and ``[V, K]`` give ``[n, V]``."""
    product = _product_for(x)
    if product is None:
        torch.mm(x, w.t(), out=out)
        return
    for rows in _blocks(w.shape[0]):
        out[:, rows].copy_(product(x, w[rows]))


def add_back(g: Tensor, w: Tensor, total: Tensor) -> None:
    """Add ``g @ w`` to `total`: ``[n, V]`` and ``[V, K]`` give ``[n, K]``."""
    product = _product_for(g)
    if product is None:
        total.addmm_(g, w)
        return
    for rows in _blocks(w.shape[0]):
        total.add_(product(g[:, rows], w[rows].t()))


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, BLOCK):
        yield slice(start, min(start + BLOCK, count))


def _product_for(x: Tensor) -> Product | None:
    if x.device.type != "cpu" or x.dtype != torch.float32 or not torch.backends.mkldnn.enabled:
        return None
    return onednn_product()


@cache
def onednn_product() -> Product | None:
    """``x, w -> x @ w.T`` in float32 by oneDNN; None where ``torch.mm`` is to be used.

    Told from the processor and a trial of right or wrong, never from a timing, so that the same call
    always gives the same numbers on one machine.
    """
    able = getattr(torch.cpu, "get_capabilities", dict)()
    if not (able.get("avx512_f", False) and "AMD" in str(able.get("cpu_name", ""))):
        return None
    try:
        operator = torch.ops.mkldnn._linear_pointwise.default
        return _linear if _is_right(operator) else None
    except (AttributeError, RuntimeError, TypeError):  # another build of torch
        return None


def _linear(x: Tensor, w: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise.default(x, w, None, "none", [], "")


def _is_right(operator: Callable[..., Tensor]) -> bool:
    """Whether both shapes of product, with their strides, come out right and twice the same."""
    draw = torch.Generator().manual_seed(0)
    g, w = torch.randn(5, 90, generator=draw), torch.randn(70, 33, generator=draw)
    for x, weight in ((torch.randn(5, 33, generator=draw), w), (g[:, 7:77], w.t())):
        found, again = (operator(x, weight, None, "none", [], "") for _ in range(2))
        wanted = x.double() @ weight.double().t()
        if not torch.equal(found, again) or float((found - wanted).abs().max()) > 1e-4:
            return False
    return True
