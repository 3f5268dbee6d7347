"""Who answers in a step: a base and what a training left, in the engine that the step's fields name."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from kdscope.generation.decoder import Decoder, TransformersDecoder
from kdscope.generation.vllm_decoder import VllmDecoder
from kdscope.models.adapters import load_trained, merged
from kdscope.models.loading import load_model, load_tokenizer
from kdscope.models.quantization import quantised


class AnsweringModel:
    """A model that is loaded when it is first needed, by the engine that decodes or for other uses.

    Args:
        reference: the base, as :func:`kdscope.models.loading.load_model` takes it.
        path: folder of a local base checkpoint.
        trained: folder of what a training left; None for the base itself.
        device: that this process has.
    """

    def __init__(
        self, reference: Mapping[str, Any], path: str | None, trained: Path | None, device: str
    ) -> None:
        self._reference, self._path, self._trained = reference, path, trained
        self._device = device

    @cached_property
    def model(self) -> PreTrainedModel:
        """In transformers: its adapter folded in, then rounded as its entry says, in evaluation mode."""
        model = load_model(self._reference, self._path, self._device)
        if self._trained is not None:
            model = merged(load_trained(model, self._trained))
        return quantised(model, self._reference.get("quantize")).eval()

    def decoder(self, engine: str, batch_size: int) -> Decoder:
        """The model in ``transformers`` or ``vllm``; only the first knows batches."""
        if engine == "vllm":
            return VllmDecoder(self._reference, self._path, self._trained, self._device)
        tokenizer = load_tokenizer(self._reference, self._path)
        return TransformersDecoder(self.model, tokenizer, batch_size)
