"""Checksums of data files: git's name for a content, and the check against a pin or a record."""

import hashlib
import json
from pathlib import Path

from kdscope.data.pins import Pin
from kdscope.errors import DataError


def git_blob_id(content: bytes) -> str:
    """The name that git gives to a file's content: SHA-1 of ``blob <size>`` NUL and the bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def check(pin: Pin, path: Path, origin: str | None = None) -> None:
    """Compare a file with its pin, else with what was recorded at its first download.

    Raises:
        DataError: they differ; ``origin`` says where the file came from.
    """
    content, recorded = path.read_bytes(), recorded_sha256(path)
    if pin.git_blob:
        found, wanted = git_blob_id(content), pin.git_blob
    elif recorded:
        found, wanted = hashlib.sha256(content).hexdigest(), recorded
    else:
        return
    if found != wanted:
        raise DataError(
            f"{origin or path}: the checksum is {found}, the pinned one {wanted}. The file was "
            "changed or damaged, so results would not be comparable: it is refused. Delete it and "
            "run `kdscope data fetch` again, or give your own file by its path"
        )


def note_of(path: Path) -> Path:
    """Where the origin of a downloaded file is recorded."""
    return path.with_name(f"{path.name}.source.json")


def record(path: Path, origin: dict[str, str | None]) -> None:
    """Write the origin, SHA-256 and size of a downloaded file beside it."""
    content = path.read_bytes()
    note = {**origin, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    note_of(path).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def recorded_sha256(path: Path) -> str | None:
    """The SHA-256 recorded at the first download; None for files that were not downloaded."""
    note = note_of(path)
    return json.loads(note.read_text(encoding="utf-8")).get("sha256") if note.is_file() else None
