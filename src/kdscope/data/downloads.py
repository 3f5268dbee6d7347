"""Downloads: pinned files into the cache, resumed, checked, never half there.

A file is written beside its final place as ``<name>.part``; an interrupted transfer goes on from
there. It gets its name only after its checksum holds: the git blob id of its pin, or, where none
has been seen, the SHA-256 recorded at the first download (``<name>.source.json``). Hub files go
through huggingface_hub, which brings its own cache and revisions; the revision that was resolved is
recorded too.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pooch
import requests

from kdscope.data.checksums import check, record
from kdscope.data.pins import Pin
from kdscope.data.sources import cache_folder
from kdscope.errors import DataError, RemoteError, missing_extra

ATTEMPTS = 5
PAUSE = 1.0  # seconds before the second attempt, doubled at each further one
TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 1 << 16

# done bytes, total bytes (None if the server does not say)
Progress = Callable[[int, int | None], None]


def offline() -> bool:
    """Whether the environment forbids the network (``HF_HUB_OFFLINE`` or ``KDSCOPE_OFFLINE``)."""
    return any(
        os.environ.get(name, "").lower() in {"1", "true", "yes", "on"}
        for name in ("HF_HUB_OFFLINE", "KDSCOPE_OFFLINE")
    )


def fetch(pin: Pin, progress: Progress | None = None) -> Path:
    """Download a pinned file unless the cache has it already; returns its place in the cache.

    Raises:
        DataError: offline, or the checksum is not the pinned one (nothing is kept then).
        RemoteError: the server did not deliver the file after several attempts.
    """
    target = cache_folder() / pin.path
    if target.is_file():
        check(pin, target)
        return target
    if offline():
        raise DataError(
            f"{pin.path} is not in the cache ({cache_folder()}) and the environment forbids the "
            "network (HF_HUB_OFFLINE or KDSCOPE_OFFLINE is set); unset it, or set KDSCOPE_DATA to "
            "a folder that holds the file"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    return _fetch_hub(pin, target) if pin.hub else _fetch_url(pin, target, progress)


def _fetch_url(pin: Pin, target: Path, progress: Progress | None) -> Path:
    url = str(pin.url)

    def transfer(_: str, output_file: str, __: pooch.Pooch | None) -> None:
        part = target.with_name(f"{target.name}.part")
        _resume(url, part, progress)
        try:
            check(pin, part, url)
        except DataError:
            part.unlink()
            raise
        shutil.move(part, output_file)

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("ERROR")  # it prints the checksum of files without one; ours is recorded
    try:
        pooch.retrieve(url, None, target.name, target.parent, downloader=cast(Any, transfer))
    finally:
        logger.setLevel(level)
    record(target, {"url": url})
    return target


def _resume(url: str, part: Path, progress: Progress | None) -> None:
    """Append to ``part`` until the server's whole file is there."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            return _transfer(url, part, progress)
        except (requests.RequestException, EOFError) as error:
            _refuse_final(url, error, part)
            cause = f"{type(error).__name__}: {error}"
            if attempt == ATTEMPTS - 1:
                have = part.stat().st_size if part.is_file() else 0
                raise RemoteError(
                    f"{url} could not be downloaded in {ATTEMPTS} attempts ({cause}); "
                    f"{have:,} bytes are kept and the same command goes on from there. "
                    "Check the network, or set KDSCOPE_DATA to a folder with the file"
                ) from None
    return None


def _refuse_final(url: str, error: Exception, part: Path) -> None:
    """Raise RemoteError for an answer that further attempts cannot change."""
    reply = error.response if isinstance(error, requests.HTTPError) else None
    if reply is None:
        return
    status = reply.status_code
    if status == 416:  # the part is longer than the file: it belongs to something else
        part.unlink(missing_ok=True)
    elif status < 500 and status != 429:
        raise RemoteError(
            f"{url} answered {status} {reply.reason}; nothing was saved. "
            "Check the address, or set KDSCOPE_DATA to a folder with the file"
        )


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    """One request. Raises EOFError if the connection ends early."""
    done = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={done}-"} if done else {}
    headers["Accept-Encoding"] = "identity"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as reply:
        reply.raise_for_status()
        resumed = reply.status_code == 206 and _starts_at(reply) == done
        done = done if resumed else 0
        length = reply.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if resumed else "wb") as file:
            for chunk in reply.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
    if total is not None and done < total:
        raise EOFError(f"the connection ended after {done:,} of {total:,} bytes")


def _starts_at(reply: requests.Response) -> int:
    """The first byte of a partial reply, from ``bytes a-b/n``; -1 if it does not say."""
    first = reply.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1


def _fetch_hub(pin: Pin, target: Path) -> Path:
    try:
        import huggingface_hub
    except ImportError:
        raise missing_extra("train", "huggingface_hub", f"downloading {pin.hub}") from None
    try:
        revision = pin.revision or huggingface_hub.HfApi().dataset_info(str(pin.hub)).sha
        local = huggingface_hub.hf_hub_download(
            str(pin.hub), pin.upstream, repo_type="dataset", revision=revision
        )
    except (OSError, ValueError) as error:
        raise RemoteError(
            f"{pin.hub} could not be downloaded from the hub: {error}. Check the network, or put "
            f"the file at {pin.path} in the folder that KDSCOPE_DATA names"
        ) from None
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(local, part)
    os.replace(part, target)
    record(target, {"hub": pin.hub, "revision": revision, "file": pin.upstream})
    return target
