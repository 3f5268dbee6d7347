"""Predicted against measured time of what has run in a folder."""

from pathlib import Path
from typing import Any, NamedTuple

from kdscope.study.display import duration
from kdscope.study.events import read_events
from kdscope.study.graph import Plan
from kdscope.study.identity import SHORT
from kdscope.study.store import Run, read_manifest


class Measured(NamedTuple):
    """Steps of one kind that ran with a prediction: how many, and seconds of a slot."""

    kind: str
    steps: int
    predicted: float
    seconds: float


class Ran(NamedTuple):
    """One command that ran steps: wall seconds as predicted when it began, as taken, and the load then."""

    steps: int
    predicted: float
    seconds: float
    load: float


def by_kind(folder: Path, plan: Plan) -> list[Measured]:
    """Sums over the complete steps of a plan, each with the prediction that it was started with."""
    run, sums = Run(folder), dict[str, list[float]]()
    artifacts = run.artifacts({step.kind for step in plan.steps.values()})
    for key, step in plan.steps.items():
        manifest = read_manifest(artifacts[key[:SHORT]]) if key[:SHORT] in artifacts else None
        if manifest is not None and manifest.get("predicted") is not None:
            found = sums.setdefault(step.kind, [0, 0.0, 0.0])
            found[0] += 1
            found[1] += manifest["predicted"]
            found[2] += manifest["seconds"]
    return [Measured(kind, int(found[0]), found[1], found[2]) for kind, found in sums.items()]


def last_run(folder: Path) -> Ran | None:
    """The last command that ran all that it had to; None if there was none with a prediction."""
    begun: dict[str, Any] = {}
    found = None
    for event in read_events(Run(folder).events):
        if event["event"] == "begin":
            begun = event
        elif event["event"] == "end" and begun.get("predicted") is not None:
            if event["ran"] and event["ran"] == begun["todo"]:
                found = Ran(event["ran"], begun["predicted"], event["seconds"], begun["load"])
            begun = {}
    return found


def lines(folder: Path, plan: Plan) -> list[str]:
    """Both for people; nothing where nothing has run."""
    found = [
        f"{kind}: {steps} steps took {duration(seconds)}, predicted {duration(predicted)}"
        f"{_ratio(predicted, seconds)}"
        for kind, steps, predicted, seconds in by_kind(folder, plan)
    ]
    ran = last_run(folder)
    if ran is not None:
        found.append(
            f"the last run: {ran.steps} steps took {duration(ran.seconds)} by the clock, predicted "
            f"{duration(ran.predicted)}{_ratio(ran.predicted, ran.seconds)}, "
            f"load of the machine when it began: {ran.load:.1f}"
        )
    return found


def _ratio(predicted: float, seconds: float) -> str:
    return f" ({seconds / predicted:.2f} times as long)" if predicted > 0.0 else ""
