"""The result tables of a study as frames, and the few questions that every page asks of them."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdscope import tables
from kdscope.errors import TableError
from kdscope.report import theme
from kdscope.report.frames import Frame

CELL = ["teacher", "student", "method", "settings"]
_FRACTIONS = (
    "accuracy",
    "agreement",
    "agreement_when_teacher_right",
    "agreement_when_teacher_wrong",
    "self_agreement",
    "invalid",
    "bleu",
    "bleu_floor",
    "chrf",
    "chrf_floor",
    "rouge_l",
    "rouge_l_floor",
    "equation_f1",
    "collapsed",
)


@dataclass(frozen=True, eq=False)
class Results:
    """Every table of a study that exists, as a pandas frame; an absent table is an empty frame.

    Attributes:
        frames: by table name.
        study: the resolved study.
        command: how the study is run again.
    """

    frames: dict[str, Frame]
    study: dict[str, Any] = field(default_factory=dict)
    command: str = ""

    def __getitem__(self, table: str) -> Frame:
        return self.frames[table]

    @cached_property
    def cells(self) -> Frame:
        """The rows of ``comparisons`` on a system over all its seeds, one per measure and task."""
        rows = self["comparisons"]
        rows = rows[(rows["scope"] == "cell") | rows["scope"].isna()]
        keys = ["measure", "task", *CELL]
        names = pd.Series(
            list(map(tuple, rows[keys].astype(str).to_numpy())), index=rows.index, dtype=object
        )
        pooled = rows["seed"].isna()
        alone = ~names.duplicated(keep=False) & (rows["measure"] != "collapsed")
        kept = rows[pooled | alone].reset_index(drop=True)
        # Widening over few seeds can carry a bound past what a fraction can be; cutting it there
        # loses no coverage.
        fraction = kept["measure"].isin(_FRACTIONS)
        bounds = kept[["low", "high"]].astype(float)
        kept[["low", "high"]] = bounds.where(~fraction, bounds.clip(0.0, 1.0), axis=0)
        return kept

    def level(self, measure: str, task: str | None = "all", *, main: bool = True) -> Frame:
        """Cells of one measure (every task for None), with ``label``, ``who`` and ``order`` added.

        ``main`` keeps the study's own setting and leaves ablations out.
        """
        key = (measure, task, main)
        if key not in self._levels:
            self._levels[key] = self._level(measure, task, main)
        return self._levels[key].copy()

    @cached_property
    def _levels(self) -> dict[tuple[str, str | None, bool], Frame]:
        return {}

    def _level(self, measure: str, task: str | None, main: bool) -> Frame:
        rows = self.cells[self.cells["measure"] == measure]
        if task is not None:
            rows = rows[rows["task"] == task]
        if main:
            rows = self.main(rows)
        rows = rows.copy()
        rows["label"] = [self.label(row) for row in rows[CELL].to_dict("records")]
        rank = {name: i for i, name in enumerate(self.methods)}
        rows["order"] = [rank.get(name, len(rank)) for name in rows["method"]]
        rows["who"] = [self.who(row) for row in rows[CELL].to_dict("records")]
        place = {name: i for i, name in enumerate(self.students)}
        rows["place"] = [place.get(name, -1) for name in rows["student"]]
        return rows.sort_values(
            ["place", "order", "teacher", "settings"], kind="stable"
        ).reset_index(drop=True)

    @cached_property
    def _with_default(self) -> set[tuple]:
        rows = self["comparisons"]
        rows = rows[rows["settings"].fillna("{}") == "{}"]
        pairs = rows[["student", "method"]].itertuples(index=False, name=None)
        return {(_known(student), method) for student, method in pairs}

    def main(self, rows: Frame) -> Frame:
        """The rows of a table of systems that are at the study's own setting."""
        kept = [self.is_main(*row) for row in rows[CELL].itertuples(index=False)]
        return rows[np.array(kept, dtype=bool)]

    def in_task_order(self, rows: Frame) -> Frame:
        """Rows in the study's order of tasks, otherwise as they were."""
        place = {task: i for i, task in enumerate(self.tasks)}
        order = np.argsort([place.get(task, -1) for task in rows["task"]], kind="stable")
        return rows.iloc[order]

    def is_main(self, teacher: Any, student: Any, method: Any, settings: Any) -> bool:
        """Whether a cell is at the study's own setting (or its method has no cell that is)."""
        del teacher
        return (
            settings in ("{}", None)
            or pd.isna(settings)
            or ((_known(student), method) not in self._with_default)
        )

    def label(self, cell: dict[str, Any]) -> str:
        """A cell's short name within its student: method, teacher if several, settings."""
        parts = [str(cell["method"])]
        if (
            len(self.teachers) > 1
            and isinstance(cell["teacher"], str)
            and isinstance(cell["student"], str)
        ):
            parts.append(cell["teacher"])
        parts += [f"{name} {value}" for name, value in settings(cell).items()]
        return " · ".join(parts)

    def who(self, cell: dict[str, Any]) -> str:
        """The student of a cell, or the teacher where the cell is the teacher itself."""
        return str(cell["student"] if isinstance(cell["student"], str) else cell["teacher"])

    @cached_property
    def tests(self) -> Frame:
        """The rows that report a test over several systems."""
        rows = self["comparisons"]
        return rows[rows["scope"].isin(["study", "method"])].reset_index(drop=True)

    @cached_property
    def teachers(self) -> list[str]:
        """Teachers in the study's order, then any other that the tables name."""
        return _ordered(self.study.get("teachers"), _names(self, "teacher"))

    @cached_property
    def students(self) -> list[str]:
        """Students in the study's order, then any other that the tables name."""
        return _ordered(self.study.get("students"), _names(self, "student"))

    @cached_property
    def methods(self) -> list[str]:
        """Methods in display order."""
        return theme.order(_names(self, "method"))

    @cached_property
    def tasks(self) -> list[str]:
        """Tasks in the study's order, then any other that the tables name."""
        wanted = self.study.get("evaluate", {}).get("tasks")
        listed = [wanted] if isinstance(wanted, str) else wanted
        found = _names(self, "task") - {"all"}
        return [name for name in _ordered(listed, found) if name in found]

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.get("name", "study"))


def load(folder: Path, study: dict[str, Any] | None = None, command: str = "") -> Results:
    """Read every table of ``folder``; tables that are absent become empty frames.

    Raises:
        TableError: the folder holds no table at all, or one lacks a column.
    """
    frames = {}
    for name in tables.SCHEMAS:
        path = folder / f"{name}.parquet"
        frames[name] = tables.read(name, *([path] if path.is_file() else [])).to_pandas()
    if all(frame.empty for frame in frames.values()):
        raise TableError(
            f"{folder} holds no result table, so there is nothing to report. "
            f"Expected Parquet files named {', '.join(tables.SCHEMAS)}; run the study first."
        )
    return Results(frames, study or {}, command)


def settings(cell: dict[str, Any]) -> dict[str, Any]:
    """The settings of a cell as a dict."""
    text = cell.get("settings")
    found = json.loads(text) if isinstance(text, str) and text else {}
    return found if isinstance(found, dict) else {}


def _known(name: Any) -> str | None:
    """A name, None where the role does not exist (a teacher has no student)."""
    return name if isinstance(name, str) else None


def _names(results: Results, column: str) -> set[str]:
    found: set[str] = set()
    for name in ("comparisons", "generations"):
        frame = results[name]
        if column in frame:
            found |= set(frame[column].dropna().unique())
    return found


def _ordered(listed: Any, found: set[str]) -> list[str]:
    """Names as the study lists them (as text, or as entries with a name), then any other."""
    first = [name for name in map(_name, listed or []) if name in found or not found]
    return list(dict.fromkeys(first)) + sorted(found - set(first))


def _name(entry: Any) -> str:
    """The name of a model in the tables: as given, else the last part of its address."""
    if isinstance(entry, dict):
        return str(entry.get("name") or str(entry.get("model")).split("/")[-1])
    return str(entry)
