"""Files and artifacts on an object store: by pyarrow (s3, gs, hdfs, file), else by fsspec."""

import importlib
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyarrow import fs

from kdscope.errors import ConfigError, StoreError
from kdscope.study.store import MANIFEST

_BLOCK = 1 << 20


class Objects:
    """A folder on an object store; names are relative to it."""

    def __init__(self, url: str):
        """Open it.

        Raises:
            ConfigError: the URL is of an unknown kind.
        """
        self.url = url
        self._files, self._root = _open(url)

    def check(self) -> None:
        """See that it takes and gives back what is written.

        Raises:
            StoreError: it cannot be reached, or refuses.
        """
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.upload(Path(__file__), probe)
            self.exists(probe)
            self.delete(probe)
        except OSError as error:
            raise StoreError(f"{self.url} cannot be written and read: {said(error)}") from None

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        found = self._files.get_file_info(f"{self._root}/{name}")
        return found.type == fs.FileType.File

    def read(self, name: str) -> bytes:
        """Content of a small file. Raises OSError if it is not there."""
        with self._files.open_input_stream(f"{self._root}/{name}") as source:
            return source.read()

    def delete(self, name: str) -> None:
        """Remove one file."""
        self._files.delete_file(f"{self._root}/{name}")

    def upload(self, path: Path, name: str) -> None:
        """Copy a file there."""
        target = f"{self._root}/{name}"
        if self._files.type_name in {"local", "subtree"}:  # elsewhere folders are but names
            self._files.create_dir(target.rpartition("/")[0])
        with path.open("rb") as source, self._files.open_output_stream(target) as sink:
            shutil.copyfileobj(source, sink, _BLOCK)

    def download(self, name: str, target: Path) -> None:
        """Copy a file from there."""
        target.parent.mkdir(parents=True, exist_ok=True)
        place = f"{self._root}/{name}"
        with self._files.open_input_stream(place) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, _BLOCK)

    def artifacts(self) -> list[str]:
        """Names of the complete artifacts: folders under ``steps`` with a manifest."""
        selector = fs.FileSelector(f"{self._root}/steps", recursive=True, allow_not_found=True)
        found = [f.path for f in self._files.get_file_info(selector) if f.base_name == MANIFEST]
        return [path.removeprefix(f"{self._root}/").rpartition("/")[0] for path in found]

    def fetch(self, name: str, target: Path) -> None:
        """An artifact: into a folder beside its place, then renamed; its manifest is read first."""
        temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.work")
        (temporary / "out").mkdir(parents=True)
        try:
            self.download(f"{name}/{MANIFEST}", temporary / MANIFEST)
            for file in (*_files(temporary / MANIFEST), "log.txt"):
                self.download(f"{name}/{file}", temporary / file)
            if not target.exists():
                temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def send(self, artifact: Path, name: str) -> None:
        """An artifact, its manifest last."""
        for path in sorted(path for path in artifact.rglob("*") if path.is_file()):
            if path.name != MANIFEST or path.parent != artifact:
                self.upload(path, f"{name}/{path.relative_to(artifact).as_posix()}")
        self.upload(artifact / MANIFEST, f"{name}/{MANIFEST}")


def said(error: BaseException) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL by pyarrow (s3, gs, hdfs, file), else by fsspec, and the path in it."""
    try:
        files, path = fs.FileSystem.from_uri(_small_files_at_once(url))
        return files, path.rstrip("/")
    except (ValueError, TypeError, OSError) as error:
        if url.partition("://")[0] in {"s3", "gs", "gcs", "hdfs", "file"}:
            raise ConfigError(f"{url} cannot be opened: {said(error)}") from None
    try:
        fsspec = importlib.import_module("fsspec")  # not in the base installation
        files, path = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{url} is on a file system that neither pyarrow (s3, gs, hdfs) nor fsspec opens here "
            f"({said(error)}). Mount it and give a path"
        ) from None
    return fs.PyFileSystem(fs.FSSpecHandler(files)), path.rstrip("/")


def _small_files_at_once(url: str) -> str:
    """On S3 a file of a few MB is one request instead of three."""
    if not url.startswith("s3://") or "allow_delayed_open" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}allow_delayed_open=true"


def _files(manifest: Path) -> list[str]:
    try:
        found: Mapping[str, Any] = json.loads(manifest.read_bytes())["files"]
    except (ValueError, KeyError, TypeError):
        return []  # a damaged manifest is found out when the step is looked at
    return list(found)
