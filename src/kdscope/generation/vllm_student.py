"""A student under training that answers in vLLM: its weights go there by a folder before each rollout."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdscope.generation.decoder import Decoder
from kdscope.generation.vllm_decoder import VllmDecoder


class StudentInVllm:
    """Called as the class of a decoder is: each time the engine takes over the student as it is now.

    An adapter, or whole weights, are written and read in place of those before; the engine stays.

    Args:
        reference: the student's base, as :func:`kdscope.models.loading.load_model` takes it.
        path: folder of a local base checkpoint.
        folder: where the weights are handed over; written anew for each rollout.
        device: that this process has.
    """

    def __init__(
        self, reference: Mapping[str, Any], path: str | None, folder: Path, device: str
    ) -> None:
        self._base, self._folder, self._device = (reference, path), folder, device
        self._decoder: VllmDecoder | None = None

    def __call__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
    ) -> Decoder:
        """The student with its weights of this moment.

        Args:
            model: its head in place; of several adapters, the active one is the student's.
            tokenizer: must lie beside whole weights.
            batch_size: not used, the engine makes batches of its own.

        Raises:
            UserError: see :class:`kdscope.generation.vllm_decoder.VllmDecoder`.
        """
        if isinstance(model, PeftModel):
            model.save_pretrained(str(self._folder), selected_adapters=[str(model.active_adapter)])
        else:
            _save_whole(model, self._folder)
            tokenizer.save_pretrained(str(self._folder))
        if self._decoder is None:
            self._decoder = VllmDecoder(*self._base, self._folder, self._device, untrained=True)
        self._decoder.read_again()
        return self._decoder


def _save_whole(model: PreTrainedModel, folder: Path) -> None:
    """A checkpoint with a head of its own: one that is tied to the embeddings vLLM does not read again."""
    weights = {name: weight.detach() for name, weight in model.state_dict().items()}
    weights["lm_head.weight"] = model.get_parameter("lm_head.weight").detach().clone()
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = False
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
