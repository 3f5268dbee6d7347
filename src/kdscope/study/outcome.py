"""What a driver tells: whoever looks on while it runs, and the caller at the end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from kdscope.study.graph import Step


class Watch(Protocol):
    """Whoever looks on: a terminal, a log, nobody."""

    def begin(self, todo: int, done: int) -> None:
        """So many steps to do, so many reused."""
        ...

    def started(self, step: Step, attempt: int) -> None:
        """An attempt of a step has started."""
        ...

    def progress(self, step: Step, content: Mapping[str, Any]) -> None:
        """A running step has reported."""
        ...

    def ended(self, step: Step, state: str, message: str) -> None:
        """An attempt has ended: done, failed, again or stopped."""
        ...

    def tick(self, remaining: float | None) -> None:
        """About once a second; ``remaining`` seconds to the end, if known."""
        ...

    def close(self) -> None:
        """The run is over."""
        ...


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        ran, reused: number of steps.
        failed: message by step; ``skipped``: steps whose inputs failed.
        user_fault: at least one failure that only the user can mend.
        interrupted: it was stopped by Ctrl-C.
        limited: it was stopped by a limit that the user gave.
        stopped: why it ended before its end; empty if it did not.
        seconds: wall time.
    """

    ran: int = 0
    reused: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    user_fault: bool = False
    interrupted: bool = False
    limited: bool = False
    stopped: str = ""
    seconds: float = 0.0

    @property
    def status(self) -> int:
        """Exit status: 0 done, 1 some steps failed, 2 the user must mend something first."""
        unfinished = self.interrupted or self.limited
        if self.user_fault or (self.stopped and not unfinished):
            return 2
        return 1 if self.failed or unfinished else 0

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "status": self.status}
