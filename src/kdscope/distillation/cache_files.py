"""The files of a teacher cache: safetensors that are written whole or not at all, and their checksums."""

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from kdscope.errors import CacheError

INDEX = "index.json"
HEAD = "head.safetensors"


def shard_name(number: int) -> str:
    """File of a shard, counted from 0."""
    return f"states-{number:05d}.safetensors"


def content_digest(value: Any) -> str:
    """SHA-256 over canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> dict[str, Any]:
    """Write a safetensors file under a temporary name and rename it; returns its record.

    Raises:
        OSError: it cannot be written (``ENOSPC`` on a full disk); nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(dict(tensors), temporary, metadata=metadata)
        found = record(temporary)
        os.replace(temporary, path)
    except SafetensorError as error:
        raise _as_os_error(error, path) from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
    return found


def _as_os_error(error: SafetensorError, path: Path) -> OSError:
    """The operating system's own error, which safetensors wraps, so that a full disk is known as one."""
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]) if number else errno.EIO, str(error), str(path))


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document under a temporary name and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    os.replace(temporary, path)


def record(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def verify(path: Path, expected: Mapping[str, Any]) -> None:
    """Compare a file with its record, byte for byte.

    Raises:
        CacheError: it is missing, truncated, or one of its bytes has changed.
    """
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise CacheError(_damaged(path, f"has {size} bytes instead of {expected['bytes']}"))
        found = record(path)
    except OSError as error:
        raise CacheError(_damaged(path, f"cannot be read ({error.strerror})")) from None
    if found["sha256"] != expected["sha256"]:
        raise CacheError(_damaged(path, "has another checksum than when it was written"))


def _damaged(path: Path, what: str) -> str:
    return (
        f"{path} {what}: students would learn from wrong states. Delete the cache's folder "
        f"({path.parent}) and run again, and it is written anew"
    )
