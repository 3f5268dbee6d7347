"""The seam between the driver and whatever runs steps: submit, poll, cancel."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclass(frozen=True)
class Job:
    """One attempt of one step, as it travels to a worker.

    Attributes:
        key, step, kind, version, fields, inputs: of the step; ``inputs`` are folders by role.
        run: ``module:function``.
        work, final: where it works and where its artifact goes.
        run_dir: the run's folder.
        locations: see StepContext.
        attempt: counted from 1.
        micro_batch: see StepContext.
        input_keys: keys of the inputs by role, for the manifest.
        code: state of the source tree, for the manifest.
        keep: make an artifact of the result.
        predicted: seconds, for the manifest.
        study, trackers: see :mod:`kdscope.study.tracking`.
    """

    key: str
    step: str
    kind: str
    version: int
    fields: Mapping[str, Any]
    inputs: Mapping[str, list[str]]
    run: str
    work: str
    final: str
    run_dir: str
    locations: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    micro_batch: int | None = None
    input_keys: Mapping[str, list[str]] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    keep: bool = True
    predicted: float | None = None
    study: str = ""
    trackers: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class Report(NamedTuple):
    """What became of a job.

    ``state`` is ``progress``, ``done``, ``failed`` (it raised) or ``lost`` (its worker died);
    ``content`` has the numbers of a progress, the seconds, or the message and class of an error.
    """

    key: str
    state: str
    content: Mapping[str, Any]


def memory_kills() -> int:
    """How many processes the kernel (Linux) of this machine has ended for want of memory.

    A worker ended by signal 9 was starved if this number rose meanwhile; else somebody killed it, and
    a smaller micro-batch would only change the last bits of its result.
    """
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


class Engine(Protocol):
    """Runs jobs somewhere."""

    def free(self) -> int:
        """How many jobs could start now."""
        ...

    def submit(self, job: Job) -> None:
        """Start a job; only called when one is free."""
        ...

    def poll(self, seconds: float) -> list[Report]:
        """What happened, waiting at most so long for the first thing to happen."""
        ...

    def cancel(self, key: str, reason: str) -> None:
        """End a job at once; it is reported as lost with that reason."""
        ...

    def close(self) -> None:
        """End everything."""
        ...
