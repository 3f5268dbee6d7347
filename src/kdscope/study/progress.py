"""How fast running steps go, kept in a file of the run's folder for whoever looks on."""

import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdscope.study.graph import Step
from kdscope.study.outcome import Watch
from kdscope.study.store import METRICS, Run

FILE = ".progress.json"  # beside events.jsonl; the driver alone writes it, always as a whole
SPAN = 60.0  # seconds over which a rate is taken
_POINTS = 60  # of a loss curve, at most
UNITS = {
    "sft": "optimizer steps",
    "distill": "optimizer steps",
    "predict": "answers",
    "fidelity": "answers",
    "teacher_texts": "texts",
    "teacher_cache": "examples",
}


class Pace:
    """How much of a step is done and how fast it goes, from its reports of the last minute."""

    def __init__(self) -> None:
        self._reports: deque[tuple[float, float]] = deque()  # (clock in seconds, done)
        self.total = 0.0

    def note(self, clock: float, done: float, total: float) -> None:
        """So much was done by then; fewer than before means that the step began anew."""
        reports = self._reports
        if reports and done < reports[-1][1]:
            reports.clear()
        reports.append((clock, done))
        while len(reports) > 2 and reports[1][0] <= clock - SPAN:
            reports.popleft()
        self.total = total

    @property
    def rate(self) -> float | None:
        """Units a second; None before two reports say different numbers at different times."""
        if len(self._reports) < 2:
            return None
        (began, first), (now, last) = self._reports[0], self._reports[-1]
        return (last - first) / (now - began) if last > first and now > began else None

    def left(self, clock: float) -> float | None:
        """Seconds to the end at that rate, counted from the last report; None without a rate."""
        rate = self.rate
        if rate is None:
            return None
        reported, done = self._reports[-1]
        return max(0.0, (self.total - done) / rate - (clock - reported))


@dataclass
class _Going:
    step: str
    unit: str
    pace: Pace = field(default_factory=Pace)
    numbers: dict[str, float] = field(default_factory=dict)


class Progress:
    """A watch that keeps :data:`FILE` true, and passes everything on to another watch.

    Args:
        folder: of the run.
        then: who is told too.
        clock: monotonic seconds.
    """

    def __init__(self, folder: Path, then: Watch, clock: Callable[[], float] = time.monotonic):
        self._path, self._then, self._clock = folder / FILE, then, clock
        self._going: dict[str, _Going] = {}
        self._written = ""

    def begin(self, todo: int, done: int) -> None:
        """Forget what an earlier run has left."""
        self._path.unlink(missing_ok=True)
        self._then.begin(todo, done)

    def started(self, step: Step, attempt: int) -> None:
        """A step has no numbers yet."""
        self._going[step.key] = _Going(step.path, UNITS.get(step.kind, "parts"))
        self._then.started(step, attempt)

    def progress(self, step: Step, content: Mapping[str, Any]) -> None:
        """Note the numbers of a report."""
        going = self._going.get(step.key)
        if going is not None and content.get("total"):
            going.pace.note(self._clock(), content.get("done", 0.0), content["total"])
            going.numbers = dict(content)
        self._then.progress(step, content)

    def ended(self, step: Step, state: str, message: str) -> None:
        """Forget the step."""
        self._going.pop(step.key, None)
        self._then.ended(step, state, message)

    def tick(self, remaining: float | None) -> None:
        """Write the file, where anything has changed.

        A run takes at least as long as each of its running steps says that it will still take.
        """
        clock = self._clock()
        known = [left for g in self._going.values() if (left := g.pace.left(clock)) is not None]
        document = {
            "seconds_left": _rounded(None if remaining is None else max([remaining, *known])),
            "steps": {going.step: self._entry(going, clock) for going in self._going.values()},
        }
        text = json.dumps(document, ensure_ascii=False)
        if text != self._written:
            _replace(self._path, text)
            self._written = text
        self._then.tick(remaining)

    def close(self) -> None:
        """Nothing runs any more."""
        self._path.unlink(missing_ok=True)
        self._then.close()

    def _entry(self, going: _Going, clock: float) -> dict[str, Any]:
        pace = going.pace
        return {
            **{name: value for name, value in going.numbers.items() if _finite(value)},
            "unit": going.unit,
            "rate": _rounded(pace.rate, 3),
            "seconds_left": _rounded(pace.left(clock)),
        }


def read_progress(run: Run) -> dict[str, Any]:
    """What :class:`Progress` wrote last: ``seconds_left`` of the run, and ``steps`` by path.

    Each step has ``unit, rate, seconds_left`` (the last two None where they are not known) and the
    numbers of its last report, as ``done, total, memory, loss``. Empty where nothing was written.
    """
    try:
        found = json.loads((run.folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"seconds_left": None, "steps": {}}
    return found


def loss_curve(run: Run, step: str) -> list[tuple[int, float]]:
    """Loss by optimizer step of a training at work in a run, at most 60 points with the last one.

    A training that was resumed says some steps again: the later word counts.
    """
    try:
        text = (run.steps / f"{step}.work" / METRICS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found: dict[int, float] = {}
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line may still be in the writing
            continue
        if "loss" in entry and _finite(entry["loss"]):
            found[int(entry["step"])] = float(entry["loss"])
    points = sorted(found.items())
    stride = -(-len(points) // _POINTS)
    return points[::-1][::stride][::-1] if points else []


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _replace(path: Path, text: str) -> None:
    """Write a file that readers see whole; a disk too full for it does not end the run."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
