"""Hidden states of the supervised positions.

A causal language model's forward pass ends in a product with the whole vocabulary at every position. For
distillation only the supervised positions matter, and the fused objective makes that product itself. So
the head is taken out of the forward pass; everything else, and any parallel wrapper's hooks, stay as they
are.
"""

from jaxtyping import Float, Int
from torch import Tensor, nn

from kdscope.errors import ModelError
from kdscope.models.adapters import plain


class _Headless(nn.Module):
    """Stands where the head was: hidden states pass through, the head's weights stay registered."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    @property
    def weight(self) -> Tensor:
        """The head's: tied heads are known by it, and sharded in one group with the embeddings."""
        return self.head.weight  # type: ignore[return-value]

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden


def take_head_out(model: nn.Module) -> None:
    """From now on the model's ``logits`` are its final hidden states [B, T, H].

    Raises:
        ModelError: the model transforms its logits after the head (softcap, scale).
    """
    inner = plain(model)
    _refuse_transformed_logits(inner)
    if not isinstance(inner.lm_head, _Headless):
        inner.lm_head = _Headless(inner.lm_head)


def put_head_back(model: nn.Module) -> None:
    """Undo :func:`take_head_out`."""
    inner = plain(model)
    if isinstance(inner.lm_head, _Headless):
        inner.lm_head = inner.lm_head.head


def _refuse_transformed_logits(inner: nn.Module) -> None:
    config = inner.config.get_text_config()  # type: ignore[union-attr]
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise ModelError(
                f"{type(inner).__name__} transforms its logits in its forward pass ({name}), so that its "
                "hidden states cannot be had there; training such students is not supported yet"
            )


def supervised_states(
    model: nn.Module,
    input_ids: Int[Tensor, "B T"],
    attention_mask: Int[Tensor, "B T"],
    labels: Int[Tensor, "B T"],
) -> tuple[Float[Tensor, "N H"], Int[Tensor, "N"]]:
    """Final hidden states at the positions that predict a supervised token, and these tokens.

    Args:
        model: a causal language model whose head was taken out.
        input_ids: token ids, padded on the right.
        attention_mask: 1 for tokens, 0 for padding.
        labels: as ``input_ids`` at supervised tokens, -100 elsewhere; not shifted.
    """
    chosen = labels[:, 1:] != -100
    hidden = model(input_ids=input_ids, attention_mask=attention_mask).logits
    return hidden[:, :-1][chosen], labels[:, 1:][chosen]
