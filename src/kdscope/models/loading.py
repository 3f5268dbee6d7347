"""Loading checkpoints and tokenizers: the only file that knows where transformers gets them from."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kdscope.errors import ModelError
from kdscope.models.hub_errors import unreadable
from kdscope.models.sources import (
    EMBEDDED,
    SMOLLM2,
    embedded_folder,
    smollm2_folder,
    smollm2_gguf,
)


def load_model(
    reference: Mapping[str, Any], path: str | None = None, device: str = "cpu"
) -> PreTrainedModel:
    """The model that a study's reference names, in evaluation mode.

    Args:
        reference: ``name``, ``source`` (embedded | folder | hub), ``dtype``, optionally ``id`` and
            ``revision`` (hub), ``layers`` (how many layers to keep, evenly spaced), ``attention`` (its
            kernel) and ``device_map`` (``auto``: spread by accelerate over what there is).
        path: folder of a local checkpoint.
        device: where it goes.

    Raises:
        ModelError: the checkpoint is missing, gated or not readable.
    """
    location, options = checkpoint_location(reference, path)
    options |= {"dtype": getattr(torch, reference.get("dtype") or "float32")}
    if reference.get("attention"):
        options["attn_implementation"] = reference["attention"]
    spread = bool(reference.get("device_map"))
    if spread:
        options["device_map"] = reference["device_map"]
    try:
        model = AutoModelForCausalLM.from_pretrained(location, **options)
    except ImportError as error:  # of an attention kernel that is not installed
        raise ModelError(_no_kernel(reference, error)) from None
    except (OSError, ValueError) as error:
        raise ModelError(unreadable(reference, location, error)) from None
    if reference.get("layers"):
        keep_layers(model, int(reference["layers"]))
    if spread:
        _require_head(model, reference)
        return model.eval()
    return model.to(device).eval()  # type: ignore[arg-type]


def load_tokenizer(
    reference: Mapping[str, Any], path: str | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of the model that a study's reference names, with a padding token.

    Raises:
        ModelError: it is missing or not readable.
    """
    location, options = checkpoint_location(reference, path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, **options)
    except (OSError, ValueError) as error:
        raise ModelError(unreadable(reference, location, error)) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def configuration(reference: Mapping[str, Any], path: str | None = None) -> PreTrainedConfig:
    """Form and size of the model that a study's reference names, without its weights.

    Raises:
        ModelError: it is missing or not readable.
    """
    location, options = checkpoint_location(reference, path)
    try:
        return AutoConfig.from_pretrained(location, **options)
    except (OSError, ValueError) as error:
        raise ModelError(unreadable(reference, location, error)) from None


def answer_settings(reference: Mapping[str, Any], path: str | None = None) -> GenerationConfig:
    """What a checkpoint says about answering, its end tokens above all, without its weights.

    Raises:
        ModelError: its configuration is missing or not readable.
    """
    location, options = checkpoint_location(reference, path)
    try:
        return GenerationConfig.from_pretrained(location, **options)
    except (OSError, ValueError):
        return GenerationConfig.from_model_config(configuration(reference, path))


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills rows up; it is masked wherever it stands."""
    return cast(int, tokenizer.pad_token_id)


def keep_layers(model: PreTrainedModel, count: int) -> None:
    """Cut a model to ``count`` of its layers, evenly spaced, the first and the last among them.

    Raises:
        ModelError: the model has fewer layers, or keeps them elsewhere than ``model.layers``.
    """
    layers = getattr(model.base_model, "layers", None)
    if layers is None:
        raise ModelError(f"{type(model).__name__} cannot be cut: it has no list `layers`")
    if not 1 <= count <= len(layers):
        raise ModelError(f"cannot keep {count} of the {len(layers)} layers of the model")
    step = (len(layers) - 1) / max(count - 1, 1)
    kept = [layers[round(i * step)] for i in range(count)]
    for index, layer in enumerate(kept):
        layer.self_attn.layer_idx = index
    model.base_model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = count
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:count]


def checkpoint_location(
    reference: Mapping[str, Any], path: str | None = None
) -> tuple[str, dict[str, Any]]:
    """Folder or hub id of the model that a study's reference names, and how the hub is asked for it."""
    source, name = reference["source"], reference.get("model") or reference["name"]
    if path is not None:
        return path, {}
    if source == "embedded" and name in EMBEDDED:
        return str(embedded_folder(name)), {}
    if source == "embedded" and name == SMOLLM2:
        return str(dequantised_smollm2(reference.get("dtype") or "bfloat16")), {}
    return reference.get("id") or name, {"revision": reference.get("revision")}


def dequantised_smollm2(dtype: str) -> Path:
    """SmolLM2 as an ordinary checkpoint in the cache folder, made once from the package's GGUF file."""
    folder = smollm2_folder(dtype)
    if (folder / "config.json").is_file():
        return folder
    gguf = smollm2_gguf()
    model = AutoModelForCausalLM.from_pretrained(
        str(gguf.parent),
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=getattr(torch, dtype),
    )
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    with contextlib.suppress(OSError):  # another process was faster: its result is the same
        os.rename(temporary, folder)
    shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _no_kernel(reference: Mapping[str, Any], error: Exception) -> str:
    reason = str(error).strip().splitlines()[0]
    return (
        f"{reference['name']!r} cannot be loaded with attention: {reference.get('attention')}: {reason} "
        "Install it, or write attention: sdpa (every device has it) or eager"
    )


def _require_head(model: PreTrainedModel, reference: Mapping[str, Any]) -> None:
    """A spread model is only of use if its head has weights that can be multiplied."""
    head = cast(torch.nn.Linear, model.get_output_embeddings())
    if head.weight.is_meta:
        raise ModelError(
            f"{reference['name']!r} does not fit: device_map: auto left its head on the disk, and the "
            "teacher's distribution is computed from it. Quantise it (quantize: nf4), or use a larger device"
        )
