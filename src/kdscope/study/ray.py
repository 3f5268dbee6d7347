"""The Ray engine: the same worker command, in one Ray task per step, on a cluster.

Ray places tasks on nodes and gives each its GPU; everything else stays with the driver: identity,
order, resume, retries (``max_retries=0`` here). Results travel through the folder of the run, which
all nodes must share, never through the object store of Ray: a task returns a state and numbers.
"""

import contextlib
import importlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from kdscope.errors import StoreError, UserError, missing_extra
from kdscope.study.engine import Job, Report, memory_kills
from kdscope.study.steps import KINDS

PROGRESS = "progress.json"  # in a step's work folder: the last report, for the driver to read


class RayEngine:
    """Runs each job as one task of a Ray cluster."""

    def __init__(
        self, folder: Path, address: str | None = None, labels: Mapping[str, str] | None = None
    ):
        """Connect to a cluster and check that its nodes share the run's folder.

        Args:
            folder: of the run, as every node sees it.
            address: of the cluster; None for ``RAY_ADDRESS``, else one that runs on this machine.
            labels: custom resource of Ray that a kind of step needs, by kind.

        Raises:
            MissingExtraError: Ray is not installed.
            UserError: the cluster cannot be reached.
            StoreError: a node does not see the folder.
        """
        if find_spec("ray") is None:
            raise missing_extra("ray", "ray", "the engine `ray`")
        self._ray = importlib.import_module("ray")
        self._folder, self._labels = folder.resolve(), dict(labels or {})
        _connect(self._ray, address)
        self._tasks: dict[Any, Job] = {}
        self._reasons: dict[str, str] = {}
        self._shown: dict[str, float] = {}
        self._on_core = self._ray.remote(max_retries=0)(serve)
        self._on_gpu = self._ray.remote(max_retries=0, max_calls=1)(serve)  # frees its memory
        try:
            self._check_storage()
        except BaseException:
            self.close()  # nobody holds an engine that was refused
            raise

    def free(self) -> int:
        """Slots (a GPU each, or a core where there are none) without a job."""
        return max(0, self._slots() - len(self._tasks))

    def submit(self, job: Job) -> None:
        """Hand a job to the cluster."""
        gpus = self._total("GPU")
        device = 1 if gpus and KINDS[job.kind].device else 0
        cores = max(1, int(self._total("CPU") // max(1, gpus))) if device else 1
        label = self._labels.get(job.kind)
        task = (self._on_gpu if device else self._on_core).options(
            num_cpus=cores, num_gpus=device, resources={label: 0.001} if label else None,
            name=job.step,
        )  # fmt: skip
        self._tasks[task.remote(job.document(), cores)] = job

    def poll(self, seconds: float) -> list[Report]:
        """Reports of finished tasks, and of running ones what they left in their work folders."""
        if not self._tasks:
            time.sleep(min(seconds, 0.05))
            return []
        finished, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=seconds)
        reports = [self._report(task) for task in finished]
        return [*reports, *self._progress()]

    def cancel(self, key: str, reason: str) -> None:
        """Kill the task that runs this job."""
        self._reasons[key] = reason
        for task, job in self._tasks.items():
            if job.key == key:
                self._ray.cancel(task, force=True)

    def close(self) -> None:
        """Cancel everything and disconnect; the cluster goes on."""
        for task in self._tasks:
            self._ray.cancel(task, force=True)
        self._tasks.clear()
        self._ray.shutdown()

    def _report(self, task: Any) -> Report:
        job = self._tasks.pop(task)
        try:
            message = self._ray.get(task)
            return Report(job.key, message["state"], message["content"])
        except Exception as error:  # a task that Ray lost: node gone, worker killed, cancelled
            why = self._reasons.pop(job.key, "")
            text = why or f"its Ray task was lost ({type(error).__name__}): {str(error)[:300]}"
            return Report(job.key, "lost", {"message": text, "code": -9})

    def _progress(self) -> list[Report]:
        reports = []
        for job in self._tasks.values():
            path = Path(job.work) / PROGRESS
            try:
                stamp = path.stat().st_mtime
                if self._shown.get(job.key) == stamp:
                    continue
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            self._shown[job.key] = stamp
            reports.append(Report(job.key, "progress", content))
        return reports

    def _total(self, resource: str) -> float:
        return self._ray.cluster_resources().get(resource, 0.0)

    def _slots(self) -> int:
        return int(self._total("GPU") or self._total("CPU"))

    def _check_storage(self) -> None:
        """Every node must read what the driver writes, and the driver what a node writes."""
        token = uuid.uuid4().hex
        probe = self._folder / f".probe-{token}"
        probe.write_text(token)
        try:
            for node in self._ray.nodes():
                if node["Alive"] and node["Resources"].get("CPU"):
                    self._check_node(node, probe, token)
        finally:
            for path in self._folder.glob(f".probe-{token}*"):
                path.unlink()

    def _check_node(self, node: Mapping[str, Any], probe: Path, token: str) -> None:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        task = self._ray.remote(max_retries=0)(answer_probe).options(
            num_cpus=1, scheduling_strategy=strategy
        )
        answer = self._ray.get(task.remote(str(probe), node["NodeID"]), timeout=120)
        written = probe.with_name(f"{probe.name}-{node['NodeID']}")
        if answer != token or not written.exists():
            raise StoreError(
                f"the node {node['NodeManagerAddress']} does not share {self._folder} with this "
                "machine: results travel through that folder. Put it on storage that all nodes see"
            )


def _connect(ray: Any, address: str | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"no Ray cluster can be reached at {address!r} ({str(error).splitlines()[0]}). Start "
            "one with `ray start --head`, or give its address with --address"
        ) from None


def _knock(address: str, patience: float = 10.0) -> None:
    """Raise OSError where nobody listens: Ray itself would go on asking for minutes."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), patience).close()


def answer_probe(probe: str, node: str) -> str:
    """On a node: read the driver's probe, and write one of our own."""
    path = Path(probe)
    if not path.exists():
        return ""
    path.with_name(f"{path.name}-{node}").touch()
    return path.read_text()


_warm: dict[str, "subprocess.Popen[bytes]"] = {}  # workers of this Ray process, kept across tasks


def serve(job: dict[str, Any], threads: int) -> dict[str, Any]:
    """On a node: run one job in a worker process; returns its last message."""
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
        message = _listen(worker.stdout, job["key"], Path(job["work"]) / PROGRESS)
    except (
        BaseException
    ):  # cancelled: what this worker still says must not be taken for another job's
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


def _listen(source: IO[bytes], key: str, progress: Path) -> dict[str, Any] | None:
    """The message that ends a job; progress is left in the work folder. None if the worker died."""
    for line in source:
        message = json.loads(line)
        if message.get("key") != key:
            continue
        if message["state"] != "progress":
            return message
        with contextlib.suppress(
            OSError
        ):  # a short step's folder is gone before its progress is read
            temporary = progress.with_suffix(".new")
            temporary.write_text(json.dumps(message["content"]))
            temporary.replace(progress)
    return None
