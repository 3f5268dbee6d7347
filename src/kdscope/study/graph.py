"""The graph of steps that a study comes down to."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kdscope.study.identity import SHORT, canonical, digest, step_key
from kdscope.study.steps import KINDS

if TYPE_CHECKING:
    from kdscope.study.grid import Cell

_UNFIT = re.compile(r"[^A-Za-z0-9._=-]")


@dataclass(frozen=True, slots=True)
class Step:
    """One unit of work.

    Attributes:
        kind: see :data:`kdscope.study.steps.KINDS`.
        label: readable part of its folder's name; not part of the key.
        key: 64 hex digits.
        version: of the kind, part of the key.
        fields: everything that can change the output.
        inputs: keys of input steps by role.
        system: what a training step makes (the first cell that uses it); not part of the key.
    """

    kind: str
    label: str
    key: str
    version: int
    fields: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, ...]]
    system: Mapping[str, Any] | None = None

    @property
    def path(self) -> str:
        """Its folder under ``steps/``: ``<kind>/<readable>-<key12>``."""
        return f"{self.kind}/{self.label}-{self.key[:SHORT]}"

    def input_keys(self) -> list[str]:
        """Keys of all inputs, each once."""
        return list(dict.fromkeys(key for keys in self.inputs.values() for key in keys))


@dataclass(frozen=True)
class Plan:
    """Steps by key in an order in which each comes after its inputs, and the grid they serve.

    ``predicted`` has seconds by key, where the cost model was asked; ``trackers`` are told of every
    training and change nothing.
    """

    name: str
    steps: dict[str, Step]
    cells: "tuple[Cell, ...]"
    notes: tuple[str, ...] = ()
    locations: Mapping[str, str] = field(default_factory=dict)
    predicted: Mapping[str, float] = field(default_factory=dict)
    trackers: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """Changes whenever ``plan.json`` would."""
        steps = [[step.path, self.predicted.get(step.key)] for step in self.steps.values()]
        return digest([self.name, steps, dict(self.locations), list(self.notes), self.trackers])

    def document(self) -> dict[str, Any]:
        """The content of ``plan.json``."""
        return {
            "mark": self.mark,
            "name": self.name,
            "cells": len(self.cells),
            "locations": dict(self.locations),
            "notes": list(self.notes),
            "trackers": list(self.trackers),
            "steps": [
                {
                    "step": step.path, "kind": step.kind, "key": step.key, "version": step.version,
                    "fields": step.fields, "inputs": step.inputs, "system": step.system,
                    "predicted_seconds": self.predicted.get(step.key),
                }
                for step in self.steps.values()
            ],
        }  # fmt: skip


def plan_from_document(document: Mapping[str, Any]) -> Plan:
    """The plan that a ``plan.json`` describes (without its cells)."""
    steps = {}
    for entry in document["steps"]:
        label = entry["step"].partition("/")[2][: -SHORT - 1]
        inputs = {role: tuple(keys) for role, keys in entry["inputs"].items()}
        steps[entry["key"]] = Step(
            entry["kind"], label, entry["key"], entry["version"], entry["fields"], inputs,
            entry.get("system"),
        )  # fmt: skip
    predicted = {
        entry["key"]: entry["predicted_seconds"]
        for entry in document["steps"]
        if entry.get("predicted_seconds") is not None
    }
    return Plan(
        document["name"], steps, (), tuple(document["notes"]), document["locations"], predicted,
        tuple(document.get("trackers", ())),
    )  # fmt: skip


class Graph:
    """Steps under construction: a step that is added twice is one step."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}

    def add(
        self,
        kind: str,
        label: str,
        fields: dict[str, Any],
        inputs: Mapping[str, Sequence[str]],
        system: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a step unless it is there already; returns its key."""
        inputs = {role: tuple(keys) for role, keys in inputs.items() if keys}
        version = KINDS[kind].version
        key = step_key(kind, version, fields, inputs)
        if key not in self.steps:
            self.steps[key] = Step(kind, _readable(label), key, version, fields, inputs, system)
        return key


def system_name(
    *,
    method: str,
    teacher: str | None = None,
    student: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The six columns that say who answered; ``model`` depends on nothing else in the study."""
    settings = dict(settings or {})
    if student is None and method == "sft":
        parts = [str(teacher), "teacher"]
    else:
        parts = [str(student or teacher), method, *([teacher] if teacher and student else [])]
    parts += [f"{n}={json.dumps(v).strip(chr(34))}" for n, v in sorted(settings.items())]
    parts += [] if seed is None else [f"s{seed}"]
    return {
        "model": "/".join(parts), "teacher": teacher, "student": student, "method": method,
        "seed": seed, "settings": canonical(settings),
    }  # fmt: skip


def _readable(label: str) -> str:
    """A label fit for a folder's name on every system."""
    return _UNFIT.sub("-", label)[:100]
