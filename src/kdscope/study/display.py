"""What a person sees of a run: a live line per running step, or plain lines off a terminal."""

import sys
import time
from collections.abc import Mapping
from typing import IO, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kdscope.errors import ConfigError
from kdscope.study.graph import Step

_EVERY = 15.0  # seconds between two plain lines of progress


def watch(mode: str = "auto", stream: IO[str] | None = None) -> "PlainWatch | LiveWatch | Silent":
    """A display: ``live``, ``plain``, ``none``, or by whether standard error is a terminal."""
    shown: IO[str] = sys.stderr if stream is None else stream
    if mode == "auto":
        mode = "live" if shown.isatty() else "plain"
    if mode not in {"live", "plain", "none"}:
        raise ConfigError(f"there is no display {mode!r}; choose one of auto, live, plain, none")
    return {"live": LiveWatch, "plain": PlainWatch, "none": Silent}[mode](shown)


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 cell``, ``2 cells``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float | None) -> str:
    """Seconds as people read them: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(amount: float | None) -> str:
    """Bytes as people read them: ``340 MB``."""
    if amount is None:
        return "?"
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit in "B kB MB" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def numbers(content: Mapping[str, Any]) -> str:
    """The numbers of a progress report: share done, loss and the like, memory."""
    done, total = content.get("done", 0.0), content.get("total", 0.0)
    parts = [f"{done:g}/{total:g}"] if total else []
    for name, value in content.items():
        if name == "memory":
            parts.append(size(value))
        elif name not in {"done", "total"}:
            parts.append(f"{name} {value:.4g}")
    return "  ".join(parts)


class Silent:
    """Shows nothing."""

    def __init__(self, stream: IO[str] | None = None):
        self.stream = stream

    def begin(self, todo: int, done: int) -> None:
        """So many steps to do, so many reused."""

    def started(self, step: Step, attempt: int) -> None:
        """An attempt of a step has started."""

    def progress(self, step: Step, content: Mapping[str, Any]) -> None:
        """A running step has reported."""

    def ended(self, step: Step, state: str, message: str) -> None:
        """An attempt has ended: done, failed, again or stopped."""

    def tick(self, remaining: float | None) -> None:
        """About once a second; ``remaining`` seconds to the end, if known."""

    def close(self) -> None:
        """The run is over."""


class _Counting(Silent):
    """Counts what both displays show."""

    def __init__(self, stream: IO[str] | None = None):
        super().__init__(stream)
        self.todo, self.count, self.failures = 0, 0, 0
        self.running: dict[str, dict[str, Any]] = {}
        self.remaining: float | None = None

    def begin(self, todo: int, done: int) -> None:
        """Remember how much there is."""
        self.todo = todo

    def started(self, step: Step, attempt: int) -> None:
        """Remember when."""
        self.running[step.key] = {"step": step, "since": time.monotonic(), "content": {}}

    def progress(self, step: Step, content: Mapping[str, Any]) -> None:
        """Remember the newest numbers."""
        if step.key in self.running:
            self.running[step.key]["content"] = content

    def ended(self, step: Step, state: str, message: str) -> None:
        """Count it."""
        entry = self.running.pop(step.key, None)
        self.count += state in {"done", "failed"}
        self.failures += state == "failed"
        spent = time.monotonic() - entry["since"] if entry else 0.0
        self.show(step, state, message, spent)

    def tick(self, remaining: float | None) -> None:
        """Remember the remaining time."""
        self.remaining = remaining

    def show(self, step: Step, state: str, message: str, spent: float) -> None:
        """Say that an attempt has ended."""

    def left(self) -> str:
        """Remaining time in words, empty if it is not known."""
        return "" if self.remaining is None else f", about {duration(self.remaining)} left"


class PlainWatch(_Counting):
    """One line when a step ends, and now and then one for what is running."""

    def __init__(self, stream: IO[str] | None = None):
        super().__init__(stream)
        self._last = time.monotonic()

    def begin(self, todo: int, done: int) -> None:
        """Say how much there is."""
        super().begin(todo, done)
        if todo:
            self._print(f"{counted(todo, 'step')} to run, {done} complete already")

    def show(self, step: Step, state: str, message: str, spent: float) -> None:
        """One line."""
        self._last = time.monotonic()
        note = f": {message}" if message else ""
        place = f"[{self.count}/{self.todo}]"
        self._print(f"{place} {state} {step.path} in {duration(spent)}{self.left()}{note}")

    def tick(self, remaining: float | None) -> None:
        """A line for each running step, if nothing was said for a while."""
        super().tick(remaining)
        if time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            for entry in self.running.values():
                spent = duration(time.monotonic() - entry["since"])
                shown = numbers(entry["content"])
                self._print(f"  running {entry['step'].path} for {spent}  {shown}{self.left()}")

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


class LiveWatch(_Counting):
    """A line per running step, redrawn in place; what has failed stays above it."""

    def __init__(self, stream: IO[str] | None = None):
        super().__init__(stream)
        self._console = Console(file=stream, stderr=stream is None)
        self._live: Live | None = None

    def begin(self, todo: int, done: int) -> None:
        """Start drawing."""
        super().begin(todo, done)
        if todo:
            self._console.print(f"{counted(todo, 'step')} to run, {done} complete already")
            self._live = Live(
                get_renderable=self._draw, console=self._console, refresh_per_second=4,
                transient=True,
            )  # fmt: skip
            self._live.start()

    def show(self, step: Step, state: str, message: str, spent: float) -> None:
        """Failures and retries stay readable."""
        if state != "done":
            self._console.print(Text(f"{state} {step.path}: {message}", style="red"))

    def close(self) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> Table:
        table = Table.grid(padding=(0, 2))
        failures = f", {self.failures} failed" if self.failures else ""
        table.add_row(Text(f"{self.count}/{self.todo} steps{failures}{self.left()}", style="bold"))
        for entry in list(self.running.values()):
            spent = duration(time.monotonic() - entry["since"])
            content = entry["content"]
            total = content.get("total") or 0.0
            bar = "" if not total else _bar(content.get("done", 0.0) / total)
            table.add_row(
                Text(entry["step"].path, overflow="ellipsis", no_wrap=True),
                Text(bar), Text(spent), Text(numbers(content), no_wrap=True),
            )  # fmt: skip
        return table


def _bar(share: float, width: int = 12) -> str:
    filled = round(width * min(1.0, max(0.0, share)))
    return "━" * filled + "╌" * (width - filled)
