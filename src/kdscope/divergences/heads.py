"""Output heads: weights, bias, softcap and scale, and the products with them.

Products are made so that logits come out in float32 (float64 for float64 input) whatever the dtype
of the head, unless ``fast`` is asked for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from kdscope.errors import ModelError, UserError


@dataclass(frozen=True, eq=False)
class Head:
    """An output head: ``logits = softcap(scale * (h @ weight.T + bias))``.

    Attributes:
        weight: ``[V, H]``.
        bias: ``[V]`` or None.
        scale: what the logits are multiplied with (``logit_scale`` of Cohere models), in front of
            the cap.
        softcap: ``c`` of ``c * tanh(logits / c)`` (``final_logit_softcapping`` of Gemma models), or
            None.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        if self.weight.dim() != 2:
            raise UserError(
                f"a head is a matrix [V, H], not a tensor of shape {tuple(self.weight.shape)}"
            )
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            raise UserError(
                f"the head has {self.weight.shape[0]} rows, but its bias has shape "
                f"{tuple(self.bias.shape)}"
            )
        if not math.isfinite(self.scale) or self.scale == 0:
            raise UserError(f"logit scale {self.scale!r}: a finite number other than 0 is needed")
        if self.softcap is not None and not self.softcap > 0:
            raise UserError(
                f"softcap {self.softcap!r}: a number above 0 is needed (None for no cap)"
            )

    def frozen(self) -> "Head":
        """The same head, outside of autograd."""
        return replace(self, weight=self.weight.detach(), bias=_map(Tensor.detach, self.bias))

    def rows(self, start: int, stop: int | None) -> "Head":
        """A part of the vocabulary."""
        whole = start == 0 and stop in (None, self.weight.shape[0])
        if whole:
            return self
        part = slice(start, stop)
        return replace(self, weight=self.weight[part], bias=_map(lambda b: b[part], self.bias))


def _map(function: Callable[[Tensor], Tensor], tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else function(tensor)


def gathered(head: Head) -> Head:
    """The head with sharded weights (DTensor, as under FSDP2) gathered once.

    The gradient of a trainable one goes back averaged over the ranks, as FSDP does with its own.
    """
    if not hasattr(head.weight, "full_tensor"):
        return head
    return replace(head, weight=_full(head.weight), bias=_map(_full, head.bias))


def _full(tensor: Any) -> Tensor:
    if not hasattr(tensor, "full_tensor"):
        return tensor
    if not tensor.requires_grad:
        return tensor.detach().full_tensor()
    from torch.distributed.tensor import Partial

    return tensor.full_tensor(grad_placements=[Partial("avg")] * tensor.device_mesh.ndim)


def as_head(head: Any, bias: Tensor | None = None) -> Head:
    """A :class:`Head` from a weight matrix, a linear module or a head; `bias` replaces its bias.

    Raises:
        ModelError: if the module carries an adapter, which would be left out silently, or has
            no weight matrix.
    """
    if isinstance(head, Head):
        return head if bias is None else replace(head, bias=bias)
    if isinstance(head, Tensor):
        return Head(head, bias)
    module = _without_adapter(head)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor):
        raise ModelError(f"{type(head).__name__} has no weight matrix to be used as an output head")
    return Head(weight, bias if bias is not None else getattr(module, "bias", None))


def _without_adapter(module: Any) -> Any:
    """The module itself, or the base of a wrapper that adds nothing to it."""
    if _has_adapter(module):
        raise ModelError(
            "the output head carries an adapter (LoRA or its like). The fused head multiplies with "
            "the base weights, so the adapter would neither count nor learn. Take the head out of "
            "the adapter's target modules (lm_head, embed_tokens where tied), or train it in full "
            "with modules_to_save."
        )
    return getattr(module, "base_layer", module)


def _has_adapter(module: Any) -> bool:
    """Whether one of peft's wrappers adds something to the weights; a whole copy is no addition."""
    parts = set(getattr(module, "adapter_layer_names", ())) - {"modules_to_save"}
    return hasattr(module, "token_adapter") or any(len(getattr(module, part)) for part in parts)


def model_head(model: Any) -> Head:
    """The output head of a causal language model, with the cap and scale of its config.

    Raises:
        ModelError: if the model has no output head, or one with a LoRA adapter.
    """
    module = model.get_output_embeddings()
    if module is None:
        raise ModelError(
            f"{type(model).__name__} has no output head (get_output_embeddings is None)"
        )
    config = model.config.get_text_config()
    scale = getattr(config, "logit_scale", None) or 1.0
    if divisor := getattr(config, "logits_scaling", None):
        scale /= divisor
    return replace(
        as_head(module),
        scale=float(scale),
        softcap=getattr(config, "final_logit_softcapping", None) or None,
    )
