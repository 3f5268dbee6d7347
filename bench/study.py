"""The study engine itself: a large plan, steps that do nothing, and the same command on a finished run.

    python bench/study.py [--steps 1000] [--workers 2] [--finished 30000]

Prints seconds and peak memory of planning 10,000 cells, wall milliseconds of the driver per step that does
nothing, and seconds until a finished run has been found complete.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import yaml

from kdscope.study.display import watch
from kdscope.study.events import now
from kdscope.study.graph import Graph, Plan, Step
from kdscope.study.launch import Options, run_plan
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study
from kdscope.study.steps import KINDS, Kind
from kdscope.study.store import MANIFEST, Run, file_records

GRID = {
    "name": "large",
    "seeds": [0, 1, 2, 3, 4],
    "teachers": ["tiny-teacher"],
    "students": ["tiny-student", "tiny-student-small"],
    "train": {"data": "tiny-train"},
    "methods": {"fkl": {"temperature": [0.5 + i / 100 for i in range(1000)]}},
    "evaluate": {"tasks": ["tiny-math"]},
}


def run(fields, inputs, out, context):
    """A step that does nothing; workers import it by this module's name."""
    (out / "number.txt").write_text(str(fields["number"]))
    return {"tokens": 1}


def planning(place: Path) -> None:
    """Seconds and peak memory of a plan of 10,000 cells."""
    path = place / "large.yaml"
    path.write_text(yaml.safe_dump(GRID))
    began = time.perf_counter()
    plan = build_plan(load_study(str(path)))
    spent = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"plan: {len(plan.cells):,} cells, {len(plan.steps):,} steps: {spent:.2f} s, {memory:.0f} MB"
    )


def driving(place: Path, steps: int, workers: int) -> None:
    """Wall time per step that does nothing, workers started and all."""
    began = time.perf_counter()
    outcome = _go(Run(place / "driven"), _plan(steps), workers)
    spent = time.perf_counter() - began
    print(
        f"driver: {outcome.ran:,} steps ran in {spent:.1f} s, {1e3 * spent / steps:.1f} ms a step"
    )


def resuming(place: Path, steps: int) -> None:
    """Seconds of the same call on a finished run, whose artifacts are made here without workers."""
    run, plan = Run(place / "finished"), _plan(steps)
    run.claim(plan.name)
    for step in plan.steps.values():
        _finished(run, step)
    _go(run, plan, 1)  # the first call also builds the tables
    began = time.perf_counter()
    outcome = _go(run, plan, 1)
    spent = time.perf_counter() - began
    print(f"resume: {outcome.reused:,} steps reused, {outcome.ran} ran, {spent:.2f} s")


def _plan(steps: int) -> Plan:
    graph = Graph()
    first = graph.add("nothing", "first", {"number": 0}, {})
    for number in range(1, steps):
        graph.add("nothing", "step", {"number": number}, {"in": [first]})
    return Plan("nothing", graph.steps, ())


def _finished(run: Run, step: Step) -> None:
    out = run.steps / step.path / "out"
    out.mkdir(parents=True)
    (out / "number.txt").write_text(str(step.fields["number"]))
    manifest = {
        "step": step.path, "kind": step.kind, "key": step.key, "measures": {}, "seconds": 0.0,
        "attempts": 1, "started": now(), "machine": {"host": "bench"},
        "files": file_records(out.parent),
    }  # fmt: skip
    (out.parent / MANIFEST).write_text(json.dumps(manifest))


def _go(run: Run, plan: Plan, workers: int):
    run.claim("nothing")
    with run.locked() as lock:
        run.save_study("", {"name": "nothing"}, plan)
        return run_plan(run, plan, watch("none"), Options(workers=workers), lock)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=30_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, here)
    with tempfile.TemporaryDirectory() as place:
        planning(Path(place))
        KINDS["nothing"] = Kind(1, "study:run")
        driving(Path(place), arguments.steps, arguments.workers)
        resuming(Path(place), arguments.finished)


if __name__ == "__main__":
    main()
