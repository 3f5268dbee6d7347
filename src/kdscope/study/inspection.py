"""Looking into a run's folder: why a step ran, its log, what nobody needs."""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdscope.errors import StoreError
from kdscope.study.display import duration, size
from kdscope.study.events import read_events
from kdscope.study.graph import Plan, Step
from kdscope.study.identity import SHORT
from kdscope.study.source import nearest
from kdscope.study.steps import KINDS
from kdscope.study.store import Run, read_manifest
from kdscope.study.survey import missing, survey

_SHOWN = 12  # steps that fit a text and are listed
_DEPTH = 8  # how far a changed input is followed


def find_step(plan: Plan, text: str) -> Step:
    """The step that a user means: its path, the start of its key, or a part of its path.

    Raises:
        StoreError: no step, or several; they are listed.
    """
    text = text.removeprefix("steps/").rstrip("/")
    steps = list(plan.steps.values())
    for match in (
        [step for step in steps if step.path == text],
        [step for step in steps if len(text) >= 4 and step.key.startswith(text)],
        [step for step in steps if text in step.path],
    ):
        if len(match) == 1:
            return match[0]
        if match:
            shown = [step.path for step in match[:_SHOWN]]
            more = len(match) - len(shown)
            listed = "".join(
                f"\n  {path}" for path in shown + ([f"and {more} more"] if more else [])
            )
            raise StoreError(f"{text!r} fits {len(match)} steps; name one of them:{listed}")
    raise StoreError(
        f"there is no step {text!r}{nearest(text, [step.path for step in steps])}. "
        "`kdscope plan STUDY --steps` lists them"
    )


def why(folder: Path, step_text: str) -> list[str]:
    """Which field made a step run (again): the step against the nearest one of an earlier plan."""
    run = Run(folder)
    plan = run.plan()
    step = find_step(plan, step_text)
    artifacts = run.artifacts({entry.kind for entry in plan.steps.values()})
    lines = [step.path, *_history(run, step)]
    before = _nearest(plan, step, artifacts)
    if before is None:
        lines.append("no earlier version of it is in this folder")
        return lines
    lines.append(f"against {before['step']}:")
    lines += [f"  {line}" for line in _differences(plan, step, before, artifacts, _DEPTH)]
    return lines


def log_text(folder: Path, step_text: str) -> str:
    """The log of a step: of the attempt in work, else of the complete step.

    Raises:
        StoreError: it has not run.
    """
    run = Run(folder)
    step = find_step(run.plan(), step_text)
    artifact = run.artifacts([step.kind]).get(step.key[:SHORT])
    places = [run.work(step), *([artifact] if artifact else [])]
    for place in places:
        if (place / "log.txt").is_file():
            return (place / "log.txt").read_text(encoding="utf-8", errors="replace")
    raise StoreError(f"{step.path} has not run yet: it has no log")


def garbage(folder: Path, *, caches: bool = False) -> list[tuple[Path, int]]:
    """What the study of a folder does not need: other plans' steps, leftovers, damaged ones.

    Args:
        folder: of a run.
        caches: also count artifacts that are only inputs and whose users are complete.
    """
    run = Run(folder)
    plan = run.plan()
    wanted = {key[:SHORT] for key in plan.steps}
    if caches:
        done, _ = survey(run, plan)
        wanted = {key[:SHORT] for key in plan.steps} - _spent(plan, done)
    found = []
    for kind in sorted(path for path in run.steps.iterdir() if path.is_dir()):
        if kind.name == ".damaged":
            found += sorted(kind.iterdir())
            continue
        found += [
            path
            for path in sorted(kind.iterdir())
            if path.name.removesuffix(".work")[-SHORT:] not in wanted
        ]
    return [(path, _bytes(path)) for path in found]


def collect(folder: Path, *, caches: bool = False) -> list[tuple[Path, int]]:
    """Delete what :func:`garbage` lists; returns what was deleted.

    Raises:
        StoreError: a run is working in the folder.
    """
    with Run(folder).locked():
        found = garbage(folder, caches=caches)
        for path, _ in found:
            shutil.rmtree(path)
    return found


def garbage_lines(found: list[tuple[Path, int]], *, deleted: bool) -> list[str]:
    """A list of garbage for people."""
    total = size(sum(amount for _, amount in found))
    lines = [f"{size(amount):>8}  {path}" for path, amount in found]
    if not found:
        return ["nothing to remove: the study needs all of it"]
    if deleted:
        return [*lines, f"removed {len(found)} folders, {total}"]
    return [*lines, f"would remove {len(found)} folders, {total}; add --yes to do it"]


def _spent(plan: Plan, done: set[str]) -> set[str]:
    """Transient artifacts that no step to run needs."""
    todo = missing(plan, done)
    needed = {key for user in todo for key in plan.steps[user].input_keys()}
    from_plan = {key for key in plan.steps if key not in needed}
    return {key[:SHORT] for key in from_plan & done if KINDS[plan.steps[key].kind].transient}


def _history(run: Run, step: Step) -> Iterator[str]:
    for event in read_events(run.events):
        if event.get("key") != step.key:
            continue
        name, when = event["event"], event["time"]
        if name == "damaged":
            yield f"{when} found damaged, so made again: {event['reason']}"
        elif name == "start":
            smaller = f" with micro-batch {event['micro_batch']}" if event["micro_batch"] else ""
            yield f"{when} attempt {event['attempt']} started{smaller}"
        elif name in {"failed", "lost"}:
            yield f"{when} {event.get('cause', name)}: {event.get('message', '')}"
        elif name == "done":
            yield f"{when} done in {duration(event['seconds'])}"


def _nearest(plan: Plan, step: Step, artifacts: Mapping[str, Path]) -> dict[str, Any] | None:
    """The manifest of the same kind, not of this plan, that has most in common with a step."""
    best, most = None, -1.0
    mine = dict(_flat(step.fields))
    planned = {key[:SHORT] for key in plan.steps}
    for short, artifact in artifacts.items():
        if artifact.parent.name != step.kind or short in planned:
            continue
        manifest = read_manifest(artifact)
        if manifest is None:
            continue
        common = sum(mine.get(name, ...) == value for name, value in _flat(manifest["fields"]))
        common += 0.5 * (artifact.name[: -SHORT - 1] == step.label)
        if common > most:
            best, most = manifest, common
    return best


def _differences(
    plan: Plan, step: Step, before: Mapping[str, Any], artifacts: Mapping[str, Path], depth: int
) -> list[str]:
    """What differs, a changed input followed to the field that changed it."""
    lines = []
    if before["version"] != step.version:
        lines.append(f"version of {step.kind}: {before['version']} -> {step.version}")
    old, new = dict(_flat(before["fields"])), dict(_flat(step.fields))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            lines.append(f"{name}: {old.get(name)!r} -> {new.get(name)!r}")
    for role, keys in step.inputs.items():
        past = before["inputs"].get(role, [])
        if list(keys) == past:
            continue
        if len(keys) != len(past):
            lines.append(f"input {role}: {len(past)} -> {len(keys)} steps")
        for was, now in zip(past, keys, strict=False):
            if was != now and depth and now in plan.steps:
                lines += _input_lines(plan, role, plan.steps[now], artifacts.get(was[:SHORT]),
                                      artifacts, depth)  # fmt: skip
                break  # one changed input of a role shows the cause
    return lines or ["nothing: the same fields, versions and inputs"]


def _input_lines(
    plan: Plan, role: str, step: Step, was: Path | None, artifacts: Mapping[str, Path], depth: int
) -> list[str]:
    head = f"input {role} is another step, {step.path}:"
    manifest = read_manifest(was) if was else None
    if manifest is None:
        return [head.rstrip(":")]
    return [
        head,
        *(f"  {line}" for line in _differences(plan, step, manifest, artifacts, depth - 1)),
    ]


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flat(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for i, entry in enumerate(value):
            yield from _flat(entry, f"{name}[{i}]")
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def _bytes(path: Path) -> int:
    return sum(
        os.stat(os.path.join(root, name)).st_size
        for root, _, names in os.walk(path)
        for name in names
    )
