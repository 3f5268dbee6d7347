"""The local engine: a pool of worker processes, one per slot, each kept across steps."""

import contextlib
import json
import os
import select
import selectors
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import IO

from kdscope.study.engine import Job, Report, memory_kills


@dataclass(frozen=True)
class Slot:
    """A share of the machine: threads, and a GPU where there is one."""

    threads: int
    gpu: str | None = None


def machine_slots(workers: int | None = None) -> list[Slot]:
    """One slot per GPU, or per core; with ``workers`` so many, the cores shared among them."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    gpus = visible_gpus()
    count = workers or len(gpus) or cores
    threads = max(1, cores // count)
    return [Slot(threads, gpus[i % len(gpus)] if gpus else None) for i in range(count)]


def visible_gpus() -> list[str]:
    """Identifiers of the GPUs that this process may use, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [part.strip() for part in visible.split(",") if part.strip() not in {"", "-1"}]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


@dataclass
class _Worker:
    slot: Slot
    process: subprocess.Popen[bytes]
    source: IO[bytes]
    pending: bytes = b""
    job: Job | None = None
    reason: str = ""
    kills: int = 0  # processes that the kernel had ended for memory when its job began


class LocalEngine:
    """Runs each job in a worker process; a dead worker ends one attempt and is replaced."""

    def __init__(self, slots: list[Slot], lock: int | None = None):
        self._slots, self._lock = list(slots), lock
        self._idle_slots = list(reversed(slots))
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}
        self._selector = selectors.DefaultSelector()

    def free(self) -> int:
        """Slots without a job."""
        return len(self._slots) - len(self._busy)

    def submit(self, job: Job) -> None:
        """Hand a job to an idle worker, starting one if there is none."""
        worker = self._idle.pop() if self._idle else self._start(self._idle_slots.pop())
        worker.job, worker.reason, worker.kills = job, "", memory_kills()
        self._busy[job.key] = worker
        line = json.dumps(job.document(), ensure_ascii=False) + "\n"
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(line.encode())
            worker.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass  # it died while idle: its closed output reports the job as lost

    def poll(self, seconds: float) -> list[Report]:
        """Reports of all workers; waits at most ``seconds`` for the first."""
        reports: list[Report] = []
        for key, _ in self._selector.select(seconds):
            worker: _Worker = key.data
            chunk = os.read(worker.source.fileno(), 1 << 16)
            if chunk:
                reports.extend(self._read(worker, chunk))
            else:
                reports.extend(self._bury(worker))
        for worker in list(self._busy.values()):
            dead = worker.process.poll() is not None
            if dead and not _readable(worker.source):  # its children may hold the pipe open
                reports.extend(self._bury(worker))
        return reports

    def cancel(self, key: str, reason: str) -> None:
        """Kill the worker that runs this job."""
        worker = self._busy.get(key)
        if worker is not None:
            worker.reason = reason
            _kill(worker.process)

    def close(self) -> None:
        """Kill all workers and wait for them."""
        workers = [*self._idle, *self._busy.values()]
        for worker in workers:
            _kill(worker.process)
        for worker in workers:
            self._retire(worker)
        self._idle.clear()
        self._busy.clear()
        self._selector.close()

    def _start(self, slot: Slot) -> _Worker:
        threads = str(slot.threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
            "TQDM_DISABLE": "1",  # bars of libraries are drawn for a terminal, not for a step's log
            "KDSCOPE_DEVICE": "cpu" if slot.gpu is None else "cuda",
            "KDSCOPE_LOCK": "" if self._lock is None else str(self._lock),
        }
        if slot.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = slot.gpu
        process = subprocess.Popen(
            [sys.executable, "-m", "kdscope.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            pass_fds=() if self._lock is None else (self._lock,),
        )
        assert process.stdout is not None
        worker = _Worker(slot, process, process.stdout)
        self._selector.register(process.stdout, selectors.EVENT_READ, worker)
        return worker

    def _read(self, worker: _Worker, chunk: bytes) -> list[Report]:
        *lines, worker.pending = (worker.pending + chunk).split(b"\n")
        reports = []
        for line in lines:
            message = json.loads(line)
            if message["state"] == "ready":
                continue
            report = Report(message["key"], message["state"], message["content"])
            if report.state != "progress" and self._busy.pop(report.key, None):
                worker.job = None
                self._idle.append(worker)
            reports.append(report)
        return reports

    def _bury(self, worker: _Worker) -> list[Report]:
        """A worker's output has closed: it is dead. Its job, if any, is lost."""
        _kill(worker.process)
        code = self._retire(worker)
        self._idle_slots.append(worker.slot)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.job is None:
            return []
        self._busy.pop(worker.job.key, None)
        starved = code == -signal.SIGKILL and not worker.reason and memory_kills() > worker.kills
        why = worker.reason or (
            "memory ran out: its worker was killed" if starved else _cause(code)
        )
        return [Report(worker.job.key, "lost", {"message": why, "code": code, "memory": starved})]

    def _retire(self, worker: _Worker) -> int:
        with_output = worker.process.stdout
        if with_output is not None and not with_output.closed:
            self._selector.unregister(with_output)
            with_output.close()
        code = worker.process.wait()
        if worker.process.stdin is not None:
            with contextlib.suppress(OSError):  # what was unwritten went with the worker
                worker.process.stdin.close()
        return code


def _readable(source: IO[bytes]) -> bool:
    return bool(select.select([source], [], [], 0)[0])


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()


def _cause(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its worker was killed (signal 9)"
    if code < 0:
        return f"its worker was ended by signal {-code}"
    return f"its worker ended with status {code}"
