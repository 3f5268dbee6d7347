"""A run whose folder is on an object store: worked on in a folder of this machine, mirrored there.

Complete steps are copied both ways, never half ones: a step's manifest is written last there, too. What
comes from there is compared with its checksums like anything else that was not written here. Nobody locks
an object store: two drivers on one URL do the same work twice, with the same results.
"""

import importlib
import json
import shutil
import uuid
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyarrow import fs

from kdscope.errors import ConfigError, StoreError
from kdscope.study.graph import Plan, Step
from kdscope.study.identity import SHORT
from kdscope.study.steps import KINDS
from kdscope.study.store import MANIFEST, Run, publish

_BLOCK = 1 << 20
_COPIES = 4  # steps that are copied at a time
_TOPS = ("study.yaml", "resolved.yaml", "plan.json", "events.jsonl")


class Mirror:
    """The place of one run on an object store."""

    def __init__(self, url: str):
        """Open it, and see that it takes what is written.

        Raises:
            ConfigError: the URL is of an unknown kind.
            StoreError: it cannot be reached, or refuses.
        """
        self.url = url
        self._files, self._root = _open(url)
        self._pool = ThreadPoolExecutor(_COPIES)
        self._copies: list[tuple[str, Future[None]]] = []
        probe = f"{self._root}/.probe-{uuid.uuid4().hex}"
        try:
            self._upload(Path(__file__), probe)
            self._files.delete_file(probe)
            self._there = self._complete()
        except OSError as error:
            raise StoreError(f"{url} cannot be written and read: {_said(error)}") from None

    def recall(self, run: Run) -> None:
        """Fetch what is written of the run itself, where this machine has nothing of it."""
        if (run.folder / "resolved.yaml").exists():
            return
        for name in _TOPS:
            found = self._files.get_file_info(f"{self._root}/{name}")
            if found.type == fs.FileType.File:
                self._download(found.path, run.folder / name)

    def pull(self, run: Run, plan: Plan) -> int:
        """Fetch the steps of a plan that are complete there and not here; returns how many.

        Raises:
            StoreError: the object store failed on the way.
        """
        here = run.artifacts({step.kind for step in plan.steps.values()})
        wanted = [
            step
            for step in plan.steps.values()
            if step.key[:SHORT] in self._there and step.key[:SHORT] not in here
        ]
        needed = _inputs_of_missing(plan, {*self._there, *here})
        chosen = [s for s in wanted if not KINDS[s.kind].transient or s.key in needed]
        try:
            list(self._pool.map(lambda step: self._fetch(run, step), chosen))
        except OSError as error:
            raise StoreError(f"{self.url} failed while it was read: {_said(error)}") from None
        for step in chosen:
            if KINDS[step.kind].reads_tables:
                publish(run, step, run.steps / step.path / "out")
        return len(chosen)

    def push(self, run: Run, step: Step) -> None:
        """Copy a complete step, in the background."""
        self._copies.append((step.path, self._pool.submit(self._send, run, step)))

    def close(self, run: Run, plan: Plan) -> str:
        """Copy what is complete and not there yet, the tables and the report; says what failed."""
        for _, copy in self._copies:
            copy.exception()  # wait
        try:
            here = run.artifacts({step.kind for step in plan.steps.values()})
            for step in plan.steps.values():
                if step.key[:SHORT] in here and step.key[:SHORT] not in self._there:
                    self._send(run, step)
            for path in _published(run.folder):
                self._upload(path, f"{self._root}/{path.relative_to(run.folder).as_posix()}")
        except OSError as error:
            return f"not everything could be copied to {self.url}: {_said(error)}"
        finally:
            self._pool.shutdown()
        return ""

    def _complete(self) -> dict[str, str]:
        """Folders of complete steps there, by short key."""
        selector = fs.FileSelector(f"{self._root}/steps", recursive=True, allow_not_found=True)
        manifests = [
            found.path
            for found in self._files.get_file_info(selector)
            if found.base_name == MANIFEST
        ]
        folders = [path.rpartition("/")[0] for path in manifests]
        return {folder[-SHORT:]: folder for folder in folders}

    def _fetch(self, run: Run, step: Step) -> None:
        """One step: into a folder beside its place, then renamed; its manifest is read first."""
        source = self._there[step.key[:SHORT]]
        target = run.steps / step.path
        temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.work")
        (temporary / "out").mkdir(parents=True)
        try:
            self._download(f"{source}/{MANIFEST}", temporary / MANIFEST)
            for name in (*_files(temporary / MANIFEST), "log.txt"):
                self._download(f"{source}/{name}", temporary / name)
            if not target.exists():
                temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _send(self, run: Run, step: Step) -> None:
        artifact = run.artifacts([step.kind])[step.key[:SHORT]]
        target = f"{self._root}/steps/{step.path}"
        files = sorted(path for path in artifact.rglob("*") if path.is_file())
        for path in files:
            if path.name != MANIFEST or path.parent != artifact:
                self._upload(path, f"{target}/{path.relative_to(artifact).as_posix()}")
        self._upload(artifact / MANIFEST, f"{target}/{MANIFEST}")
        self._there[step.key[:SHORT]] = target

    def _upload(self, path: Path, target: str) -> None:
        if self._files.type_name in {"local", "subtree"}:  # elsewhere folders are but names
            self._files.create_dir(target.rpartition("/")[0])
        with path.open("rb") as source, self._files.open_output_stream(target) as sink:
            shutil.copyfileobj(source, sink, _BLOCK)

    def _download(self, path: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._files.open_input_stream(path) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, _BLOCK)


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL by pyarrow (s3, gs, hdfs, file), else by fsspec, and the path in it."""
    try:
        files, path = fs.FileSystem.from_uri(_small_files_at_once(url))
        return files, path.rstrip("/")
    except (ValueError, TypeError, OSError) as error:
        if url.partition("://")[0] in {"s3", "gs", "gcs", "hdfs", "file"}:
            raise ConfigError(f"{url} cannot be opened: {_said(error)}") from None
    try:
        fsspec = importlib.import_module("fsspec")  # not in the base installation
        files, path = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"{url} is on a file system that neither pyarrow (s3, gs, hdfs) nor fsspec opens here "
            f"({_said(error)}). Mount it and give a path"
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


def _inputs_of_missing(plan: Plan, complete: set[str]) -> set[str]:
    """Keys of the inputs of steps that are nowhere complete."""
    return {
        key
        for step in plan.steps.values()
        if step.key[:SHORT] not in complete
        for key in step.input_keys()
    }


def _published(folder: Path) -> list[Path]:
    tops = [folder / name for name in _TOPS if (folder / name).is_file()]
    made = ["tables", "code", *(kind for kind, about in KINDS.items() if about.reads_tables)]
    return tops + [p for name in made for p in sorted((folder / name).rglob("*")) if p.is_file()]


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
