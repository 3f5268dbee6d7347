"""Tables of scores from CSV files, in the long form or in the wide form of the paper's files.

Both become one frame, one row per score: ``teacher, student, method, temperature, seed, task,
score`` and, where the file has them, ``n, agreement, fidelity, student_size, teacher_score``.
Scores are percent. Whatever is wrong is reported with file, row and column, all mistakes together.
"""

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from kdscope.errors import TableError
from kdscope.paper.printed import known_task
from kdscope.paper.records import AVERAGE

LONG = ("teacher", "student", "method", "seed", "task", "score")
OPTIONAL = ("n", "agreement", "fidelity", "student_size", "teacher_score", "temperature")
WIDE = ("teacher", "student", "method")
SFT, BASE, UNTUNED_TEACHER = "SFT", "base", "untuned teacher"
_CELL = ["teacher", "student", "method", "temperature", "seed", "task"]
_PERCENT = ("score", "agreement", "fidelity", "teacher_score")
_SHOWN = 8


class Scores(NamedTuple):
    """A checked table of scores, and what its reader should be told about it."""

    frame: pd.DataFrame
    source: str
    notes: tuple[str, ...] = ()


class _Line(NamedTuple):
    """One data row of a file: its number among the data rows, its line in the file, its cells."""

    row: int
    line: int
    cells: dict[str, str]


class _Problems:
    """Collects mistakes, so that all of them are shown together."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, []

    def add(self, line: _Line, column: str, what: str) -> None:
        self.found.append(f"row {line.row} (line {line.line}), column {column!r}: {what}")

    def check(self) -> None:
        if self.found:
            shown = "\n  ".join(self.found[:_SHOWN])
            more = len(self.found) - _SHOWN
            tail = f"\n  ... and {more} more" if more > 0 else ""
            raise TableError(f"{self.path}: this table of scores cannot be used\n  {shown}{tail}")


def read_scores(path: Path) -> Scores:
    """Read a table of scores of either form.

    Raises:
        TableError: the file is missing or empty, a column is missing, a number is absent, not a
            number or out of range, a cell stands twice, a method has no baseline; file, row and
            column are named.
    """
    header, lines = _read_lines(path)
    long = "task" in header or "score" in header
    _require(path, header, LONG if long else WIDE, long)
    frame, notes = (_long if long else _wide)(path, header, lines)
    notes += _as_percent(frame)
    _check_cells(path, frame, lines)
    return Scores(with_average(frame.drop(columns="row")), path.name, tuple(notes))


def _read_lines(path: Path) -> tuple[list[str], list[_Line]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [_column(name) for name in next(reader, [])]
            records = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except OSError as error:
        raise TableError(
            f"{path}: cannot be read ({error.strerror}); give a CSV file of scores"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: is not a CSV file in UTF-8 ({error})") from error
    other = {";": "semicolons", "\t": "tabs", "|": "bars"}
    if len(header) == 1 and (used := next((sign for sign in other if sign in header[0]), None)):
        raise TableError(
            f"{path}: row 0 (line 1): its cells are separated by {other[used]}; save it with commas "
            "between cells and points in decimal numbers"
        )
    if not header:
        raise TableError(f"{path}: is empty; its first row must name the columns {', '.join(LONG)}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise TableError(
            f"{path}: row 0 (line 1), column {twice[0]!r}: stands {header.count(twice[0])} times"
        )
    if not records:
        raise TableError(
            f"{path}: has the columns {', '.join(header)} but no row below them; a table of scores "
            "needs at least one row for SFT and one for a method"
        )
    problems, lines = _Problems(path), []
    for row, (number, cells) in enumerate(records, start=1):
        line = _Line(row, number, {k: v.strip() for k, v in zip(header, cells, strict=False)})
        lines.append(line)
        if len(cells) != len(header):
            column = header[min(len(cells), len(header)) - 1]
            problems.add(line, column, f"the row has {len(cells)} cells, the header {len(header)}")
    problems.check()
    return header, lines


def _column(name: str) -> str:
    plain = re.sub(r"[\s-]+", "_", name.strip().casefold())
    return plain if plain in {*LONG, *OPTIONAL, "pair"} else name.strip()


def _require(path: Path, header: list[str], wanted: tuple[str, ...], long: bool) -> None:
    missing = [name for name in wanted if name not in header]
    if not missing:
        return
    names = ", ".join(repr(name) for name in missing)
    form = (
        f"the long form has the columns {', '.join(LONG)} (and may have {', '.join(OPTIONAL)})"
        if long
        else f"the long form has the columns {', '.join(LONG)}; the wide form has "
        f"{', '.join(WIDE)} and one column per task"
    )
    raise TableError(
        f"{path}: row 0 (line 1), column {missing[0]!r}: the table lacks {names}; it has "
        f"{', '.join(header)}; {form}"
    )


def _long(path: Path, header: list[str], lines: list[_Line]) -> tuple[pd.DataFrame, list[str]]:
    problems, rows = _Problems(path), []
    present = [name for name in OPTIONAL if name in header]
    for line in lines:
        row = _who(line, problems) | {"task": _text(line, "task", problems), "row": line.row}
        row["task"] = known_task(row["task"])
        row["seed"] = _whole(line, "seed", problems, least=0)
        row["score"] = _percent(line, "score", problems)
        for name in present:
            row[name] = _optional(line, name, problems)
        rows.append(row)
    problems.check()
    frame = pd.DataFrame(rows)
    if "temperature" not in frame:
        frame["temperature"] = 1.0
    frame["temperature"] = frame["temperature"].fillna(1.0)
    unknown = [name for name in header if name not in {*LONG, *OPTIONAL, "pair"}]
    return frame, [f"columns not used: {', '.join(unknown)}"] if unknown else []


def _wide(path: Path, header: list[str], lines: list[_Line]) -> tuple[pd.DataFrame, list[str]]:
    tasks = [name for name in header if name not in {*LONG, *OPTIONAL, "pair"}]
    if not tasks:
        raise TableError(
            f"{path}: row 0 (line 1): there is no column of scores beside {', '.join(header)}"
        )
    problems, rows = _Problems(path), []
    for line in lines:
        who = _who(line, problems)
        who["method"], temperature = _released_method(who["method"])
        who |= {"temperature": temperature, "row": line.row}
        who["seed"] = _whole(line, "seed", problems, least=0) if "seed" in header else 0
        for task in tasks:
            rows.append(who | {"task": known_task(task), "score": _percent(line, task, problems)})
    problems.check()
    return pd.DataFrame(rows), []


def _who(line: _Line, problems: _Problems) -> dict[str, Any]:
    """Teacher, student and method of a row; a checkpoint suffix of the paper's files is dropped."""
    method = _text(line, "method", problems)
    method = {"sft": SFT, "base": BASE, "basemodel": BASE}.get(method.casefold(), method)
    teacher = re.sub(r"_ckpt\d+$", "", line.cells["teacher"])
    teacher = "" if teacher.casefold() in {"-", "–", "none", "nan", "null"} else teacher
    if not teacher and method not in {SFT, BASE, ""}:
        problems.add(line, "teacher", f"is empty, but the method {method!r} must name its teacher")
    return {"teacher": teacher, "student": _text(line, "student", problems), "method": method}


def _released_method(name: str) -> tuple[str, float]:
    """Method and temperature from the paper's file names, such as ``student_RevKD_temp_2.0``.

    What those files call KD is token-level forward KL on the reference text; the paper prints it
    as SeqKD.
    """
    match = re.fullmatch(r"student_(.+?)_temp_([\d.]+)", name)
    if not match:
        return name, 1.0
    kind, temperature = match.group(1), float(match.group(2))
    if "base_teacher" in kind:
        return UNTUNED_TEACHER, temperature
    return {"KD": "SeqKD"}.get(kind, kind), temperature


def _text(line: _Line, column: str, problems: _Problems) -> str:
    value = line.cells[column]
    if not value:
        problems.add(line, column, "is empty; a name belongs here")
    return value


def _number(line: _Line, column: str, problems: _Problems) -> float:
    """The cell's number; NaN, and a mistake noted, where it holds none."""
    raw = line.cells[column]
    try:
        value = float(raw.replace("_", "?"))  # float() would read 4_5 as 45
    except ValueError:
        what = "is empty" if not raw else f"{raw!r} is not a number"
        problems.add(line, column, f"{what}; a number belongs here")
        return math.nan
    if not math.isfinite(value):
        problems.add(line, column, f"is {raw}; give a finite number or leave the row out")
        return math.nan
    return value


def _percent(line: _Line, column: str, problems: _Problems) -> float:
    value = _number(line, column, problems)
    if value < 0 or value > 100:
        problems.add(line, column, f"{value:g} is out of [0, 100]; scores are percent")
    return value


def _whole(line: _Line, column: str, problems: _Problems, least: int) -> int:
    value = _number(line, column, problems)
    if math.isnan(value):
        return least
    if value != int(value) or value < least:
        problems.add(line, column, f"{value:g} is not a whole number of at least {least}")
    return int(value)


def _optional(line: _Line, column: str, problems: _Problems) -> float:
    """A number of an optional column, NaN where the cell is empty."""
    if not line.cells[column]:
        return math.nan
    if column in _PERCENT:
        return _percent(line, column, problems)
    if column == "n":
        return float(_whole(line, column, problems, least=1))
    value = _number(line, column, problems)
    if value <= 0:
        problems.add(line, column, f"{value:g} must be greater than 0")
    return value


def _as_percent(frame: pd.DataFrame) -> list[str]:
    """Turn a table of fractions into percent, in place, and say so."""
    if frame["score"].max() > 1 or frame["score"].max() == 0:
        return []
    for name in _PERCENT:
        if name in frame and frame[name].max() <= 1:
            frame[name] = frame[name] * 100
    return ["no score exceeds 1: all were read as fractions and multiplied by 100"]


def _check_cells(path: Path, frame: pd.DataFrame, lines: list[_Line]) -> None:
    """No cell twice, and every method of a table that has baselines has its own."""
    problems, line = _Problems(path), {line.row: line for line in lines}
    first: dict[tuple[Any, ...], int] = {}
    for *cell, row in frame[[*_CELL, "row"]].itertuples(index=False, name=None):
        where = first.setdefault(tuple(cell), row)
        if where != row:
            who = " ".join(str(part) for part in cell if part != "")
            problems.add(line[row], "method", f"the cell ({who}) already stands in row {where}")
    problems.check()
    sft = frame[frame["method"] == SFT]
    if sft.empty:
        return
    have = set(sft[["teacher", "student", "task"]].itertuples(index=False, name=None))
    for name, group in frame[~frame["method"].isin([SFT, BASE])].groupby(
        ["teacher", "student", "method", "task"], sort=False
    ):
        teacher, student, method, task = name  # pyright: ignore[reportGeneralTypeIssues]
        if not {(teacher, student, task), ("", student, task)} & have:
            problems.add(
                line[int(group["row"].iloc[0])],
                "student",
                f"{method} of {student} on {task} has no SFT baseline; add the row with method "
                f"SFT, student {student}, task {task}, or leave this method out",
            )
    problems.check()


def with_average(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a row ``average`` per run: as given, else the mean over the run's tasks.

    The mean is taken only over runs that have every task, so that averages are comparable.
    """
    if AVERAGE in set(frame["task"]) or frame["task"].nunique() < 2:
        return frame
    run = ["teacher", "student", "method", "temperature", "seed"]
    present: dict[str, Callable[[pd.Series], Any] | str] = {
        name: "mean" for name in (*_PERCENT, "student_size") if name in frame
    }
    complete = (
        frame.groupby(run, sort=False)["task"].transform("nunique") == frame["task"].nunique()
    )
    means = frame[complete].groupby(run, sort=False).agg(present).reset_index()
    return pd.concat([frame, means.assign(task=AVERAGE)], ignore_index=True)
