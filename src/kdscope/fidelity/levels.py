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

from kdscope.fidelity.agreement import AnswerBook, by_chance
from kdscope.fidelity.calibration import calibration_columns
from kdscope.fidelity.choices import Scored, align, option_columns, read_choices
from kdscope.fidelity.columns import (
    FIDELITY_COLUMNS,
    MEASURES,
    TOKENS,
    link_columns,
    run_columns,
    token_columns,
)
from kdscope.fidelity.noise import noise_columns
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, Design
from kdscope.stats.design import codes

CELL = ("teacher", "student", "method", "settings")
SYSTEM = ("model", *CELL, "seed")
Frame = pa.Table | pd.DataFrame | Iterable[Mapping[str, Any]]


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

    def link(self, relation: str, reference: str, columns: Mapping[str, Array]) -> None:
        """Note the columns [I] of a relation to a reference."""
        self.links.append((relation, reference))
        prefix = _prefix(relation, reference)
        self.columns |= {prefix + name: values for name, values in columns.items()}

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


def read_runs(
    generations: Frame,
    fidelity: Frame,
    items: Frame,
    distributions: Frame = (),
    choices: Frame = (),
) -> tuple[list[Run], Design, pd.MultiIndex]:
    """The study's runs with their columns, how items are resampled, and the items (task, item).

    Sample 0 of ``generations`` is the answer; further ones give floors and ceilings.
    """
    extracted = [f"answer_{name}" for name in ("strict", "flexible", "paper")]
    wanted = [*SYSTEM, "task", "item", "sample", "valid", "correct", "score", *extracted]
    every = frame(generations, wanted)
    every = every.drop(
        columns=[n for n in extracted if n != "answer_flexible" and every[n].isna().all()]
    )
    asked = frame(items, ["task", "item", "question", "gold", "options", "form"])
    answers = every[every["sample"].fillna(0) == 0].merge(
        asked[["task", "item", "gold", "form"]].drop_duplicates(["task", "item"]),
        on=["task", "item"],
        how="left",
    )
    index = pd.MultiIndex.from_frame(answers[["task", "item"]]).unique().sort_values()
    plan, chance = _describe(index, asked)
    runs: dict[tuple[Any, ...], Run] = {}
    for key, rows in _groups(answers, SYSTEM):
        run = runs[key] = Run(dict(zip(SYSTEM, key, strict=True)))
        run.columns = _spread(run_columns(rows), _places(index, rows), len(index))
    _add_links(runs, fidelity, index, chance)
    _add_tokens(runs, distributions, index)
    _add_samples(runs, every, index)
    _add_choices(runs, choices, index)
    return list(runs.values()), plan, index


def _add_links(
    runs: Mapping[tuple[Any, ...], Run], fidelity: Frame, index: pd.MultiIndex, chance: Array
) -> None:
    """Columns of each run with its teacher and its SFT student."""
    keys = [*SYSTEM, "reference", "relation", "task", "item"]
    flags = ["agree", "reference_correct", "correct"]
    links = frame(fidelity, [*keys, *flags, *FIDELITY_COLUMNS])
    for key, rows in _groups(links, (*SYSTEM, "relation", "reference")):
        run = runs.get(key[: len(SYSTEM)])
        if run is None:
            continue
        places = _places(index, rows)
        known = places >= 0
        columns = link_columns(rows[known], chance[places[known]])
        run.link(*key[len(SYSTEM) :], _spread(columns, places[known], len(index)))


def _add_tokens(
    runs: Mapping[tuple[Any, ...], Run], distributions: Frame, index: pd.MultiIndex
) -> None:
    """Columns of each run's distributions against its teacher's: sums over the tokens of an item."""
    rows = frame(distributions, [*SYSTEM, "reference", "prefix", "task", "item", *TOKENS])
    sums = rows.assign(
        tokens=rows["forward_kl"].map(len), **{n: rows[n].map(np.sum) for n in TOKENS}
    )
    for key, own in _groups(sums, (*SYSTEM, "reference")):
        run = runs.get(key[: len(SYSTEM)])
        if run is None:
            continue
        by_prefix = {
            str(prefix): part.set_index(["task", "item"])[[*TOKENS, "tokens"]]
            for prefix, part in own.groupby("prefix", sort=False)
        }
        run.link("tokens", key[-1], token_columns(by_prefix, index))


def _add_samples(
    runs: Mapping[tuple[Any, ...], Run], answers: pd.DataFrame, index: pd.MultiIndex
) -> None:
    """Columns of each run and its teacher over the samples that were drawn, where both have two."""
    drawn = answers[answers["sample"].fillna(0) > 0]
    book = AnswerBook()
    tables = {
        str(key[0]): sample_codes(rows, book, index) for key, rows in _groups(drawn, ("model",))
    }
    for run in runs.values():
        own = tables.get(run.system["model"])
        for relation, reference in list(run.links):
            theirs = tables.get(reference)
            if relation == "teacher" and own is not None and theirs is not None:
                run.link("samples", reference, noise_columns(theirs, own))


def _add_choices(runs: Mapping[tuple[Any, ...], Run], choices: Frame, index: pd.MultiIndex) -> None:
    """Columns of scored options: each run's calibration, and what it shares with its teacher."""
    rows = frame(choices, ["model", "task", "item", "option", "logprob", "gold"])
    scored = {str(key[0]): read_choices(own) for key, own in _groups(rows, ("model",))}
    for run in runs.values():
        own = scored.get(run.system["model"])
        if own is None:
            continue
        run.link("calibration", "", _of_items(calibration_columns(own.p, own.gold), own, index))
        for relation, reference in list(run.links):
            if relation == "teacher" and reference in scored:
                p, q = align(scored[reference], own)
                columns = option_columns(p.p, q.p, q.gold, q.options)
                run.link("options", reference, _of_items(columns, q, index))


def _of_items(
    columns: Mapping[str, Array], scored: Scored, index: pd.MultiIndex
) -> dict[str, Array]:
    places = index.get_indexer(pd.MultiIndex.from_tuples(scored.keys))
    known = places >= 0
    kept = {name: values[known] for name, values in columns.items()}
    return _spread(kept, places[known], len(index))


def sample_codes(rows: pd.DataFrame, book: AnswerBook, index: pd.MultiIndex) -> np.ndarray:
    """Answer codes [I, S] of one system's samples, -2 where a sample is absent."""
    sample, names = codes(rows["sample"].to_numpy())
    table = np.full((len(index), len(names)), -2)
    valid = rows["answer_flexible"].where(rows["valid"].astype(object) != False, None)  # noqa: E712
    table[_places(index, rows), sample] = book.read(valid.tolist()).code
    return table


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


def _prefix(relation: str, reference: str) -> str:
    return f"{relation}\0{reference}\0"


def add_levels(runs: Sequence[Run], plan: Design, *, resamples: int, seed: int) -> None:
    """Fill the levels of some runs, all under the same resamples."""
    columns = {f"{i}\0{name}": v for i, run in enumerate(runs) for name, v in run.columns.items()}
    draws = bootstrap.draw(columns, plan, resamples=resamples, seed=seed)
    for i, run in enumerate(runs):
        for relation, reference in [("", ""), *run.links]:
            prefix = f"{i}\0" + (_prefix(relation, reference) if relation else "")
            for name, (statistic, behind) in MEASURES[relation].items():
                counts = draws.observed[:, draws.place[prefix + behind]]
                if counts.any():
                    point, drawn = draws.by_group(statistic, prefix)
                    run.levels[relation, reference, name] = Level(point, drawn, counts)
