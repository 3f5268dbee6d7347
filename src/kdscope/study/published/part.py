"""A part of a study: the small tables that one run left, and the record of how they came about."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from kdscope import tables
from kdscope.errors import StoreError, TableError

RECORD = "part.yaml"
SOLUTIONS = "solutions.json"
LIMIT = 3 * 2**20  # bytes of a part, and of a page: a repository keeps them for good
NAMES = tuple(name for name in tables.SCHEMAS if name != "comparisons")  # those are made anew


@dataclass(frozen=True)
class Part:
    """A part as it lies in the repository.

    Attributes:
        name: of its folder.
        record: resolved study, command, machine, versions, dates, seconds, checksums.
        tables: by name; a table that the run did not have is absent.
        solutions: (task, item) -> a right solution, by which questions are grouped.
    """

    name: str
    record: Mapping[str, Any]
    tables: Mapping[str, pa.Table]
    solutions: Mapping[tuple[str, str], str]

    @property
    def study(self) -> dict[str, Any]:
        """The resolved study that the part ran."""
        return self.record["study"]


def read_parts(folder: Path, wanted: list[str] | None = None) -> list[Part]:
    """The parts of a study, in the order of their names.

    Args:
        folder: ``docs/studies/parts/<study>``.
        wanted: parts that must be there, such as those of the page that is to be replaced.

    Raises:
        StoreError: there is no part, a wanted one is missing, or one is damaged.
        TableError: a table has other columns than the schema.
    """
    found = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
    if not found:
        raise StoreError(
            f"{folder} holds no part of a study, so there is nothing to publish: keep one first "
            "(`publish_study.py keep RUN PART STUDY`)"
        )
    lost = [name for name in wanted or () if name not in found]
    if lost:
        raise StoreError(
            f"{folder} lacks the part {lost[0]!r}, which the published page rests on (here: "
            f"{', '.join(found)}). Bring it back; to publish without it, remove it from published.yaml "
            "beside the page."
        )
    return [read_part(folder / name) for name in found]


def read_part(folder: Path) -> Part:
    """One part, checked against its record.

    Raises:
        StoreError: record or table is missing, or a file is not the one that was kept.
        TableError: a table has other columns than the schema.
    """
    try:
        record = yaml.safe_load((folder / RECORD).read_text(encoding="utf-8"))
        files = dict(record["files"])
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise StoreError(f"{folder / RECORD} is not readable as a part's record: {error}") from None
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file():
            raise StoreError(
                f"the part {folder} lacks its file {name}; bring it back or keep it anew"
            )
        if path.suffix == ".parquet":
            check_columns(path)
        if checksum(path) != wanted:
            raise StoreError(
                f"{path} is not the file that was kept (its checksum differs), so its numbers have "
                "no record; bring the old one back or keep the part anew"
            )
    read = {
        name: tables.read(name, folder / f"{name}.parquet")
        for name in NAMES
        if f"{name}.parquet" in files
    }
    return Part(folder.name, record, read, dict(_solutions(folder / SOLUTIONS)))


def check_columns(path: Path) -> None:
    """Raise TableError unless a file has exactly the columns of the table that it is named after."""
    wanted, found = tables.schema(path.stem).names, pq.read_schema(path).names
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        told = [f"lacks {name!r}" for name in missing] + [f"has also {name!r}" for name in unknown]
        raise TableError(
            f"{path} has not the columns of the table {path.stem!r}: it {', '.join(told)}. It was kept by "
            "another version of kdscope; keep the part anew from its run."
        )


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_solutions(path: Path, solutions: Mapping[tuple[str, str], str]) -> None:
    """Keep solutions as JSON, by task and item."""
    found: dict[str, dict[str, str]] = {}
    for (task, item), text in sorted(solutions.items()):
        found.setdefault(task, {})[item] = text
    path.write_text(json.dumps(found, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def _solutions(path: Path) -> Iterator[tuple[tuple[str, str], str]]:
    for task, items in json.loads(path.read_text(encoding="utf-8")).items():
        for item, text in items.items():
            yield (task, item), text


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two documents differ, as ``train.limit: 320 against 640``."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [
            line
            for key in dict.fromkeys([*one, *other])
            for line in differing(
                one.get(key), other.get(key), f"{path}.{key}" if path else str(key)
            )
        ]
    return [] if one == other else [f"{path}: {json.dumps(one)} against {json.dumps(other)}"]
