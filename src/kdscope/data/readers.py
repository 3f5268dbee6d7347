"""Any data file as records that know their place: JSON, JSON Lines, CSV and Parquet.

A record that cannot be read is a DataError with file and line. Files in JSON keep the line on which
each record begins; rows of Parquet count from 1.
"""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from kdscope.errors import DataError

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")


class Record(NamedTuple):
    """One record: its fields and where it stands (``file:line``)."""

    where: str
    fields: dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """All records of a file, by its suffix.

    Raises:
        DataError: no such file, another suffix, invalid UTF-8, broken syntax, a record that is not
            an object, or no record at all; file and line are named.
    """
    if not path.is_file():
        raise DataError(f"there is no data file at {path}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: cannot read {suffix or 'a file without suffix'}; use {', '.join(SUFFIXES)}"
        )
    records = _PARSERS[suffix](path)
    if not records:
        raise DataError(f"{path} holds no records; a data set must have at least one")
    return records


def read_text(path: Path) -> str:
    """A file as text. Raises DataError with the line of the first byte that is not UTF-8."""
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} is not valid UTF-8; "
            "save the file as UTF-8, so that every reader sees the same text"
        ) from None


def _read_json(path: Path) -> list[Record]:
    text = read_text(path)
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] == "{":
        return _read_lines(path)  # JSON Lines under another suffix, or one pretty-printed object
    if text[start : start + 1] != "[":
        raise DataError(f"{path}:1: a JSON data file must be a list of objects (or JSON Lines)")
    return [_record(path, line, value) for line, value in _array(path, text, start + 1)]


def _array(path: Path, text: str, position: int) -> Iterator[tuple[int, Any]]:
    """The values of a JSON list with the line on which each begins."""
    decode, line, counted = json.JSONDecoder().raw_decode, 1, 0
    while True:
        position = _skip_blank(text, position)
        line, counted = line + text.count("\n", counted, position), position
        if text[position : position + 1] == "]":
            return
        try:
            value, position = decode(text, position)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from None
        yield line, value
        position = _skip_blank(text, position)
        if text[position : position + 1] not in {",", "]"}:
            at = text.count("\n", 0, position) + 1
            raise DataError(f"{path}:{at}: not valid JSON: a comma or ] is missing after a record")
        position += text[position] == ","


def _skip_blank(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _read_lines(path: Path) -> list[Record]:
    records = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not valid JSON: {error.msg}") from None
        records.append(_record(path, number, value))
    return records


def _record(path: Path, line: int, value: Any) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: a record must be an object, not {json.dumps(value)[:60]}")
    return Record(f"{path}:{line}", value)


def _read_csv(path: Path) -> list[Record]:
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    records = []
    try:
        names = next(rows, [])
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DataError(f"{path}:1: the column {twice[0]!r} stands twice in the header")
        start = rows.line_num + 1  # a row may go over several lines; it is named by its first
        for cells in rows:
            if cells and len(cells) != len(names):
                raise DataError(f"{path}:{start}: a row must have {len(names)} cells")
            if cells:
                records.append(Record(f"{path}:{start}", dict(zip(names, cells, strict=True))))
            start = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not valid CSV: {error}") from None
    return records


def _read_parquet(path: Path) -> list[Record]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from None
    return [Record(f"{path}:{number}", row) for number, row in enumerate(rows, start=1)]


_PARSERS = {
    ".json": _read_json,
    ".jsonl": _read_lines,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
