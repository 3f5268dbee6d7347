"""What a step function is told besides its fields and inputs; nothing here changes its output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVER = "teacher server"  # its name among the locations


def _silent(done: float, total: float, **numbers: float) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class StepContext:
    """The circumstances of one attempt.

    Attributes:
        resume: a folder kept between attempts of this step, for checkpoints and whole batches.
        run_dir: the run's folder; only kinds with ``reads_tables`` look into it.
        progress: call with ``(done, total, **numbers)``; shown, never stored.
        micro_batch: examples per forward pass after an out-of-memory retry; None at first.
        threads: how many threads this slot has.
        device: ``cpu`` or ``cuda`` (the one device that this slot may see).
        locations: folders of local models, data files, and the teacher's server, by name.
        attempt: counted from 1.
        reporting: arguments of the Trainer that name the trackers of this study; empty for none.
    """

    resume: Path
    run_dir: Path
    progress: Callable[..., None] = _silent
    micro_batch: int | None = None
    threads: int = 1
    device: str = "cpu"
    locations: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 1
    reporting: Mapping[str, Any] = field(default_factory=dict)
