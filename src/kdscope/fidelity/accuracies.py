"""The accuracies of a study's runs as one frame, and its methods as treatments in blocks."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from kdscope.fidelity.levels import Run
from kdscope.stats.bootstrap import Array, Design, divide

OWN = (None, "{}")  # settings of a study's own setting


class Treatment(NamedTuple):
    """A method at one setting."""

    method: str
    settings: str


def main_runs(runs: Sequence[Run]) -> list[Run]:
    """Trained students at the study's own setting, or at all where their method has no such cell."""
    with_default = {
        (run.system["student"], run.system["method"])
        for run in runs
        if run.system["settings"] in OWN
    }
    return [
        run
        for run in runs
        if run.system["student"] is not None
        and run.system["method"] != "base"
        and (
            run.system["settings"] in OWN
            or (run.system["student"], run.system["method"]) not in with_default
        )
    ]


def accuracies(runs: Sequence[Run], plan: Design) -> pd.DataFrame:
    """One row for each run and task on which it was graded.

    Columns: teacher, student, method, settings, seed, task, accuracy, n. SFT students belong to no
    teacher; they are repeated for each teacher of their student, so that every block has them.
    """
    groups, rows = len(plan.labels), []
    teachers: dict[str, list[str]] = {}
    for run in runs:
        own = teachers.setdefault(run.system["student"], [])
        if run.system["teacher"] is not None and run.system["teacher"] not in own:
            own.append(run.system["teacher"])
    for run in runs:
        right, graded = (
            np.bincount(plan.group, run.columns[name], groups) for name in ("right", "graded_run")
        )
        share = divide(right, graded)
        named = [run.system["teacher"]]
        if run.system["teacher"] is None:
            named = teachers[run.system["student"]] or named
        for teacher in named:
            rows += [
                {
                    "teacher": teacher or "",
                    "student": run.system["student"],
                    "method": run.system["method"],
                    "settings": run.system["settings"] or "{}",
                    "seed": run.system["seed"],
                    "task": task,
                    "accuracy": float(share[g]),
                    "n": int(graded[g]),
                }
                for g, task in enumerate(plan.labels)
                if graded[g]
            ]
    columns = ["teacher", "student", "method", "settings", "seed", "task", "accuracy", "n"]
    return pd.DataFrame(rows, columns=columns)


class Blocks(NamedTuple):
    """Complete blocks of accuracies.

    Attributes:
        treatments: T methods at a setting.
        table: [B, T] accuracies, means over seeds.
        runs: B x T arrays of the accuracies of the runs.
    """

    treatments: list[Treatment]
    table: Array
    runs: list[list[Array]]


def blocks(frame: pd.DataFrame) -> Blocks:
    """Treatments in the blocks (teacher, student, task) that have them all.

    A treatment that most blocks lack (a method run for one student only) is left out first, so that
    it does not cost the others their blocks.
    """
    keys = ["teacher", "student", "task"]
    grouped = {
        (key[:3], Treatment(*key[3:])): own["accuracy"].to_numpy(float)
        for key, own in frame.groupby([*keys, "method", "settings"], sort=False)
    }
    places = list(dict.fromkeys(place for place, _ in grouped))
    every = list(dict.fromkeys(treatment for _, treatment in grouped))
    kept = [t for t in every if 2 * sum((place, t) in grouped for place in places) > len(places)]
    complete = [place for place in places if kept and all((place, t) in grouped for t in kept)]
    runs = [[grouped[place, t] for t in kept] for place in complete]
    table = np.array([[own.mean() for own in row] for row in runs]).reshape(len(runs), len(kept))
    # Rounded, so that equal means are ties and no test divides by their rounding error.
    return Blocks(kept, np.round(table, 12), runs)
