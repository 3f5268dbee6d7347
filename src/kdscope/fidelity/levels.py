"""Every measure of every run of a study, on its data and in each resample of its items.

The runs of one student are resampled together, so that all their differences are paired by item.
Items that ask the same question are drawn together, and tasks keep their size.
"""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kdscope.fidelity.agreement import MEASURES, by_chance, flag_columns
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, Design, Statistic

CELL = ("teacher", "student", "method", "settings")
SYSTEM = ("model", *CELL, "seed")
TEXTS = ("bleu", "chrf", "rouge_l", "equation_f1", "bleu_floor", "chrf_floor", "rouge_l_floor")
Frame = pa.Table | pd.DataFrame | Iterable[Mapping[str, Any]]

RUN_MEASURES: dict[str, Statistic] = {
    "accuracy": bootstrap.ratio("right", "graded_run"),
    "invalid": bootstrap.ratio("unparsed", "seen"),
    "score": bootstrap.ratio("score", "scored"),
}
LINK_MEASURES: dict[str, Statistic] = {
    "agreement": MEASURES["agreement"],
    "agreement_when_teacher_right": MEASURES["agreement_when_right"],
    "agreement_when_teacher_wrong": MEASURES["agreement_when_wrong"],
    "kappa": MEASURES["kappa"],
    "expected_agreement": MEASURES["expected_agreement"],
    "volume": MEASURES["volume"],
    "direction": MEASURES["direction"],
    "flips_up": MEASURES["flips_up"],
    "flips_down": MEASURES["flips_down"],
    **{name: bootstrap.ratio(name, f"{name}_n") for name in TEXTS},
}
_COUNTS = {"accuracy": "graded_run", "invalid": "seen", "score": "scored", "agreement": "counted"}
_COUNTS |= {
    "agreement_when_teacher_right": "t_graded",
    "agreement_when_teacher_wrong": "wrong_graded",
}
_COUNTS |= {"kappa": "graded", "expected_agreement": "graded", "volume": "counted"}
_COUNTS |= {"direction": "known", "flips_up": "known", "flips_down": "known"}
_COUNTS |= {name: f"{name}_n" for name in TEXTS}


@dataclass(frozen=True)
class Level:
    """One measure of one run: [G] on the data, [R, G] in the resamples, [G] items behind it."""

    points: Array
    drawn: Array
    counts: Array

    def over_tasks(self) -> tuple[float, Array]:
        """The mean over the tasks where it is defined, and the same in each resample [R]."""
        defined = np.isfinite(self.points)
        if not defined.any():
            return float("nan"), np.full(len(self.drawn), np.nan)
        drawn = self.drawn[:, defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a resample without any defined task
            average = drawn.mean(axis=1) if np.isfinite(drawn).all() else np.nanmean(drawn, axis=1)
        return float(self.points[defined].mean()), average

    def of_task(self, group: int) -> tuple[float, Array]:
        """One task."""
        return float(self.points[group]), self.drawn[:, group]


@dataclass
class Run:
    """One evaluated system: a cell with its seed.

    Attributes:
        system: the columns of :data:`SYSTEM`.
        links: (relation, reference model) of its fidelity rows.
        columns: name -> [I] numbers per item of the study.
        levels: (relation, reference, measure) -> level; relation and reference are empty for levels
            of the run itself.
    """

    system: dict[str, Any]
    links: list[tuple[str, str]] = field(default_factory=list)
    columns: dict[str, Array] = field(default_factory=dict)
    levels: dict[tuple[str, str, str], Level] = field(default_factory=dict)

    @property
    def cell(self) -> tuple[Any, ...]:
        """The cell that it belongs to."""
        return tuple(self.system[name] for name in CELL)


def frame(table: Frame, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of a result table as a pandas frame; absent columns are null."""
    if isinstance(table, pa.Table):
        found = table.select([c for c in columns if c in table.column_names]).to_pandas()
    elif isinstance(table, pd.DataFrame):
        found = table
    else:
        found = pd.DataFrame(list(table))
    return found.reindex(columns=list(columns))


def read_runs(generations: Frame, fidelity: Frame, items: Frame) -> tuple[list[Run], Design]:
    """The study's runs with their columns, and how items are resampled.

    Only sample 0 of ``generations`` counts.
    """
    wanted = [*SYSTEM, "task", "item", "sample", "valid", "correct", "score"]
    answers = frame(generations, wanted)
    answers = answers[answers["sample"].fillna(0) == 0]
    links = frame(
        fidelity,
        [
            *SYSTEM,
            "reference",
            "relation",
            "task",
            "item",
            "agree",
            "reference_correct",
            "correct",
            *TEXTS,
        ],
    )
    index = pd.MultiIndex.from_frame(answers[["task", "item"]]).unique().sort_values()
    plan, chance = _describe(
        index, frame(items, ["task", "item", "question", "gold", "options", "form"])
    )
    runs: dict[tuple[Any, ...], Run] = {}
    for key, rows in _groups(answers, SYSTEM):
        run = runs[key] = Run(dict(zip(SYSTEM, key, strict=True)))
        run.columns = _spread(_run_columns(rows), _places(index, rows), len(index))
    for key, rows in _groups(links, (*SYSTEM, "relation", "reference")):
        run = runs.get(key[: len(SYSTEM)])
        if run is None:
            continue
        relation, reference = key[len(SYSTEM) :]
        places = _places(index, rows)
        known = places >= 0
        columns = _link_columns(rows[known], chance[places[known]])
        run.links.append((relation, reference))
        run.columns |= {
            _prefix(relation, reference) + name: values
            for name, values in _spread(columns, places[known], len(index)).items()
        }
    return list(runs.values()), plan


def _describe(index: pd.MultiIndex, items: pd.DataFrame) -> tuple[Design, Array]:
    """The resampling design of the items, and the chance that two wrong answers agree, [I]."""
    known = items.drop_duplicates(["task", "item"]).set_index(["task", "item"]).reindex(index)
    question = known["question"].astype("string").str.lower().str.split().str.join(" ")
    own = pd.Series([f"\0{task}\0{item}" for task, item in index], index=index)
    tasks = index.get_level_values(0)
    clusters = question.where(question.notna() & (question != ""), own).astype(str)
    plan = bootstrap.design(len(index), groups=list(tasks), clusters=list(clusters))
    closed = known["form"].isin(["letter", "word", "boolean"]).to_numpy()
    listed = known["options"].map(lambda o: len(o) if isinstance(o, Sequence | np.ndarray) else 0)
    kinds = known.groupby(level=0)["gold"].transform("nunique").fillna(0)
    options = np.where(closed, np.where(listed > 1, listed, kinds), np.nan)
    return plan, by_chance(options.astype(float))


def _groups(
    rows: pd.DataFrame, keys: Sequence[str]
) -> Iterable[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Groups by keys in order of appearance; null keys are None."""
    for key, group in rows.groupby(list(keys), sort=False, dropna=False):
        yield tuple(None if pd.isna(value) else value for value in key), group


def _places(index: pd.MultiIndex, rows: pd.DataFrame) -> np.ndarray:
    return index.get_indexer(pd.MultiIndex.from_frame(rows[["task", "item"]]))


def _spread(columns: Mapping[str, Array], places: np.ndarray, items: int) -> dict[str, Array]:
    """Columns over a run's items as columns over all items of the study, 0 elsewhere."""
    spread = {}
    for name, values in columns.items():
        spread[name] = np.zeros(items)
        spread[name][places] = values
    return spread


def numbers(column: pd.Series) -> Array:
    """A column of numbers, flags or nulls as floats with NaN."""
    return pd.to_numeric(column.astype(object).map(lambda x: np.nan if x is None else x)).to_numpy(
        float
    )


def _run_columns(rows: pd.DataFrame) -> dict[str, Array]:
    correct, valid, score = (numbers(rows[name]) for name in ("correct", "valid", "score"))
    graded = np.isfinite(correct)
    free = ~graded & np.isfinite(score)
    return {
        "seen": np.ones(len(rows)),
        "graded_run": graded.astype(float),
        "right": np.nan_to_num(correct),
        "unparsed": (valid == 0).astype(float),
        "scored": free.astype(float),
        "score": np.where(free, np.nan_to_num(score), 0.0),
    }


def _link_columns(rows: pd.DataFrame, chance: Array) -> dict[str, Array]:
    agree = numbers(rows["agree"])
    columns = flag_columns(
        np.nan_to_num(agree) > 0.5,
        np.isfinite(agree),
        numbers(rows["reference_correct"]),
        numbers(rows["correct"]),
        chance=chance,
    )
    for name in TEXTS:
        values = numbers(rows[name])
        columns[name], columns[f"{name}_n"] = (
            np.nan_to_num(values),
            np.isfinite(values).astype(float),
        )
    return columns


def _prefix(relation: str, reference: str) -> str:
    return f"{relation}\0{reference}\0"


def add_levels(runs: Sequence[Run], plan: Design, *, resamples: int, seed: int) -> None:
    """Fill the levels of some runs, all under the same resamples."""
    columns = {f"{i}\0{name}": v for i, run in enumerate(runs) for name, v in run.columns.items()}
    draws = bootstrap.draw(columns, plan, resamples=resamples, seed=seed)
    for i, run in enumerate(runs):
        for relation, reference in [("", ""), *run.links]:
            prefix = f"{i}\0" + (_prefix(relation, reference) if relation else "")
            for name, statistic in (LINK_MEASURES if relation else RUN_MEASURES).items():
                counts = draws.observed[:, draws.place[prefix + _COUNTS[name]]]
                if counts.any():
                    point, drawn = draws.by_group(statistic, prefix)
                    run.levels[relation, reference, name] = Level(point, drawn, counts)
