"""What vLLM cannot do for us, known without loading it or torch: names and numbers of its release 0.33.0."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from kdscope.errors import ConfigError

MEMORY = "KDSCOPE_VLLM_MEMORY"  # environment variable: share of a GPU that an engine takes while it decodes
SHARE = 0.8  # without it
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # of adapters, that an engine can be built for
TEMPERATURES = (0.01, 2.0)  # lowest and highest but 0


def unfit(reference: Mapping[str, Any], *, adapted: bool) -> Iterator[str]:
    """Why a model of a study cannot be served as it is; nothing if it can.

    Args:
        reference: as :func:`kdscope.models.loading.load_model` takes it.
        adapted: a LoRA adapter comes with it.
    """
    if reference.get("layers"):
        yield "it is cut after it is loaded; save the cut model and name its folder"
    if reference.get("quantize"):
        yield f"its weights are rounded ({reference['quantize']}) after its adapter was folded in"
    if reference.get("device_map"):
        yield "it is spread over devices, and an engine has the one of its worker"
    if adapted and reference.get("dtype") == "float32":
        yield "it computes adapters in 16 bits only; give the model dtype: bfloat16"


def unfit_temperature(temperature: float) -> str | None:
    """Why it does not sample at a temperature; None if it does."""
    low, high = TEMPERATURES
    if temperature == 0 or low <= temperature <= high:
        return None
    return f"vLLM samples at temperatures from {low:g} to {high:g}, not at {temperature:g}"


def no_gpu() -> str:
    """What is wrong on a machine without one."""
    return (
        "decoding with vLLM needs a CUDA GPU, and there is none here (or CUDA_VISIBLE_DEVICES hides it); "
        "take the engine transformers, or a machine with one"
    )


def memory_share() -> float:
    """The share of the GPU that an engine takes.

    Raises:
        ConfigError: the environment variable holds no share.
    """
    text = os.environ.get(MEMORY, "")
    try:
        share = float(text) if text else SHARE
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ConfigError(f"{MEMORY} is {text!r}; it must be a number between 0 and 1, as 0.5")
    return share
