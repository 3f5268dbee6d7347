"""LoRA adapters: put on, saved, loaded, and checked to be really there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from kdscope.errors import ModelError

ADAPTER = "adapter_config.json"  # the file by which an adapter's folder is known


def add_adapter(
    model: PreTrainedModel, lora: Mapping[str, Any] | None, seed: int
) -> torch.nn.Module:
    """The model ready for training: with fresh LoRA layers, or all weights trainable if ``lora`` is None.

    Args:
        model: a causal language model.
        lora: ``r``, ``alpha``, ``dropout``, ``targets`` (names of projections).
        seed: of the adapter's random half.

    Raises:
        ModelError: the head is among the targets (the fused objective works on the plain head), or no
            projection of the model has one of its names.
    """
    if lora is None:
        model.requires_grad_(True)
        return model
    targets = list(lora["targets"])
    if {"lm_head", "embed_tokens"} & set(targets):
        raise ModelError(
            f"LoRA on the head ({targets}) is not supported: the objective is computed from the plain "
            "head's weights, so that the adapter would not be trained. Leave it out of `lora.targets`."
        )
    names = [f".{name}" for name, _ in model.named_modules()]
    absent = [t for t in targets if not any(name.endswith(f".{t}") for name in names)]
    if absent:  # PEFT passes over a name that fits nothing as long as another one fits
        raise ModelError(f"cannot add LoRA to {absent}: no projection of the model is called so")
    config = LoraConfig(
        r=int(lora["r"]),
        lora_alpha=lora["alpha"],
        lora_dropout=float(lora.get("dropout", 0.0)),
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def load_trained(
    model: PreTrainedModel, folder: Path, *, trainable: bool = False
) -> torch.nn.Module:
    """The model with what a training step left: an adapter, or a whole set of weights.

    Raises:
        ModelError: the folder holds neither, or an adapter whose every update is zero.
    """
    if (folder / ADAPTER).is_file():
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
        check_trained(adapted, folder)
        return adapted.train(trainable)
    if (folder / "model.safetensors").is_file():
        loaded = type(model).from_pretrained(str(folder), dtype=model.dtype)
        loaded.to(model.device)  # type: ignore[arg-type]
        return loaded.requires_grad_(trainable).train(trainable)
    raise ModelError(
        f"{folder} holds no trained model: neither adapter_config.json nor safetensors"
    )


def save_trained(model: torch.nn.Module, folder: Path) -> None:
    """Write what :func:`load_trained` reads. All processes of a training call it, the first one writes."""
    several, whole = torch.distributed.is_initialized(), None
    if isinstance(model, FSDPModule):
        adapted = isinstance(model, PeftModel)
        options = StateDictOptions(
            full_state_dict=True, cpu_offload=True, ignore_frozen_params=adapted
        )
        whole = get_model_state_dict(model, options=options)
    if not several or torch.distributed.get_rank() == 0:
        model.save_pretrained(folder, state_dict=whole)  # type: ignore[operator]
    if several:
        torch.distributed.barrier()


def check_trained(model: PeftModel, folder: Path, adapter: str = "default") -> None:
    """Make sure that an adapter is there and does something.

    Raises:
        ModelError: every update of it is zero.
    """
    ending = f"lora_B.{adapter}.weight"
    updates = [w for name, w in model.named_parameters() if name.endswith(ending)]
    if not updates or not any(bool(w.detach().abs().max() > 0) for w in updates):
        raise _idle(folder)


def adapter_rank(folder: Path, *, untrained: bool = False) -> int:
    """Rank of the adapter in a folder, which is looked at without its base model.

    Raises:
        ModelError: every update of it is zero, unless it may be ``untrained``.
    """
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        updates = [file.get_tensor(name) for name in file.keys() if ".lora_B." in name]  # noqa: SIM118
    if not (untrained or any(bool(update.abs().max() > 0) for update in updates)):
        raise _idle(folder)
    return int(json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["r"])


def _idle(folder: Path) -> ModelError:
    return ModelError(f"the adapter in {folder} changes nothing: it was not trained or not loaded")


def merged(model: torch.nn.Module) -> PreTrainedModel:
    """The plain model, its adapter folded into the weights for decoding; others come back as they are."""
    return cast(
        PreTrainedModel, model.merge_and_unload() if isinstance(model, PeftModel) else model
    )


def plain(model: torch.nn.Module) -> PreTrainedModel:
    """The transformers model inside a PEFT or parallel wrapper, its adapter layers in place."""
    inner = getattr(model, "module", model)
    return cast(PreTrainedModel, inner.get_base_model() if isinstance(inner, PeftModel) else inner)
