"""Tables 2 and 3 again: do the teacher's score and the student's size matter?

Size belongs to a student and a teacher's score to a pair, so labels are permuted over students, and
over the teachers of one student, never over runs. A gain is a difference from the baseline, so that
it falls with the baseline by construction: the baseline is held, headroom is divided out, and
Oldham's relation (gain with the mean of before and after) is shown beside the gain.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from kdscope.errors import NotEstimableError
from kdscope.paper.gains import Result, attempt
from kdscope.paper.grid import PAIR, Grid, require
from kdscope.stats.correlation import partial_rho, slope
from kdscope.stats.permutation import label_permutation, rank_permutation
from kdscope.stats.records import Estimate

TEACHER = "teacher: slope within students"
TEACHER_PARTIAL = "teacher: Spearman given student size"
SIZE = "size: Spearman over students"
SIZE_PARTIAL = "size: Spearman given SFT score"
HEADROOM = "size: Spearman with share of headroom gained"
OLDHAM = "size: Spearman of gain with mean of SFT and KD score (Oldham)"
DOUBLING = "size: points per doubling"


def teacher(grid: Grid) -> Iterator[Result]:
    """Does a better teacher make a better student, the student being the same?"""
    for task in grid.tasks:
        rows = grid.of(task)
        yield attempt(2, grid, TEACHER, task, _teacher_slope, rows)
        yield attempt(2, grid, TEACHER_PARTIAL, task, _teacher_partial, rows)


def size(grid: Grid) -> Iterator[Result]:
    """Do smaller students gain more, beyond having more room and a lower start?"""
    for task in grid.tasks:
        rows = grid.of(task)
        for name, make in (
            (SIZE, _size_of_students),
            (DOUBLING, _doubling),
            (SIZE_PARTIAL, _size_given_baseline),
            (HEADROOM, _headroom),
            (OLDHAM, _oldham),
        ):
            yield attempt(3, grid, name, task, make, rows)


def _pairs(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per pair: the mean over methods; only students with two teachers or more."""
    require(rows, "gain", "teacher_score")
    pairs = rows.groupby(PAIR, sort=True)[["gain", "teacher_score"]].mean().dropna().reset_index()
    pairs = pairs[pairs.groupby("student")["teacher"].transform("size") >= 2]
    if pairs.empty:
        raise NotEstimableError(
            "no student has two teachers with known scores, so the teacher cannot be told from the "
            "student"
        )
    return pairs


def _teacher_slope(rows: pd.DataFrame) -> Estimate:
    pairs = _pairs(rows)
    line = slope(pairs["teacher_score"], pairs["gain"], within=list(pairs["student"]))
    centred = pairs["gain"] - pairs.groupby("student")["gain"].transform("mean")
    permuted = label_permutation(
        pairs["teacher_score"],
        lambda labels: labels @ centred.to_numpy(),
        strata=list(pairs["student"]),
        rng=np.random.default_rng(0),
    )
    return line._replace(p=permuted.p, signature=f"{line.signature}|{permuted.signature}")


def _teacher_partial(rows: pd.DataFrame) -> Estimate:
    """Over runs, the scores of one student's teachers being permuted."""
    _pairs(rows)
    require(rows, "size")
    used = rows.dropna(subset=["gain", "teacher_score", "size"])
    units = used.groupby(PAIR, sort=True)["teacher_score"].first().reset_index()
    index = {
        (t, s): i for i, (t, s) in enumerate(zip(units["teacher"], units["student"], strict=True))
    }
    where = np.array([index[key] for key in zip(used["teacher"], used["student"], strict=True)])
    held, gain = used["size"].to_numpy(), used["gain"].to_numpy()
    _spread(units["teacher_score"], "teacher scores")
    result = label_permutation(
        units["teacher_score"],
        lambda labels: partial_rho(labels[..., where], gain, held),
        strata=list(units["student"]),
        rng=np.random.default_rng(0),
    )
    return result


def _students(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per student: mean over its runs."""
    require(rows, "gain", "size")
    names = ["gain", "size", "sft", "score"]
    students = rows.groupby("student", sort=True)[names].mean().dropna(subset=["gain", "size"])
    _spread(students["size"], "student sizes")
    if len(students) < 4:
        raise NotEstimableError(
            f"the table has {len(students)} students; a relation with their size needs four"
        )
    return students


def _spread(values: pd.Series, what: str) -> None:
    if values.nunique() < 2:
        raise NotEstimableError(f"the table has one value of {what}; a relation needs several")


def _size_of_students(rows: pd.DataFrame) -> Estimate:
    students = _students(rows)
    return rank_permutation(students["size"], students["gain"], np.random.default_rng(0))


def _doubling(rows: pd.DataFrame) -> Estimate:
    students = _students(rows)
    return slope(np.log2(students["size"]), students["gain"])


def _oldham(rows: pd.DataFrame) -> Estimate:
    students = _students(rows)
    middle = (students["sft"] + students["score"]) / 2
    return rank_permutation(middle, students["gain"], np.random.default_rng(0))


def _over_runs(rows: pd.DataFrame, values: pd.Series, given: pd.Series | None) -> Estimate:
    """Relation of size with a value of each run, sizes being permuted over students."""
    students = _students(rows)
    where = np.array([students.index.get_loc(name) for name in rows["student"]])
    constant = np.zeros(len(rows))
    held = constant if given is None else given.to_numpy()
    target = values.to_numpy()
    return label_permutation(
        students["size"],
        lambda labels: partial_rho(labels[..., where], target, held),
        rng=np.random.default_rng(0),
    )


def _known(rows: pd.DataFrame) -> pd.DataFrame:
    require(rows, "gain", "size")
    return rows.dropna(subset=["gain", "size"])


def _size_given_baseline(rows: pd.DataFrame) -> Estimate:
    used = _known(rows)
    return _over_runs(used, used["gain"], used["sft"])


def _headroom(rows: pd.DataFrame) -> Estimate:
    used = _known(rows)
    if (used["sft"] >= 100).any():
        raise NotEstimableError("an SFT student scores 100: it has no headroom to share")
    return _over_runs(used, used["gain"] / (100 - used["sft"]), None)
