"""Keep a run's small tables as a part of a study."""

import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from kdscope import tables
from kdscope.data.sources import items_of
from kdscope.errors import StoreError, UserError
from kdscope.report.run_folder import resolved_study, tables_of
from kdscope.study.datasets import task_location
from kdscope.study.graph import Plan
from kdscope.study.identity import SHORT
from kdscope.study.published.part import (
    LIMIT,
    NAMES,
    RECORD,
    SOLUTIONS,
    checksum,
    differing,
    write_solutions,
)
from kdscope.study.resolve import load_study
from kdscope.study.store import Run, read_manifest

_NEEDED = (
    "predict",
    "fidelity",
    "distributions",
    "stats",
)  # steps without which a part is incomplete


def keep(
    run: Path,
    name: str,
    study: str,
    overrides: Sequence[str],
    parts: Path,
    *,
    replace: bool = False,
) -> Path:
    """Copy what a page needs of a finished run to ``parts/<study>/<name>`` and return that folder.

    Args:
        run: folder of the run.
        name: of the part; letters, digits, ``.``, ``-`` and ``_``.
        study: what followed ``kdscope run``: a preset or a file.
        overrides: the ``key=value`` after it.
        parts: ``docs/studies/parts``.
        replace: take the place of a part of this name.

    Raises:
        UserError: the run is another study than the command's, the part is too large or there already.
        StoreError: the run is not finished.
    """
    if (
        not name
        or name.startswith(".")
        or not name.replace("-", "").replace("_", "").replace(".", "").isalnum()
    ):
        raise UserError(f"{name!r} is no name for a part: take letters, digits, '.', '-' and '_'")
    resolved = resolved_study(run)
    _check_command(run, resolved, study, overrides)
    folder, plan = parts / str(resolved["name"]) / name, Run(run).plan()
    if folder.exists() and not replace:
        raise UserError(f"{folder} is there already and was left alone; --replace takes its place")
    _check_finished(run, plan)
    work = folder.with_name(f".{name}.{os.getpid()}")
    work.mkdir(parents=True)
    try:
        _copy_tables(tables_of(run), work)
        write_solutions(work / SOLUTIONS, _solutions(plan))
        command = shlex.join(["kdscope", "run", study, *overrides])
        _write_record(work, run, plan, {"command": command, "study": resolved})
        _check_size(work)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _check_command(
    run: Path, resolved: Mapping[str, Any], study: str, overrides: Sequence[str]
) -> None:
    told = json.loads(json.dumps(load_study(study, overrides).document()))
    apart = differing(told, resolved)
    if apart:
        raise UserError(
            f"{run} is not what this command runs, so nothing was kept: {'; '.join(apart[:5])} "
            "(the command's against the run's). Give the study and the key=value of that run."
        )


def _check_finished(run: Path, plan: Plan) -> None:
    folder = tables_of(run)
    steps = tables.read("steps", folder / "steps.parquet").to_pylist()
    done = {row["key"] for row in steps if row["state"] == "done"}
    lacking = [s.path for s in plan.steps.values() if s.kind in _NEEDED and s.key not in done]
    if lacking:
        raise StoreError(
            f"{run} is not finished, so it is no part yet: {len(lacking)} steps are missing, {lacking[0]} "
            "among them. Run its command again, or with fewer methods or seeds; then keep it."
        )


def _copy_tables(source: Path, out: Path) -> None:
    for name in NAMES:
        path = source / f"{name}.parquet"
        if path.is_file():
            table = tables.read(name, path)
            if name == "steps":
                table = _without(table, "host")
            tables.write(name, table, out / path.name)


def _without(table: pa.Table, column: str) -> pa.Table:
    """The same table with one column null."""
    i = table.schema.get_field_index(column)
    return table.set_column(i, column, pa.nulls(table.num_rows, table.schema.field(i).type))


def _solutions(plan: Plan) -> dict[tuple[str, str], str]:
    """Right solutions of the questions that were asked, where their data have them."""
    step = next(step for step in plan.steps.values() if step.kind == "stats")
    items = [
        item
        for task in step.fields["tasks"]
        for item in items_of(
            task, plan.locations.get(task_location(task["name"])), limit=step.fields["limit"]
        )
    ]
    return {(item.task, item.item): item.reference for item in items if item.reference}


def _write_record(work: Path, run: Path, plan: Plan, head: dict[str, Any]) -> None:
    found = Run(run).artifacts({step.kind for step in plan.steps.values()})
    manifests = [
        manifest
        for key in plan.steps
        if (path := found.get(key[:SHORT])) and (manifest := read_manifest(path))
    ]
    record = {
        **head,
        **_history(manifests),
        "kinds": {manifest["kind"]: manifest["version"] for manifest in manifests},
        "files": {path.name: checksum(path) for path in sorted(work.iterdir())},
    }
    text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=100)
    (work / RECORD).write_text(text, encoding="utf-8")


def _history(manifests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """When, how long, on what and with which code: machines without their names."""
    starts = [datetime.fromisoformat(m["started"]) for m in manifests]
    ends = [t + timedelta(seconds=m["seconds"]) for t, m in zip(starts, manifests, strict=True)]
    seconds: Counter[str] = Counter()
    for manifest in manifests:
        seconds[manifest["kind"]] += round(manifest["seconds"], 1)
    return {
        "started": _minute(min(starts)),
        "ended": _minute(max(ends)),
        "seconds": {kind: round(value, 1) for kind, value in seconds.items()},
        "machines": _each(_machine(m) for m in manifests),
        "versions": _each(m["versions"] for m in manifests),
        "code": _each(m["code"] for m in manifests),
    }


def _minute(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="minutes")


def _machine(manifest: Mapping[str, Any]) -> dict[str, Any]:
    machine = manifest["machine"]
    return {
        "system": str(machine["system"]).split("-")[0],
        **{name: machine[name] for name in ("processor", "cores", "gpu")},
        "threads": manifest["threads"],
    }


def _each(found: Any) -> list[Any]:
    """Records as given, each once."""
    return [json.loads(text) for text in dict.fromkeys(json.dumps(entry) for entry in found)]


def _check_size(folder: Path) -> None:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    total = sum(sizes.values())
    if total > LIMIT:
        largest = max(sizes, key=lambda name: sizes[name])
        raise UserError(
            f"the part has {total / 2**20:.1f} MiB, {largest} most of it, and {LIMIT / 2**20:.0f} are what a "
            "repository should carry: keep fewer questions, samples or distributions to a part"
        )
