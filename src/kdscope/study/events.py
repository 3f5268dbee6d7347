"""``events.jsonl``: what the driver did, one JSON object a line; the driver alone writes it."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def now() -> str:
    """The time as tables and events have it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class EventLog:
    """Appends events; a line that an earlier run left unfinished is closed, not removed."""

    def __init__(self, path: Path):
        torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
        self._stream = path.open("a", encoding="utf-8")
        if torn:
            self._stream.write("\n")

    def add(self, event: str, **fields: Any) -> None:
        """Append one event and hand it to the system."""
        line = json.dumps({"time": now(), "event": event, **fields}, ensure_ascii=False)
        self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Make everything durable."""
        os.fsync(self._stream.fileno())
        self._stream.close()


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """All readable events in order; an unfinished line is passed over."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                yield event
