"""A study before it runs: its plan with predicted cost, what is complete, what is not at hand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kdscope.errors import installing
from kdscope.models.sources import in_hub_cache
from kdscope.study import catalogue, measured
from kdscope.study.cost import Cost, costs, makespan, this_machine
from kdscope.study.display import counted, duration, size
from kdscope.study.gpu_cost import A100, H100, Hours, gpu_hours, in_words
from kdscope.study.graph import Plan, Step
from kdscope.study.local import machine_slots
from kdscope.study.plan import build_plan
from kdscope.study.resolve import Resolved, load_study
from kdscope.study.steps import KINDS
from kdscope.study.store import Run
from kdscope.study.survey import missing, survey
from kdscope.study.tracking import absent


@dataclass(frozen=True)
class Overview:
    """A checked study with its plan and what it will cost on this machine.

    Attributes:
        resolved: the study.
        plan: its steps, predicted seconds included.
        costs: seconds, memory and disk by step key.
        todo: keys of steps that must run in the folder that was asked about.
        folder: that folder.
    """

    resolved: Resolved
    plan: Plan
    costs: Mapping[str, Cost]
    todo: frozenset[str]
    folder: Path

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.plan.name,
            "folder": str(self.folder),
            "cells": len(self.plan.cells),
            "notes": list(self.plan.notes),
            "missing": {
                "extras": self.missing_extras(),
                "data": [{"file": path, "bytes": amount} for path, amount in self.missing_data()],
                "weights": [{"model": m, "bytes": amount} for m, amount in self.missing_weights()],
            },
            "total": self.totals(),
            "measured": [kind._asdict() for kind in measured.by_kind(self.folder, self.plan)],
            "gpu_hours": [hours._asdict() for hours in self.gpu_hours()],
            "steps": [self._row(step) for step in self.plan.steps.values()],
        }

    def totals(self) -> dict[str, Any]:
        """Steps, cached ones, and the sums over what must run (seconds of one slot)."""
        todo = [self.costs[key] for key in self.plan.steps if key in self.todo]
        return {
            "steps": len(self.plan.steps),
            "cached": len(self.plan.steps) - len(todo),
            "seconds": sum(cost.seconds for cost in todo),
            "slots": len(slots := machine_slots()),
            "wall_seconds": makespan(self.plan, self.plan.predicted, self.todo, len(slots)),
            "memory": max((cost.memory for cost in todo), default=0.0),
            "disk": sum(cost.disk for cost in todo),
        }

    def gpu_hours(self) -> list[Hours]:
        """The whole plan on paper on one GPU of two kinds; none where a model's shape is unknown."""
        return [h for h in (gpu_hours(self.plan, device) for device in (H100, A100)) if h]

    def missing_extras(self) -> list[str]:
        """Extras that the steps to run and the study's trackers need and that are not installed."""
        extras = {KINDS[self.plan.steps[key].kind].extra for key in self.todo}
        needed = [] if find_spec("torch") is not None else sorted(e for e in extras if e)
        if find_spec("bitsandbytes") is None and any(map(self._quantises, self.todo)):
            needed.append("quant")
        if find_spec("vllm") is None and self.needs_vllm():
            needed.append("vllm")
        return [*needed, *absent(self.plan.trackers)]

    def needs_vllm(self) -> bool:
        """Whether a step to run decodes in vLLM."""
        steps = [self.plan.steps[key].fields for key in self.todo]
        return any(
            "vllm" in (f.get("engine"), (f.get("on_policy") or {}).get("engine")) for f in steps
        )

    def _quantises(self, key: str) -> bool:
        fields = self.plan.steps[key].fields
        models = (fields.get(role) for role in ("model", "teacher"))
        lora = (fields.get("train") or {}).get("lora") or {}
        rounded = any(isinstance(model, Mapping) and "quantize" in model for model in models)
        return rounded or lora.get("base") == "nf4"

    def missing_data(self) -> list[tuple[str, int | None]]:
        """Files of the catalogue that the study needs and that are not here, with their bytes."""
        resolved = self.resolved
        return catalogue.absent(
            ref.name for ref in (*resolved.tasks, resolved.data, resolved.teacher_data)
        )

    def missing_weights(self) -> list[tuple[str, int]]:
        """Hub models that are needed and not in the cache of the hub, with their bytes in 16 bits."""
        models = {**self.resolved.teachers, **self.resolved.students}.values() if self.todo else ()
        hub = {
            (ref.fields["id"], ref.fields["revision"]): ref for ref in models if "id" in ref.fields
        }
        return [
            (at[0], int(2 * ref.parameters)) for at, ref in hub.items() if not in_hub_cache(*at)
        ]

    def lines(self, *, every: bool = False) -> list[str]:
        """For people: one line per kind, or per step with ``every``."""
        rows: list[tuple[str, ...]] = [("steps", "cached", "predicted", "memory", "disk", "")]
        if every:
            rows += [self._step_line(step) for step in self.plan.steps.values()]
        for kind in dict.fromkeys(step.kind for step in self.plan.steps.values()):
            rows.append(self._kind_line(kind))
        total = self.totals()
        wall = f"in all: {duration(total['wall_seconds'])} on {total['slots']} slots"
        rows.append(
            (str(total["steps"]), str(total["cached"]), duration(total["seconds"]),
             size(total["memory"]), size(total["disk"]), wall)
        )  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            f"study {self.plan.name}: {counted(len(self.plan.cells), 'cell')}, folder {self.folder}"
        ]
        for row in rows:
            lines.append("  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=False))
                         + f"  {row[5]}")  # fmt: skip
        lines += [f"measured: {line}" for line in measured.lines(self.folder, self.plan)]
        lines += self._cache_line()
        lines += [in_words(hours) for hours in self.gpu_hours()]
        lines += [f"note: {note}" for note in self.plan.notes]
        lines += [
            f"missing: {path}, {'of unknown size' if amount is None else size(amount)}; "
            "`kdscope data fetch NAME` or a folder that KDSCOPE_DATA names"
            for path, amount in self.missing_data()
        ]
        lines += [
            f"missing: {name}, about {size(amount)}; downloaded when a step first needs it"
            for name, amount in self.missing_weights()
        ]
        lines += [f"missing: {installing(name)}" for name in self.missing_extras()]
        return lines

    def _cache_line(self) -> list[str]:
        """What the teacher caches that are still to be written take on disk."""
        kinds = ((key, self.plan.steps[key].kind) for key in self.todo)
        disk = [self.costs[key].disk for key, kind in kinds if kind == "teacher_cache"]
        if not disk:
            return []
        return [
            f"teacher cache: about {size(sum(disk))} on disk in {len(disk)} step"
            f"{'s' if len(disk) > 1 else ''}, an estimate by mean lengths; the exact size is logged, and "
            "the free space looked at, before anything is written"
        ]

    def _kind_line(self, kind: str) -> tuple[str, ...]:
        keys = [key for key, step in self.plan.steps.items() if step.kind == kind]
        todo = [self.costs[key] for key in keys if key in self.todo]
        memory = max((cost.memory for cost in todo), default=0.0)
        return (
            str(len(keys)), str(len(keys) - len(todo)), duration(sum(c.seconds for c in todo)),
            size(memory), size(sum(c.disk for c in todo)), kind,
        )  # fmt: skip

    def _step_line(self, step: Step) -> tuple[str, ...]:
        cost, cached = self.costs[step.key], "" if step.key in self.todo else "cached"
        return ("", cached, duration(cost.seconds), size(cost.memory), size(cost.disk), step.path)

    def _row(self, step: Step) -> dict[str, Any]:
        return {
            "step": step.path, "kind": step.kind, "key": step.key,
            "cached": step.key not in self.todo, **self.costs[step.key]._asdict(),
        }  # fmt: skip


def overview(
    study: str,
    overrides: Iterable[str] = (),
    *,
    out: Path | None = None,
    limit: int | None = None,
    many: bool = False,
    look: bool = True,
) -> Overview:
    """Check a study and plan it.

    Args:
        study: a YAML file or a preset's name.
        overrides: dotted ``key=value``.
        out: the run's folder; ``runs/<name>`` if not given.
        limit: items per task, a short form of ``evaluate.limit=N``.
        many: allow more than 20,000 cells.
        look: see what of it is complete in the folder; otherwise everything counts as to do.

    Raises:
        ConfigError: lists every mistake.
    """
    extra = () if limit is None else (f"evaluate.limit={limit}",)
    resolved = load_study(study, (*overrides, *extra))
    plan = build_plan(resolved, many=many)
    found = costs(plan, this_machine(), parameters(resolved))
    plan = replace(plan, predicted={key: round(cost.seconds, 2) for key, cost in found.items()})
    folder = out or Path("runs") / resolved.study.name
    done = survey(Run(folder), plan)[0] if look and folder.is_dir() else set()
    return Overview(resolved, plan, found, frozenset(missing(plan, done)), folder)


def parameters(resolved: Resolved) -> dict[str, float]:
    """Number of weights by model name, for the cost model."""
    refs = [*resolved.teachers.values(), *resolved.students.values()]
    return {name: ref.parameters for ref in refs for name in (ref.name, ref.whole["name"])}
