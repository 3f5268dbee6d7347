"""Where a run stands, asked again and again: for the page that ``kdscope view`` shows meanwhile."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdscope.study.inspection import status
from kdscope.study.store import Run

_OLDEST = 10.0  # seconds after which the steps are counted again although no event was added


def watcher(folder: Path) -> Callable[[], dict[str, Any]]:
    """A function that says where the run in ``folder`` stands, for ``live.json``.

    The steps are looked through only when an event was added or ten seconds have passed, so that
    asking often costs nothing. Beside the fields of :func:`kdscope.study.inspection.status`, each
    running step has ``seconds`` and ``predicted_seconds``; ``page`` says whether there is a report.
    """
    run = Run(folder)
    predicted: dict[str, float] = {}
    known: dict[str, Any] = {}

    def ask() -> dict[str, Any]:
        mark, clock = _mark(run.events), time.monotonic()
        if known.get("mark") != mark or clock - known["asked"] > _OLDEST:
            if not predicted:
                plan = run.plan()
                predicted.update(
                    {s.path: plan.predicted.get(k, 0.0) for k, s in plan.steps.items()}
                )
            known.update(mark=mark, asked=clock, state=status(folder))
        state = known["state"]
        running = [
            {
                "step": entry["step"],
                "seconds": _since(entry["since"]),
                "predicted_seconds": predicted.get(entry["step"]),
            }
            for entry in state["running"]
        ]
        page = (folder / "report" / "index.html").is_file()
        kept = {key: value for key, value in state.items() if key != "folder"}
        return {**kept, "running": running, "page": page}

    return ask


def _mark(events: Path) -> tuple[int, int] | None:
    found = events.stat() if events.is_file() else None
    return (found.st_size, found.st_mtime_ns) if found else None


def _since(moment: str) -> float:
    """Seconds since an event's time; never below 0, whatever the clocks of two machines say."""
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())
