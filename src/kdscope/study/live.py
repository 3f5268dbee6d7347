"""Where a run stands, asked again and again: for the page that ``kdscope view`` shows meanwhile."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdscope.study.status import status, with_progress
from kdscope.study.store import Run

_OLDEST = 10.0  # seconds after which the steps are counted again although no event was added


def watcher(folder: Path) -> Callable[[], dict[str, Any]]:
    """A function that says where the run in ``folder`` stands, for ``live.json``.

    The steps are looked through only when an event was added or ten seconds have passed, so that
    asking often costs little: the numbers of what runs are read each time. Beside the fields of
    :func:`kdscope.study.status.status`, ``page`` says whether there is a report.
    """
    run = Run(folder)
    known: dict[str, Any] = {}

    def ask() -> dict[str, Any]:
        mark, clock = _mark(run.events), time.monotonic()
        if known.get("mark") != mark or clock - known["asked"] > _OLDEST:
            known.update(mark=mark, asked=clock, state=status(folder))
        page = (folder / "report" / "index.html").is_file()
        state = with_progress(run, known["state"])
        return {**{name: v for name, v in state.items() if name != "folder"}, "page": page}

    return ask


def _mark(events: Path) -> tuple[int, int] | None:
    found = events.stat() if events.is_file() else None
    return (found.st_size, found.st_mtime_ns) if found else None
