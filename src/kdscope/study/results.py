"""The result tables of a run: derived from its steps, rebuilt at will, a pure function of them."""

import importlib
import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdscope import tables
from kdscope.errors import StoreError, missing_extra
from kdscope.study.events import read_events
from kdscope.study.graph import Plan, Step
from kdscope.study.identity import SHORT, digest
from kdscope.study.steps import KINDS
from kdscope.study.store import MANIFEST, Run, read_manifest, write_text

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

_SYSTEM = ("model", "teacher", "student", "method", "seed", "settings")
_ROWS = 100_000  # rows gathered before they are written as one group

_Done = list[tuple[Step, Path]]


def rebuild_tables(folder: Path, *, plan: Plan | None = None, force: bool = False) -> list[Path]:
    """Rebuild ``tables/*.parquet`` from the complete steps of the run's plan, in the plan's order.

    Nothing is done if the same steps were collected before. ``plan`` spares reading ``plan.json``.
    Returns the files.

    Raises:
        TableError: a step left a table without one of its columns.
    """
    run = Run(folder)
    plan = plan or run.plan()
    found = run.artifacts({step.kind for step in plan.steps.values()})
    done = [
        (step, found[key[:SHORT]])
        for key, step in plan.steps.items()
        if key[:SHORT] in found and not KINDS[step.kind].reads_tables
    ]
    failed = last_failures(run)
    mark, state = run.tables / "built.json", _state(done, failed)
    before = _read_mark(mark)
    if not force and before.get("state") == state:
        files = [run.tables / name for name in before["files"]]
        if all(path.exists() for path in files):
            return files
    run.tables.mkdir(exist_ok=True)
    mark.unlink(missing_ok=True)
    files = []
    for name, parts in sorted(_parts(done).items()):
        files.append(run.tables / f"{name}.parquet")
        _concatenate(name, parts, files[-1])
    files.append(run.tables / "steps.parquet")
    tables.write("steps", _step_rows(plan, done, failed), files[-1])
    for stale in set(run.tables.glob("*.parquet")) - set(files):
        stale.unlink()
    names = [path.name for path in files]
    write_text(mark, json.dumps({"state": state, "files": names}))
    return files


def open_results(folder: str | Path) -> "dict[str, pd.DataFrame]":
    """All result tables of a run as pandas frames, by name; a table that no step wrote is empty.

    Raises:
        StoreError: the folder has no tables.
    """
    place = _tables_folder(folder)
    found = {name: place / f"{name}.parquet" for name in tables.SCHEMAS}
    return {
        name: (tables.read(name, path) if path.exists() else tables.from_rows(name, ())).to_pandas()
        for name, path in found.items()
    }


def open_views(folder: str | Path) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection in memory with a view of every result table that the run has (extra `duckdb`).

    Raises:
        MissingExtraError: DuckDB is not installed.
        StoreError: the folder has no tables.
    """
    if find_spec("duckdb") is None:
        raise missing_extra("duckdb", "duckdb", "open_views")
    connection = importlib.import_module("duckdb").connect()
    for path in sorted(_tables_folder(folder).glob("*.parquet")):
        connection.read_parquet(str(path)).create_view(path.stem)
    return connection


def _tables_folder(folder: str | Path) -> Path:
    place = Path(folder) / "tables"
    if not place.is_dir():
        raise StoreError(f"{folder} has no tables: is it the folder of a kdscope run?")
    return place


def last_failures(run: Run) -> dict[str, tuple[str, str]]:
    """State (failed or skipped) and message by key, as the last run left them."""
    found: dict[str, tuple[str, str]] = {}
    for event in read_events(run.events):
        if event["event"] == "begin":
            found.clear()
        elif event["event"] in {"failed", "lost"} and not event.get("again", True):
            found[event["key"]] = ("failed", event.get("message", ""))
        elif event["event"] == "skipped":
            found[event["key"]] = ("skipped", f"needs {event.get('because')}")
        elif event["event"] == "done":
            found.pop(event["key"], None)
    return found


def _state(done: _Done, failed: dict[str, tuple[str, str]]) -> str:
    """A digest that changes whenever a table could."""
    marks = [[step.key, os.stat(artifact / MANIFEST).st_mtime_ns] for step, artifact in done]
    return digest(
        [marks, failed, {name: list(columns) for name, columns in tables.SCHEMAS.items()}]
    )


def _read_mark(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _parts(done: _Done) -> dict[str, _Done]:
    """The files of every table, with the steps that wrote them."""
    parts: dict[str, _Done] = {}
    for step, artifact in done:
        with os.scandir(artifact / "out") as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                name, dot, suffix = entry.name.partition(".")
                if dot and suffix == "parquet" and name in tables.SCHEMAS:
                    parts.setdefault(name, []).append((step, Path(entry.path)))
    return parts


def _concatenate(name: str, parts: _Done, path: Path) -> None:
    """Write one table from its parts without holding more than a group of rows."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with pq.ParquetWriter(temporary, tables.schema(name), compression="zstd") as writer:
        for group in _groups(name, parts):
            writer.write_table(group)
    os.replace(temporary, path)


def _groups(name: str, parts: _Done) -> Iterator[pa.Table]:
    gathered: list[pa.Table] = []
    for step, path in parts:
        gathered.append(_with_system(tables.read(name, path), step))
        if sum(part.num_rows for part in gathered) >= _ROWS:
            yield pa.concat_tables(gathered)
            gathered = []
    if gathered:
        yield pa.concat_tables(gathered)


def _with_system(part: pa.Table, step: Step) -> pa.Table:
    """Fill in who was trained, which a training step does not know (its key has no names)."""
    if step.system is None or "model" not in part.column_names:
        return part
    for column in _SYSTEM:
        kind, i = part.schema.field(column).type, part.schema.get_field_index(column)
        value = pa.scalar(step.system[column], kind)
        part = part.set_column(i, column, pa.repeat(value, part.num_rows))
    return part


def _step_rows(
    plan: Plan, done: _Done, failed: dict[str, tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    artifacts = {step.key: artifact for step, artifact in done}
    for key, step in plan.steps.items():
        row = {"step": step.path, "kind": step.kind, "key": key,
               "predicted_seconds": plan.predicted.get(key)}  # fmt: skip
        manifest = read_manifest(artifacts[key]) if key in artifacts else None
        if manifest is not None:
            measures = manifest["measures"]
            yield row | {
                "state": "done", "seconds": manifest["seconds"], "attempts": manifest["attempts"],
                "peak_memory": measures.get("peak_memory"), "tokens": measures.get("tokens"),
                "started": manifest["started"], "host": manifest["machine"]["host"],
            }  # fmt: skip
        elif key in failed:
            yield row | {"state": failed[key][0]}
