"""From a study's result tables to the columns of its runs."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kdscope.fidelity.agreement import AnswerBook, by_chance
from kdscope.fidelity.bleu_conventions import CONVENTIONS, Grams, bleu, measure_name, prepare
from kdscope.fidelity.calibration import calibration_columns
from kdscope.fidelity.choices import Scored, align, option_columns, read_choices
from kdscope.fidelity.columns import (
    FIDELITY_COLUMNS,
    TAILED,
    TOKENS,
    link_columns,
    run_columns,
    token_columns,
)
from kdscope.fidelity.inheritance import group_columns, item_groups
from kdscope.fidelity.levels import SYSTEM, Run
from kdscope.fidelity.noise import noise_columns
from kdscope.fidelity.percentiles import tails
from kdscope.fidelity.rewording import Families, find_families
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, Design
from kdscope.stats.design import codes

WORDED = 6_000  # texts whose BLEU is taken by other conventions, at most
Frame = pa.Table | pd.DataFrame | Iterable[Mapping[str, Any]]


def frame(table: Frame, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of a result table as a pandas frame; absent columns are null."""
    if isinstance(table, pa.Table):
        found = table.select([c for c in columns if c in table.column_names]).to_pandas()
    elif isinstance(table, pd.DataFrame):
        found = table
    else:
        found = pd.DataFrame(list(table))
    return found.reindex(columns=list(columns))


def _columns(table: pa.Table | pd.DataFrame | list[Mapping[str, Any]]) -> set[str]:
    """Names of a table's columns; of rows, those of the first."""
    if isinstance(table, pa.Table):
        return set(table.column_names)
    return set(table.columns) if isinstance(table, pd.DataFrame) else set(*table[:1])


def read_runs(
    generations: Frame,
    fidelity: Frame,
    items: Frame,
    distributions: Frame = (),
    choices: Frame = (),
    solutions: Mapping[tuple[str, str], str] | None = None,
    topics: Mapping[tuple[str, str], str] | None = None,
) -> tuple[list[Run], Design, pd.MultiIndex]:
    """The study's runs with their columns, how items are resampled, and the items (task, item).

    Sample 0 of ``generations`` is the answer; further ones give floors and ceilings.
    """
    extracted = [f"answer_{name}" for name in ("strict", "flexible", "paper")]
    wanted = [*SYSTEM, "task", "item", "sample", "valid", "correct", "score", *extracted]
    if not isinstance(generations, pa.Table | pd.DataFrame):
        generations = list(generations)
    present = _columns(generations)
    every = frame(generations, wanted)
    absent = {"answer_strict", "answer_paper"} - present  # of files of other origin
    every = every.drop(columns=list(absent))
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
    groups = _groups_of(index, question_of(asked), solutions or {}, topics or {})
    _add_groups(runs, groups)
    _add_conventions(runs, generations, index)
    _add_tokens(runs, distributions, index, plan)
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


def _add_conventions(
    runs: Mapping[tuple[Any, ...], Run], generations: Frame, index: pd.MultiIndex
) -> None:
    """BLEU with the teacher's text by other conventions, on an even sample of the items."""
    rows = frame(generations, [*SYSTEM, "task", "item", "sample", "text"])
    rows = rows[(rows["sample"].fillna(0) == 0) & rows["text"].notna()]
    links = [
        (run, reference)
        for run in runs.values()
        for relation, reference in run.links
        if relation == "teacher"
    ]
    count = min(len(index), max(1, WORDED // max(1, len(links))))
    chosen = np.unique(np.linspace(0, len(index) - 1, count).astype(int))
    texts = {
        str(key[0]): own.set_index(["task", "item"])["text"].reindex(index[chosen])
        for key, own in _groups(rows, ("model",))
    }
    grams: dict[str, list[Grams | None]] = {}
    for run, reference in links:
        mine, theirs = texts.get(run.system["model"]), texts.get(reference)
        if mine is None or theirs is None:
            continue
        columns: dict[str, Array] = {}
        for name, how in CONVENTIONS.items():
            key = f"{reference}\0{name}"
            if key not in grams:
                grams[key] = [prepare(t, how) if _written(t) else None for t in theirs]
            values, counted = np.zeros(len(index)), np.zeros(len(index))
            for place, text, right in zip(chosen, mine, grams[key], strict=True):
                if right is not None and _written(text):
                    values[place] = bleu(prepare(text, how), right) / 100
                    counted[place] = 1.0
            columns |= {measure_name(name): values, f"{measure_name(name)}_n": counted}
        run.link("wording", reference, columns)


def _written(text: Any) -> bool:
    return isinstance(text, str) and bool(text.strip())


def _groups_of(
    index: pd.MultiIndex, *known: Mapping[tuple[str, str], str]
) -> dict[str, np.ndarray]:
    """Groups of the items by what is known of them: questions, solutions, topics."""
    return item_groups(*([by_item.get(key) for key in index] for by_item in known))


def question_of(items: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(task, item) -> question, where it is known."""
    known = items[items["question"].notna()]
    keys = zip(known["task"], known["item"], strict=True)
    return dict(zip(keys, known["question"].astype(str), strict=True))


def word_problems(items: pd.DataFrame, index: pd.MultiIndex) -> Families | None:
    """Families of rewordings among the items whose answer is a number."""
    asked = question_of(items[items["form"] == "number"])
    tasks = [str(task) for task in index.get_level_values(0)]
    return find_families([asked.get(key) for key in index], tasks)


def _add_groups(runs: Mapping[tuple[Any, ...], Run], groups: Mapping[str, np.ndarray]) -> None:
    """Columns of each run's errors and its teacher's by group of items."""
    for run in runs.values() if groups else ():
        for relation, reference in list(run.links):
            if relation == "teacher":
                run.link(
                    "groups", reference, group_columns(run.linked(relation, reference), groups)
                )
                run.groups = list(groups)


def _add_tokens(
    runs: Mapping[tuple[Any, ...], Run], distributions: Frame, index: pd.MultiIndex, plan: Design
) -> None:
    """Columns of each run's distributions against its teacher's.

    Sums over the tokens of an item, and how many of them lie below each percentile.
    """
    rows = frame(distributions, [*SYSTEM, "reference", "prefix", "task", "item", *TOKENS])
    sums = rows.assign(
        tokens=rows["forward_kl"].map(len), **{n: rows[n].map(np.sum) for n in TOKENS}
    )
    lists = dict(_groups(rows, (*SYSTEM, "reference")))
    for key, own in _groups(sums, (*SYSTEM, "reference")):
        run, raw = runs.get(key[: len(SYSTEM)]), lists[key]
        if run is None:
            continue
        by_prefix = {
            str(prefix): part.set_index(["task", "item"])[[*TOKENS, "tokens"]]
            for prefix, part in own.groupby("prefix", sort=False)
        }
        run.link(
            "tokens",
            key[-1],
            token_columns(by_prefix, index) | _below(run, key[-1], raw, index, plan),
        )


def _below(
    run: Run, reference: str, rows: pd.DataFrame, index: pd.MultiIndex, plan: Design
) -> dict[str, Array]:
    """Tokens of each item below each percentile, by measure; notes the percentiles' tails."""
    columns: dict[str, Array] = {}
    for prefix, part in rows.groupby("prefix", sort=False):
        places = _places(index, part)
        for name in TAILED:
            tokens: list[Array | None] = [None] * len(index)
            for place, own in zip(places, part[name], strict=True):
                if place >= 0 and len(own):
                    tokens[place] = np.asarray(own, float)
            for kind, tail in tails(tokens, plan.group, len(plan.labels)).items():
                measure = f"{name}_on_{prefix}_{kind}"
                run.tails[reference, measure] = tail
                columns[measure] = tail.below
    return columns


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
