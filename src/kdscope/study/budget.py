"""Limits of a run: how long it may take, and how much it may leave on the disk."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from kdscope.errors import StoreError
from kdscope.study.display import duration, size


@dataclass(frozen=True)
class Limits:
    """When to stop waiting.

    Attributes:
        stall_seconds: a step that reports nothing for so long is killed and tried once more.
        step_seconds: longest time of one attempt; None for no limit.
        free_bytes: no step is started with less free space than this.
        run_seconds: the run ends then, with its running steps put off; None for no limit.
        disk_bytes: no step is started once the run's folder holds so much; None for no limit.
    """

    stall_seconds: float = 3600.0
    step_seconds: float | None = None
    free_bytes: int = 100_000_000
    run_seconds: float | None = None
    disk_bytes: int | None = None


class Budget:
    """What a run has used of its limits."""

    def __init__(self, folder: Path, limits: Limits, began: float):
        """Begin to count.

        Args:
            folder: of the run; what it holds already counts.
            limits: of time and disk.
            began: monotonic seconds at which the run began.
        """
        self._limits, self._began = limits, began
        self._held = 0 if limits.disk_bytes is None else folder_bytes(folder)

    def add(self, amount: int) -> None:
        """A step has left so many bytes."""
        self._held += amount

    def time_spent(self) -> str:
        """Why the run must end now; empty while there is time."""
        most = self._limits.run_seconds
        if most is None or time.monotonic() - self._began < most:
            return ""
        return f"the limit of {duration(most)} (--max-hours) is reached"

    def disk_spent(self) -> str:
        """Why no step may start now; empty while there is room."""
        most = self._limits.disk_bytes
        if most is None or self._held < most:
            return ""
        return (
            f"the folder holds {size(self._held)}, the limit is {size(most)} (--max-disk). "
            "Raise it, or free space with `kdscope gc --caches`"
        )


def check_room(folder: Path, predicted: float, limits: Limits) -> None:
    """See before anything runs that what a study will leave fits on the disk.

    Whoever gives a limit of disk is served up to that limit.

    Raises:
        StoreError: it does not fit; nothing was started.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if limits.disk_bytes is None and predicted > free:
        raise StoreError(
            f"{size(predicted)} are predicted to come to {folder}, and {size(free)} are free there; "
            "nothing was started. Free some space, choose another folder with --out, or give "
            "--max-disk GB to start all the same and stop cleanly there"
        )


def folder_bytes(folder: Path) -> int:
    """Sum of the sizes of all files under a folder; 0 if there is none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total
