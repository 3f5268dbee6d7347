"""Reading prediction files for a comparison: what can be used is used, and what cannot is noted."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from kdscope import tables
from kdscope.data.forms import same_answer
from kdscope.data.records import Item
from kdscope.data.tasks import TASKS, find_task
from kdscope.errors import DataError, TableError
from kdscope.evaluation.extraction import extract
from kdscope.evaluation.importers import choice_rows, graded, import_predictions
from kdscope.evaluation.prediction_files import Answer, option_logprobs
from kdscope.fidelity.choices import Scored, read_choices

KEYS = ["task", "item"]
_WANTED = ["model", *KEYS, "sample", "seed", "text", "answer_flexible", "valid", "correct", "score"]
_SHOWN = 5  # ids named in a note


@dataclass
class System:
    """The answers of one system.

    Attributes:
        name: the file's stem.
        headline: one row per item (sample 0): task, item, text, answer (None: invalid), correct,
            score, free (free text: there is no single answer).
        samples: all samples, where there are several; else empty.
        questions: (task, item) -> question, where the file brings them.
        notes: what was found wrong with the file.
        gold: (task, item) -> gold answer, where the file brings them.
        choices: probabilities of the options, where they were scored.
    """

    name: str
    headline: pd.DataFrame
    samples: pd.DataFrame
    questions: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    gold: dict[tuple[str, str], str] = field(default_factory=dict)
    choices: Scored | None = None

    @property
    def keys(self) -> pd.MultiIndex:
        """(task, item) of each row."""
        return pd.MultiIndex.from_frame(self.headline[KEYS])


def read_systems(paths: Sequence[Path]) -> list[System]:
    """Every file as a system, named by its stem; equal stems get their folder's name in front."""
    for path in paths:
        if not path.is_file():
            raise DataError(f"there is no prediction file at {path}")
    stems = [path.stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}/{stem}"
        for stem, path in zip(stems, paths, strict=True)
    ]
    names = [name if names.count(name) == 1 else f"{name}#{i}" for i, name in enumerate(names, 1)]
    systems = [read_system(path, name) for path, name in zip(paths, names, strict=True)]
    _share_gold(systems)
    return systems


def _share_gold(systems: Sequence[System]) -> None:
    """Grade answers that came without gold by the gold that another file has for the item."""
    gold = {key: g for system in reversed(systems) for key, g in system.gold.items()}
    for system in systems if gold else ():
        rows = system.headline
        keys = list(zip(rows["task"], rows["item"], strict=True))
        bare = [
            place
            for place, (key, known) in enumerate(zip(keys, rows["correct"].notna(), strict=True))
            if not known and key in gold and not rows["free"].iat[place]
        ]
        if not bare:
            continue
        flags = rows["correct"].astype(object)
        for place in bare:
            flags.iat[place] = _right(rows["answer"].iat[place], gold[keys[place]])
        rows["correct"] = flags
        system.notes.append(f"{len(bare)} answers are graded by the gold of another file")


def read_system(path: Path, name: str | None = None) -> System:
    """One prediction file: Parquet as ``generations``, JSON Lines, lm-eval or Inspect.

    Raises:
        DataError: the file cannot be read as any of these.
        TableError: a Parquet file without items, or with neither answers nor texts.
    """
    notes: list[str] = []
    questions: dict[tuple[str, str], str] = {}
    gold: dict[tuple[str, str], str] = {}
    choices: Sequence[dict[str, Any]] = ()
    if path.suffix == ".parquet":
        rows = _of_parquet(path)
        beside = path.with_name(f"{path.stem}.choices.parquet")
        choices = tables.read("choices", beside).to_pylist() if beside.is_file() else ()
    else:
        plain = _plain_records(path)
        if plain is None:
            imported = import_predictions(path)
            rows, items = pd.DataFrame(imported.generations), imported.items
            choices = imported.choices
        else:
            if not plain:
                raise DataError(f"{path} holds no answer, so there is nothing to compare")
            rows, items, choices = _of_plain(plain, path.stem, notes)
        questions = {(item.task, item.item): item.question for item in items if item.question}
        gold = {(item.task, item.item): item.gold for item in items}
    if not len(rows):
        raise DataError(f"{path} holds no answer, so there is nothing to compare")
    headline, samples = _headline(_tidy(rows), notes)
    scored = read_choices(pd.DataFrame(choices)) if choices else None
    return System(name or path.stem, headline, samples, questions, notes, gold, scored)


def _of_parquet(path: Path) -> pd.DataFrame:
    """The columns that a comparison uses; only the item and an answer or a text are required."""
    try:
        schema = pq.read_schema(path)
    except Exception as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    present = [column for column in [*_WANTED, "answer", "gold"] if column in schema.names]
    if "item" not in present or not {"text", "answer", "answer_flexible"} & set(present):
        raise TableError(
            f"{path} needs the column item, and answer_flexible or text; it has "
            f"{', '.join(schema.names)}"
        )
    rows = pq.read_table(path, columns=present).to_pandas()
    models = rows["model"].nunique() if "model" in rows else 1
    if models > 1:
        raise TableError(
            f"{path} holds {models} systems "
            f"({', '.join(map(str, rows['model'].unique()[:_SHOWN]))}, ...), "
            "and a comparison takes one file per system: write each to a file of its own"
        )
    return rows


def _tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The same columns whatever the origin; an answer is None where it is not valid."""
    if "answer_flexible" not in rows and "answer" in rows:
        rows = rows.rename(columns={"answer": "answer_flexible"})
    if "answer_flexible" not in rows:
        rows = _extracted(rows)
    gold = rows.get("gold", pd.Series(None, index=rows.index, dtype=object))
    gold = gold.where(gold.notna() & (gold.astype(str) != ""), None)
    rows = rows.reindex(columns=[c for c in _WANTED if c != "model"])
    rows["task"] = _lower(rows["task"].fillna("task"))
    rows["item"] = rows["item"].astype(str)
    rows["sample"] = rows["sample"].fillna(0).astype(int)
    answer = rows["answer_flexible"].astype(object)
    invalid = rows["valid"].map(lambda flag: flag is False or flag == 0)
    rows["answer"] = answer.where(answer.notna() & ~invalid.astype(bool), None)
    if gold.notna().any() and rows["correct"].isna().all():
        pairs = zip(rows["answer"], gold, strict=True)
        rows["correct"] = [None if pd.isna(g) else _right(a, str(g)) for a, g in pairs]
    graded_as_text = rows["correct"].isna() & rows["score"].notna()
    known = rows["task"].map(
        lambda task: task in TASKS and TASKS[task].form in ("text", "verifiable")
    )
    rows["free"] = graded_as_text | known
    rows.loc[rows["free"], "answer"] = None
    return rows.drop(columns=["answer_flexible", "valid"])


def _lower(tasks: pd.Series) -> pd.Series:
    """Task ids in the catalogue's spelling."""
    return tasks.map({task: _task_id(str(task)) for task in tasks.unique()})


def _right(answer: str | None, gold: str) -> bool:
    form = "number" if gold.replace(".", "", 1).lstrip("-").isdigit() else "word"
    return same_answer(answer, gold, form)


def _task_id(name: str) -> str:
    try:
        return find_task(name).id
    except DataError:
        return name.lower()


def _headline(rows: pd.DataFrame, notes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per item, and all samples where there are several."""
    keys = [*KEYS, "sample"] + (["seed"] if rows["seed"].notna().any() else [])
    twice = rows.duplicated(keys)
    if twice.any():
        notes.append(
            f"{int(twice.sum())} answers repeat an item and sample ({_named(rows[twice])}); "
            "the first of each is used"
        )
        rows = rows[~twice]
    seeds = rows["seed"].nunique()
    if seeds > 1:
        kept = rows["seed"].min()
        notes.append(
            f"{seeds} seeds in one file; seed {kept:g} is used (compare one file per seed)"
        )
        rows = rows[rows["seed"] == kept]
    first = rows["sample"].min()
    several = rows["sample"].nunique() > 1
    headline = rows[rows["sample"] == first].reset_index(drop=True)
    return headline, (rows if several else rows.iloc[:0]).reset_index(drop=True)


def _named(rows: pd.DataFrame) -> str:
    return name_items(list(zip(rows["task"], rows["item"], strict=True)))


def name_items(keys: Sequence[tuple[str, str]]) -> str:
    """The first few items, by name."""
    shown = [f"{task}/{item}" for task, item in keys[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(keys) > _SHOWN else "")


# -- plain JSON Lines, where gold may be absent -------------------------------------


def _plain_records(path: Path) -> list[dict[str, Any]] | None:
    """Records of plain JSON Lines; None if the file has another form."""
    if path.suffix not in (".jsonl", ".ndjson", ".json"):
        raise DataError(
            f"{path} has no known form: give Parquet with the columns of `generations`, JSON Lines "
            "(task, item, text, and gold if there is one), lm-eval samples or an Inspect log"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            if number == 1:  # one JSON document over several lines
                return None
            raise DataError(f"{path}:{number} is not JSON: {error}") from error
        if not isinstance(record, dict) or "item" not in record or "doc_id" in record:
            return None
        records.append(record)
    return records


def _of_plain(
    records: list[dict[str, Any]], name: str, notes: list[str]
) -> tuple[pd.DataFrame, list[Item], list[dict[str, Any]]]:
    """Rows, items and scored options of plain records.

    Without gold, answers are extracted and not graded.
    """
    seen: set[tuple[str, str, int]] = set()
    repeated: list[tuple[str, str]] = []
    read: list[Answer] = []
    graded_answers: list[Answer] = []
    bare: list[Answer] = []
    given: list[dict[str, Any]] = []
    absent = 0
    for place, record in enumerate(records, 1):
        answer = _answer(record, f"{name}:{place}")
        if (answer.task, answer.item, answer.sample) in seen:
            repeated.append((answer.task, answer.item))
            continue
        seen.add((answer.task, answer.item, answer.sample))
        read.append(answer)
        absent += record.get("text") is None and record.get("answer") is None
        if record.get("answer") is not None:
            given.append(
                {
                    **answer._asdict(),
                    "answer_flexible": str(record["answer"]),
                    "gold": record.get("gold"),
                }
            )
        elif record.get("gold") is None:
            bare.append(answer)
        else:
            graded_answers.append(answer)
    if repeated:
        notes.append(
            f"{len(repeated)} answers repeat an item and sample ({name_items(repeated)}); "
            "the first of each is used"
        )
    if absent:
        notes.append(f"{absent} answers are missing; they count as invalid")
    found = graded(graded_answers, name) if graded_answers else None
    parts = [pd.DataFrame(found.generations)] if found else []
    if bare:
        parts.append(_extracted(pd.DataFrame([answer._asdict() for answer in bare])))
        notes.append(f"{len(bare)} answers come without gold")
    if given:
        parts.append(_tidy(pd.DataFrame(given)).rename(columns={"answer": "answer_flexible"}))
    options = choice_rows(read, name)
    return pd.concat(parts, ignore_index=True), found.items if found else [], options


def _answer(record: dict[str, Any], where: str) -> Answer:
    try:
        sample = int(record.get("sample") or 0)
    except (TypeError, ValueError):
        raise DataError(
            f"{where}: 'sample' must be a number from 0, not {record['sample']!r}"
        ) from None
    return Answer(
        where,
        _task_id(str(record.get("task") or "task")),
        str(record["item"]),
        sample,
        str(record.get("text") or ""),
        str(record.get("gold") or ""),
        question=str(record.get("question") or ""),
        logprobs=option_logprobs(record, where),
    )


def _extracted(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the answers that their texts give, by the form that the task seems to have."""
    rows = rows.copy()
    if "task" not in rows:
        rows["task"] = "task"
    answers = pd.Series([None] * len(rows), index=rows.index, dtype=object)
    for task, group in rows.groupby("task"):
        item = _shape(_task_id(str(task)), [text or "" for text in group["text"]])
        answers[group.index] = [extract(text or "", item).flexible for text in group["text"]]
    rows["answer_flexible"] = answers
    return rows


def _shape(task: str, texts: list[str]) -> Item:
    """An item of the task's form; of an unknown task, the form that most texts answer in."""
    known = TASKS.get(task)
    if known:
        letters = known.options or (tuple("ABCDE") if known.form == "letter" else None)
        return Item(task, "", "", "", known.form, letters)
    shapes = [
        Item(task, "", "", "", "number"),
        Item(task, "", "", "", "letter", tuple("ABCDE")),
        Item(task, "", "", "", "boolean", ("true", "false")),
    ]
    some = texts[:200]
    for attribute in ("strict", "flexible"):
        shares = [
            np.mean([getattr(extract(t, s), attribute) is not None for t in some]) for s in shapes
        ]
        if max(shares) > 0.5:
            return shapes[int(np.argmax(shares))]
    return Item(task, "", "", "", "text")
