"""Where a run is worked on: a folder, also for a run whose home is an object store."""

import hashlib
from pathlib import Path

from kdscope.models.sources import cache_folder


def is_url(out: str) -> bool:
    """Whether an output is on an object store (``s3://...``, ``memory://...``) and not a path."""
    return "://" in out


def working_folder(out: str | None) -> Path | None:
    """The folder of this machine for an ``--out``; that of an object store is in the cache folder."""
    if out is None:
        return None
    return staging(out) if is_url(out) else Path(out)


def staging(url: str) -> Path:
    """The folder of this machine in which a run on an object store is worked on."""
    name = url.rstrip("/").partition("?")[0].rpartition("/")[2] or "run"
    return cache_folder() / "mirrored" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
