"""The run's folder: its layout, its lock, and immutable artifacts whose manifest is written last.

``steps/<kind>/<readable>-<key12>/`` exists completely or not at all: a step works in ``.work``
beside it, writes its manifest last and is renamed. What is damaged is moved to ``steps/.damaged``,
never deleted.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from kdscope.errors import StoreError
from kdscope.study.graph import Plan, Step, plan_from_document
from kdscope.study.identity import SHORT, file_digest

MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"  # beside the log: what a training has logged, line by line


class Run:
    """A run's folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.steps = folder / "steps"
        self.tables = folder / "tables"
        self.events = folder / "events.jsonl"

    # The study that it holds

    def refuse_others(self, name: str) -> None:
        """Make sure that the folder is free or holds this study; writes nothing.

        Raises:
            StoreError: it holds another study or other files.
        """
        held = self.study_name()
        if held is not None and held != name:
            raise StoreError(
                f"{self.folder} holds the study {held!r}, not {name!r}; nothing was written. "
                "Choose another folder with --out"
            )
        if held is None and self.folder.exists() and not self._is_free():
            raise StoreError(
                f"{self.folder} exists and is not a folder of a kdscope run; nothing was written. "
                "Choose another folder with --out"
            )

    def claim(self, name: str) -> None:
        """Make the folder ready for a study, and nothing else.

        Raises:
            StoreError: it holds another study or other files, or cannot be written.
        """
        self.refuse_others(name)
        try:
            self.steps.mkdir(parents=True, exist_ok=True)
            probe = self.folder / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be written: {error.strerror}") from None

    def study_name(self) -> str | None:
        """Name of the study that the folder holds; None if it holds none."""
        try:
            resolved = yaml.safe_load((self.folder / "resolved.yaml").read_text(encoding="utf-8"))
            return str(resolved["name"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, yaml.YAMLError, TypeError, KeyError):
            raise StoreError(
                f"{self.folder / 'resolved.yaml'} is not readable as a study's record"
            ) from None

    def _is_free(self) -> bool:
        own = {"steps", "events.jsonl", "study.yaml", "plan.json"}
        return self.folder.is_dir() and all(
            path.name in own or path.name.startswith(".") for path in self.folder.iterdir()
        )

    def save_study(self, text: str, document: Mapping[str, Any], plan: Plan) -> None:
        """Write ``study.yaml``, ``plan.json`` and ``resolved.yaml``, each atomically."""
        write_text(self.folder / "study.yaml", text)
        head = f'{{"mark": "{plan.mark}"'
        if not _starts_with(self.folder / "plan.json", head):
            write_text(self.folder / "plan.json", json.dumps(plan.document(), ensure_ascii=False))
        resolved = yaml.dump(
            document, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100
        )
        write_text(self.folder / "resolved.yaml", resolved)

    def plan(self) -> Plan:
        """The plan of the last run. Raises StoreError if the folder holds none."""
        try:
            document = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
            return plan_from_document(document)
        except FileNotFoundError:
            raise StoreError(
                f"{self.folder} is no folder of a kdscope run: it has no plan.json"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.folder / 'plan.json'} cannot be read: {error}") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the folder's lock; yields its descriptor, which workers inherit.

        The lock is the kernel's (flock), so it ends with the last process that holds it. A run that
        was killed leaves workers that notice within moments: that long is waited for.

        Raises:
            StoreError: another run is working in this folder.
        """
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def _acquire(self, descriptor: int, patience: float = 10.0) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                pid, _, host = os.pread(descriptor, 200, 0).decode(errors="replace").partition(" ")
                gone = host.strip() == socket.gethostname() and not _alive(pid)
                if not gone or time.monotonic() > deadline:
                    raise StoreError(
                        f"another run is working in {self.folder} (process {pid or '?'} on "
                        f"{host.strip() or '?'}). Wait for it, or choose another folder with --out"
                    ) from None
                time.sleep(0.1)

    # Artifacts

    def work(self, step: Step) -> Path:
        """Where a step works until it is complete; kept between attempts."""
        return self.steps / f"{step.path}.work"

    def artifacts(self, kinds: Iterable[str]) -> dict[str, Path]:
        """Folders of complete artifacts by the short key in their names."""
        found = {}
        for kind in kinds:
            with contextlib.suppress(FileNotFoundError), os.scandir(self.steps / kind) as entries:
                for entry in entries:
                    if not entry.name.endswith(".work"):
                        found[entry.name[-SHORT:]] = Path(entry.path)
        return found

    def set_aside(self, artifact: Path) -> None:
        """Move a damaged artifact out of the way, keeping it for inspection."""
        place = self.steps / ".damaged"
        place.mkdir(exist_ok=True)
        target = place / f"{artifact.parent.name}-{artifact.name}-{time.time_ns():x}"
        os.rename(artifact, target)


def read_manifest(artifact: Path) -> dict[str, Any] | None:
    """The manifest of an artifact; None if it is missing or not readable."""
    try:
        manifest = json.loads((artifact / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "files" in manifest else None


def fault(artifact: Path, key: str, *, thorough: bool = False) -> str | None:
    """What is wrong with an artifact, or None if it can be reused.

    A file whose size and time of change are as recorded is trusted unless ``thorough``; any other
    is read and compared with its checksum.
    """
    manifest = read_manifest(artifact)
    if manifest is None:
        return "its manifest is missing or truncated"
    if manifest.get("key") != key:
        return "its manifest has another key"
    for name, record in manifest["files"].items():
        path = artifact / name
        try:
            status = path.stat()
        except OSError:
            return f"{name} is missing"
        if status.st_size != record["bytes"]:
            return f"{name} has {status.st_size} bytes instead of {record['bytes']}"
        if thorough or status.st_mtime_ns != record["mtime_ns"]:
            try:
                if file_digest(path) != record["sha256"]:
                    return f"{name} has another checksum"
            except OSError as error:
                return f"{name} cannot be read: {error.strerror}"
    return None


def file_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Size, time of change and checksum of every file under ``out``, by path in the artifact."""
    records = {}
    for path in sorted((folder / "out").rglob("*")):
        if path.is_file():
            status = path.stat()
            records[path.relative_to(folder).as_posix()] = {
                "bytes": status.st_size,
                "mtime_ns": status.st_mtime_ns,
                "sha256": file_digest(path),
            }
    return records


def complete(work: Path, result: Path, final: Path, manifest: Mapping[str, Any]) -> None:
    """Turn a result in a work folder into an artifact: manifest last, then one rename.

    A step that somebody else completed in the meantime stays as it is.
    """
    for name in ("log.txt", METRICS):
        if (work / name).exists():
            shutil.copyfile(work / name, result / name)
    write_text(result / MANIFEST, json.dumps(manifest, ensure_ascii=False, allow_nan=False))
    try:
        os.rename(result, final)
    except OSError:
        if read_manifest(final) is None:
            raise
    shutil.rmtree(work, ignore_errors=True)


def publish(run: Run, step: Step, out: Path) -> None:
    """Copy what a step made for people to ``<run>/<kind>/``, each file atomically."""
    for source in sorted(out.rglob("*")):
        if source.is_file():
            target = run.folder / step.kind / source.relative_to(out)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.new")
            shutil.copyfile(source, temporary)
            temporary.replace(target)


def write_text(path: Path, text: str) -> None:
    """Write a file atomically and durably: temporary file, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def _starts_with(path: Path, head: str) -> bool:
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.read(len(head)) == head
    except OSError:
        return False


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ValueError:
        return False
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _PlainDumper(yaml.SafeDumper):
    """YAML without anchors, so that a resolved study reads like a study."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
