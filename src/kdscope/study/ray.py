"""The Ray engine: the same worker command, in one Ray task per step, on a cluster.

Ray places tasks on nodes and gives each its GPU; everything else stays with the driver: identity,
order, resume, retries (``max_retries=0`` here). Results travel through the run's home, a folder that
all nodes share or an object store, never through the object store of Ray: a task returns a state and
numbers.
"""

import contextlib
import importlib
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kdscope.errors import StoreError, UserError, missing_extra
from kdscope.study.engine import Engine, Job, Report
from kdscope.study.mirror import Mirror
from kdscope.study.ray_node import EVERY, PROGRESS, answer_probe, serve
from kdscope.study.steps import KINDS
from kdscope.study.store import Run


class RayEngine:
    """Runs each job as one task of a Ray cluster."""

    def __init__(
        self,
        folder: Path,
        address: str | None = None,
        labels: Mapping[str, str] | None = None,
        mirror: Mirror | None = None,
    ):
        """Connect to a cluster and check that its nodes share the run's folder.

        Args:
            folder: of the run, as every node sees it, unless there is a mirror.
            address: of the cluster; None for ``RAY_ADDRESS``, else one that runs on this machine.
            labels: custom resource of Ray that a kind of step needs, by kind.
            mirror: of the run, if its home is an object store.

        Raises:
            MissingExtraError: Ray is not installed.
            UserError: the cluster cannot be reached.
            StoreError: a node does not see the run's home.
        """
        if find_spec("ray") is None:
            raise missing_extra("ray", "ray", "the engine `ray`")
        self._ray = importlib.import_module("ray")
        self._folder, self._labels = folder.absolute(), dict(labels or {})
        self._mirror, self._asked = mirror, 0.0
        _connect(self._ray, address)
        self._tasks: dict[Any, Job] = {}
        self._reasons: dict[str, str] = {}
        self._shown: dict[str, bytes] = {}
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
        url = None if self._mirror is None else self._mirror.url
        self._tasks[task.remote(_absolute(job).document(), cores, url)] = job

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
            if self._mirror is not None and message["state"] == "done":
                self._mirror.collect(Run(self._folder), job.key, job.step)
            return Report(job.key, message["state"], message["content"])
        except Exception as error:  # a task that Ray lost: node gone, worker killed, cancelled
            why = self._reasons.pop(job.key, "")
            text = why or f"its Ray task was lost ({type(error).__name__}): {str(error)[:300]}"
            return Report(job.key, "lost", {"message": text, "code": -9})

    def _progress(self) -> list[Report]:
        if self._mirror is not None and time.monotonic() - self._asked < EVERY:
            return []
        self._asked, reports = time.monotonic(), []
        for job in self._tasks.values():
            try:
                text = self._left(job)
                if self._shown.get(job.key) == text:
                    continue
                content = json.loads(text)
            except (OSError, ValueError):
                continue
            self._shown[job.key] = text
            reports.append(Report(job.key, "progress", content))
        return reports

    def _left(self, job: Job) -> bytes:
        """What a node has left of a job's progress."""
        if self._mirror is None:
            return (Path(job.work) / PROGRESS).read_bytes()
        return self._mirror.objects.read(f"steps/{job.step}.work/{PROGRESS}")

    def _total(self, resource: str) -> float:
        return self._ray.cluster_resources().get(resource, 0.0)

    def _slots(self) -> int:
        return int(self._total("GPU") or self._total("CPU"))

    def _check_storage(self) -> None:
        """Every node must read what the driver writes, and the driver what a node writes."""
        probe = self._folder / f".probe-{uuid.uuid4().hex}"
        probe.write_text(probe.name)
        try:
            if self._mirror is not None:
                self._mirror.objects.upload(probe, probe.name)
            for node in self._ray.nodes():
                if node["Alive"] and node["Resources"].get("CPU"):
                    self._check_node(node, probe)
        finally:
            for path in self._folder.glob(f"{probe.name}*"):
                path.unlink()
            if self._mirror is not None:
                with contextlib.suppress(OSError):
                    self._mirror.objects.delete(probe.name)

    def _check_node(self, node: Mapping[str, Any], probe: Path) -> None:
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        task = self._ray.remote(max_retries=0)(answer_probe).options(
            num_cpus=1, scheduling_strategy=strategy
        )
        stored = self._mirror is not None
        home = self._mirror.url if self._mirror is not None else str(self._folder)
        asked = task.remote(home, probe.name, node["NodeID"], stored)
        answer, back = self._ray.get(asked, timeout=120), f"{probe.name}-{node['NodeID']}"
        if self._mirror is None:
            returned = (self._folder / back).exists()
        else:
            returned = self._mirror.objects.exists(back)
            if returned:
                self._mirror.objects.delete(back)
        if answer != probe.name or not returned:
            raise StoreError(
                f"the node {node['NodeManagerAddress']} does not share {home} with this machine: "
                "results travel through it. Put it on storage that all nodes see"
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


def _absolute(job: Job) -> Job:
    """The job with absolute paths: tasks do not start in the driver's folder."""

    def place(path: str) -> str:
        return str(Path(path).absolute())

    return replace(
        job, work=place(job.work), final=place(job.final), run_dir=place(job.run_dir),
        inputs={role: [place(path) for path in paths] for role, paths in job.inputs.items()},
    )  # fmt: skip


class TablesHere:
    """For a run on an object store: what reads the tables runs beside the driver, which has them."""

    def __init__(self, cluster: Engine, here: Engine):
        self._cluster, self._here = cluster, here

    def free(self) -> int:
        """Slots of the cluster, none while a step runs here."""
        return min(self._cluster.free(), self._here.free())

    def submit(self, job: Job) -> None:
        """Hand a job to where it belongs."""
        (self._here if KINDS[job.kind].reads_tables else self._cluster).submit(job)

    def poll(self, seconds: float) -> list[Report]:
        """Reports of both."""
        return [*self._here.poll(0.0), *self._cluster.poll(seconds)]

    def cancel(self, key: str, reason: str) -> None:
        """End a job, wherever it runs."""
        self._here.cancel(key, reason)
        self._cluster.cancel(key, reason)

    def close(self) -> None:
        """End both."""
        self._here.close()
        self._cluster.close()
