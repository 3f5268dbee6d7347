"""Models in 8 and 4 bits: the only file that meets bitsandbytes."""

import logging
import warnings

from torch import nn
from transformers import PreTrainedModel

from kdscope.errors import ModelError, missing_extra

KINDS = ("int8", "nf4")
OUTLIERS = 6.0  # inputs above it are multiplied in 16 bits, as in LLM.int8()


def quantised(
    model: PreTrainedModel, kind: str | None, *, trained: bool = False
) -> PreTrainedModel:
    """The model with every linear layer of its body in 8 or 4 bits; head and embeddings stay.

    The head stays because the teacher's distribution is computed from its states and its head: what is
    rounded is the reasoning, not the vocabulary. Products are computed in the model's own dtype.

    Args:
        model: whole weights, adapters folded in, where it is going to run.
        kind: ``int8`` (LLM.int8, a scale per row, outlying inputs apart), ``nf4`` (4-bit NormalFloat in
            blocks of 64), or None for nothing.
        trained: adapters will be trained on it (QLoRA): gradients must pass.

    Raises:
        ModelError: an unknown kind, or a model that is quantised already.
        MissingExtraError: bitsandbytes is not installed.

    Source: Dettmers et al. 2022, arXiv:2208.07339; Dettmers et al. 2023, arXiv:2305.14314.
    """
    if kind is None:
        return model
    if kind not in KINDS:
        raise ModelError(f"there is no quantisation {kind!r}; choose one of {', '.join(KINDS)}")
    if getattr(model, "is_quantized", False):
        raise ModelError("the checkpoint is quantised already: leave `quantize` out")
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(
        logging.ERROR
    )  # a line a product
    body = model.base_model
    linear = [(name, m) for name, m in body.named_modules() if isinstance(m, nn.Linear)]
    for name, layer in linear:
        new = _rounded(layer, kind)
        if trained and hasattr(new, "support_avx512bf16_for_cpu"):
            # It would repack weights at the first answer on a CPU, and no gradient passes them then.
            new.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
        body.set_submodule(name, new)
    return model.requires_grad_(False)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights as they are held."""
    return sum(part.numel() * part.element_size() for part in model.parameters())


def _rounded(layer: nn.Linear, kind: str) -> nn.Module:
    try:
        import bitsandbytes
    except ImportError:
        raise missing_extra("quant", "bitsandbytes", f"a model in {kind}") from None
    size, bias = (layer.in_features, layer.out_features), layer.bias is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of every cast
        if kind == "int8":
            new = bitsandbytes.nn.modules.Linear8bitLt(
                *size, bias=bias, has_fp16_weights=False, threshold=OUTLIERS
            )
        else:
            new = bitsandbytes.nn.modules.Linear4bit(
                *size, bias=bias, compute_dtype=layer.weight.dtype, quant_type="nf4"
            )
        new.load_state_dict(layer.state_dict())
        return new.to(layer.weight.device).train(layer.training)
