"""From scores to the grid of the analyses: one row per (pair of models, method, task)."""

import math
import re
from typing import NamedTuple

import pandas as pd

from kdscope.errors import NotEstimableError
from kdscope.paper.printed import tasks
from kdscope.paper.reading import BASE, SFT, UNTUNED_TEACHER, Scores
from kdscope.paper.records import AVERAGE

PAIR = ["teacher", "student"]
NOT_METHODS = {SFT, BASE, UNTUNED_TEACHER}


class Grid(NamedTuple):
    """What every test reads.

    Attributes:
        cells: ``teacher, student, method, task, score, sft, gain, teacher_score, size`` and, where
            known, ``temperature, n, agreement, agreement_sft, fidelity, fidelity_sft``; percent,
            NaN where unknown.
        methods: names of the methods, sorted.
        tasks: names of the tasks, ``average`` last.
        benchmark: ``math``, ``commonsense`` or None for tasks that are neither.
    """

    cells: pd.DataFrame
    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    benchmark: str | None

    def of(self, task: str, method: str | None = None) -> pd.DataFrame:
        """The cells of one task, of all methods or of one, in a fixed order."""
        rows = self.cells[self.cells["task"] == task]
        return rows if method is None else rows[rows["method"] == method]


_MEANING = {
    "gain": "no SFT rows, so that a gain over SFT is not defined",
    "teacher_score": "no score of any teacher: add its SFT rows, or the column teacher_score",
    "size": "no student size: add the column student_size (billions of parameters)",
    "agreement": "no column agreement (percent of answers equal to the teacher's)",
    "agreement_sft": "no agreement of the SFT students, so that its gain is not defined",
    "fidelity": "no column fidelity (similarity to the teacher's text, percent)",
    "fidelity_sft": "no fidelity of the SFT students, so that its gain is not defined",
}


def require(rows: pd.DataFrame, *names: str) -> None:
    """Raise NotEstimableError where a table says nothing about one of these columns."""
    for name in names:
        if name not in rows or rows[name].isna().all():
            raise NotEstimableError(f"the table has {_MEANING[name]}")


def billions(name: str) -> float:
    """Billions of parameters that a model's name states (``Qwen2.5-0.5B``, ``135M``), or NaN."""
    found = re.findall(r"(?<![\d.])(\d+(?:\.\d+)?)\s*([bBmM])(?![a-zA-Z0-9])", name)
    if not found:
        return math.nan
    number, unit = found[-1]
    return float(number) if unit in "bB" else float(number) / 1000


def benchmark_of(names: set[str]) -> str | None:
    """The paper's benchmark that all these tasks belong to, if one."""
    kinds = {tasks()[name].benchmark if name in tasks() else None for name in names - {AVERAGE}}
    return kinds.pop() if len(kinds) == 1 else None


def select_best(scores: Scores) -> pd.DataFrame:
    """Per task the best score over all temperatures, on the test set, as the paper's notebooks do.

    ``average`` is maximised like a task: it is the best average, not the mean of the best.
    """
    frame = scores.frame
    keys = [*PAIR, "method", "seed", "task"]
    return frame.loc[frame.groupby(keys, sort=False)["score"].idxmax()]


def select_temperature(scores: Scores, temperature: float = 1.0) -> pd.DataFrame:
    """The runs at one temperature, and the runs that have none (SFT, untuned)."""
    frame = scores.frame
    return frame[(frame["temperature"] == temperature) | frame["method"].isin(NOT_METHODS)]


def build_grid(frame: pd.DataFrame) -> Grid:
    """Join each method's score with its baseline, its teacher's score and its student's size.

    Seeds are averaged first: a seed is a repetition, not an independent pair.
    """
    optional = [
        n for n in ("n", "agreement", "fidelity", "student_size", "teacher_score") if n in frame
    ]
    numbers = dict.fromkeys(("score", "temperature", *optional), "mean")
    means = frame.groupby([*PAIR, "method", "task"], sort=True).agg(numbers).reset_index()
    sft = means[means["method"] == SFT]
    cells = means[~means["method"].isin(NOT_METHODS)].copy()
    cells["sft"] = _baseline(cells, sft, "score")
    cells["gain"] = cells["score"] - cells["sft"]
    for name in ("agreement", "fidelity"):
        if name in means:
            cells[f"{name}_sft"] = _baseline(cells, sft, name)
    cells["size"] = cells["student"].map(billions).astype(float)
    if "student_size" in cells:
        cells["size"] = cells["student_size"].fillna(cells["size"])
    known = sft.groupby(["student", "task"])["score"].mean()
    teacher = pd.Series(
        [
            known.get((t, task), math.nan)
            for t, task in zip(cells["teacher"], cells["task"], strict=True)
        ],
        index=cells.index,
        dtype=float,
    )
    cells["teacher_score"] = (
        cells["teacher_score"].fillna(teacher) if "teacher_score" in cells else teacher
    )
    names = sorted(set(cells["task"]) - {AVERAGE})
    order = [*names, AVERAGE] if AVERAGE in set(cells["task"]) else names
    methods = tuple(sorted(set(cells["method"])))
    return Grid(cells.reset_index(drop=True), methods, tuple(order), benchmark_of(set(names)))


def _baseline(cells: pd.DataFrame, sft: pd.DataFrame, name: str) -> pd.Series:
    """The SFT value of each cell: of its own pair where the table has one, else of its student."""
    own = sft.set_index([*PAIR, "task"])[name]
    any_teacher = sft[sft["teacher"] == ""].set_index(["student", "task"])[name]
    values = [
        own.get((teacher, student, task), any_teacher.get((student, task), math.nan))
        for teacher, student, task in cells[[*PAIR, "task"]].itertuples(index=False, name=None)
    ]
    return pd.Series(values, index=cells.index, dtype=float)
