"""Reading prediction files for a comparison: what can be used is used, and what cannot is noted."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from kdscope import tables
from kdscope.errors import DataError, TableError
from kdscope.evaluation.importers import import_predictions
from kdscope.fidelity.choices import Scored, read_choices
from kdscope.report.compare.plain import of_plain, plain_records
from kdscope.report.compare.tidy import KEYS, WANTED, name_items, right, tidy

_SHOWN = 5  # systems named in a message


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
            flags.iat[place] = right(rows["answer"].iat[place], gold[keys[place]])
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
        plain = plain_records(path)
        if plain is None:
            imported = import_predictions(path)
            rows, items = pd.DataFrame(imported.generations), imported.items
            choices = imported.choices
        else:
            if not plain:
                raise DataError(f"{path} holds no answer, so there is nothing to compare")
            rows, items, choices = of_plain(plain, path.stem, notes)
        questions = {(item.task, item.item): item.question for item in items if item.question}
        gold = {(item.task, item.item): item.gold for item in items}
    if not len(rows):
        raise DataError(f"{path} holds no answer, so there is nothing to compare")
    headline, samples = _headline(tidy(rows), notes)
    scored = read_choices(pd.DataFrame(choices)) if choices else None
    return System(name or path.stem, headline, samples, questions, notes, gold, scored)


def _of_parquet(path: Path) -> pd.DataFrame:
    """The columns that a comparison uses; only the item and an answer or a text are required."""
    try:
        schema = pq.read_schema(path)
    except Exception as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}") from error
    present = [column for column in [*WANTED, "answer", "gold"] if column in schema.names]
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
