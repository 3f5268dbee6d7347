"""Weights packed for oneDNN while a model decodes on a CPU in float32.

PyTorch gives float32 products to MKL, which on an AMD processor made 60 to 92 GFLOP/s a core with 64 rows and
36 to 73 with 16, where oneDNN with packed weights made 99 to 107 and 72 to 101. The two operators are those
that PyTorch's own compiler uses; they have no public name, so where they are missing the ordinary products
are taken. Packed weights are a second copy, hence the limit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

FEWEST_ROWS = 4  # with fewer, a product waits for the weights to arrive from memory, packed or not
FEWEST_BYTES = 32 << 20  # weights of fewer stay in a cache, and packing costs more than it brings
MOST_BYTES = 4 << 30  # of the second copy


@contextmanager
def packed_weights(model: nn.Module, rows: int) -> Iterator[None]:
    """Within it, linear layers in float32 on the CPU multiply packed weights; for inference only.

    Args:
        model: its layers are as they were afterwards, and must not be trained or moved within.
        rows: of the products, as a hint for the packing.
    """
    layers = _layers(model) if rows >= FEWEST_ROWS and _is_possible() else []
    if not FEWEST_BYTES <= sum(layer.weight.nbytes for layer in layers) <= MOST_BYTES:
        layers = []
    try:
        with torch.inference_mode():
            for layer in layers:
                weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
                vars(layer)["forward"] = partial(_product, weight, layer.bias)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _product(
    weight: Tensor, bias: Float[Tensor, "O"] | None, states: Float[Tensor, "*batch I"]
) -> Float[Tensor, "*batch O"]:
    return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")


def _layers(model: nn.Module) -> list[nn.Linear]:
    return [
        layer
        for layer in model.modules()
        if type(layer) is nn.Linear
        and "forward" not in vars(layer)
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
    ]


def _is_possible() -> bool:
    operators = torch.ops.mkldnn
    return torch.backends.mkldnn.is_available() and all(
        hasattr(operators, name) for name in ("_reorder_linear_weight", "_linear_pointwise")
    )
