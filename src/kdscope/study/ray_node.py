"""What runs on a node of a Ray cluster: one job in a worker process, results into the run's home.

The home is a folder that all nodes see, or an object store: then a node works in a folder of its own,
to which inputs are copied once, and leaves complete steps on the store.
"""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from kdscope.errors import StoreError
from kdscope.models.sources import cache_folder
from kdscope.study.engine import memory_kills
from kdscope.study.objects import Objects
from kdscope.study.store import fault, read_manifest

PROGRESS = "progress.json"  # in a step's work folder: the last report, for the driver to read
EVERY = 5.0  # seconds between two reports that pass through an object store
Report = Callable[[Mapping[str, Any]], None]


def answer_probe(home: str, name: str, node: str, stored: bool) -> str:
    """Read the driver's probe in the run's home, and leave one of our own there; empty if there is none.

    Args:
        home: folder of the run, or its URL if ``stored``.
        name: of the probe.
        node: identifier of this node.
        stored: the home is an object store.
    """
    try:
        if not stored:
            path = Path(home) / name
            path.with_name(f"{name}-{node}").write_text(path.read_text())
            return path.read_text()
        objects = Objects(home)
        with tempfile.TemporaryDirectory() as folder:
            objects.download(name, Path(folder) / name)
            objects.upload(Path(folder) / name, f"{name}-{node}")
            return (Path(folder) / name).read_text()
    except OSError:
        return ""


def serve(job: dict[str, Any], threads: int, url: str | None = None) -> dict[str, Any]:
    """Run one job; returns its last message.

    Args:
        job: as the driver made it, with paths as the driver sees them.
        threads: that it may use.
        url: home of the run, if that is an object store and not a folder that all nodes see.
    """
    if url is None:
        return _in_worker(job, threads, lambda content: _leave(content, Path(job["work"])))
    node = importlib.import_module("ray").get_runtime_context().get_node_id()
    copy = NodeCopy(url, node, job["run_dir"])
    here = copy.job(job)
    message = _in_worker(here, threads, copy.reporter(here))
    if message["state"] == "done":
        copy.send(here)
    return message


class NodeCopy:
    """A node's own folder for a run whose home is an object store: inputs come, results go."""

    def __init__(self, url: str, node: str, run_dir: str):
        """Open both.

        Args:
            url: home of the run.
            node: identifier; several nodes may be on one machine.
            run_dir: the run's folder on the driver's machine, to which the paths of jobs belong.
        """
        mark = hashlib.sha256(f"{url} {node}".encode()).hexdigest()[:12]
        self.folder = cache_folder() / "nodes" / mark
        self._objects, self._away = Objects(url), Path(run_dir)

    def job(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The job with paths of this node, its inputs at hand.

        Raises:
            StoreError: an input arrived damaged.
            OSError: the object store failed.
        """
        inputs = {role: [self._here(p) for p in paths] for role, paths in job["inputs"].items()}
        for paths in inputs.values():
            for path in paths:
                self._fetch(path.parent)
        return {
            **job,
            "inputs": {role: [str(path) for path in paths] for role, paths in inputs.items()},
            "work": str(self._here(job["work"])),
            "final": str(self._here(job["final"])),
            "run_dir": str(self.folder),
        }

    def send(self, job: Mapping[str, Any]) -> None:
        """Leave the artifact of a job on the object store. Raises OSError."""
        artifact = Path(job["final"])
        self._objects.send(artifact, self._name(artifact))
        with contextlib.suppress(OSError):
            self._objects.delete(f"{self._name(Path(job['work']))}/{PROGRESS}")

    def reporter(self, job: Mapping[str, Any]) -> Report:
        """Passes on progress, now and then."""
        work, last = Path(job["work"]), time.monotonic()

        def report(content: Mapping[str, Any]) -> None:
            nonlocal last
            if time.monotonic() - last >= EVERY:
                last = time.monotonic()
                with contextlib.suppress(OSError):
                    _leave(content, work)
                    self._objects.upload(work / PROGRESS, f"{self._name(work)}/{PROGRESS}")

        return report

    def _here(self, path: str) -> Path:
        return self.folder / Path(path).relative_to(self._away)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _fetch(self, artifact: Path) -> None:
        if _wrong(artifact) is None:
            return
        shutil.rmtree(artifact, ignore_errors=True)
        self._objects.fetch(self._name(artifact), artifact)
        wrong = _wrong(artifact)
        if wrong is not None:
            raise StoreError(
                f"{self._name(artifact)} came damaged from {self._objects.url}: {wrong}"
            )


def _wrong(artifact: Path) -> str | None:
    manifest = read_manifest(artifact)
    return "its manifest is missing" if manifest is None else fault(artifact, manifest["key"])


_warm: dict[str, "subprocess.Popen[bytes]"] = {}  # workers of this Ray process, kept across tasks


def _in_worker(job: Mapping[str, Any], threads: int, report: Report) -> dict[str, Any]:
    """Have a worker process run a job; returns its last message."""
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    worker = _warm.get(device)
    if worker is None or worker.poll() is not None:
        worker = _warm[device] = _start(threads, device)
    assert worker.stdin is not None
    assert worker.stdout is not None
    kills = memory_kills()
    try:
        worker.stdin.write((json.dumps(job, ensure_ascii=False) + "\n").encode())
        worker.stdin.flush()
        message = _listen(worker.stdout, job["key"], report)
    except BaseException:  # what it still says must not be taken for another job's
        with _warm.pop(device):  # closes its pipes and waits
            worker.kill()
        raise
    if message is None:
        code = worker.wait()
        del _warm[device]
        starved = memory_kills() > kills
        why = "memory ran out on its node" if starved else f"its worker ended ({code})"
        return {"state": "lost", "content": {"message": why, "code": code, "memory": starved}}
    return message


def _start(threads: int, device: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "KDSCOPE_DEVICE": "cuda" if device else "cpu",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "kdscope.study.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip


def _listen(source: IO[bytes], key: str, report: Report) -> dict[str, Any] | None:
    """The message that ends a job, after its reports of progress; None if the worker died."""
    for line in source:
        message = json.loads(line)
        if message.get("key") != key:
            continue
        if message["state"] != "progress":
            return message
        report(message["content"])
    return None


def _leave(content: Mapping[str, Any], work: Path) -> None:
    """Leave progress in a step's work folder, which is gone as soon as the step is complete."""
    with contextlib.suppress(OSError):
        temporary = work / f"{PROGRESS}.new"
        temporary.write_text(json.dumps(content))
        temporary.replace(work / PROGRESS)
