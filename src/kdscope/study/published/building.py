"""From the parts of a study to its page and to the summaries of all that is published."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from kdscope import tables
from kdscope.errors import UserError
from kdscope.report import build
from kdscope.report.html import write_text
from kdscope.report.parts import count, listing
from kdscope.report.results import load
from kdscope.study.grid import cells
from kdscope.study.published.merging import Merged, merge
from kdscope.study.published.part import LIMIT, RECORD, Part, read_parts
from kdscope.study.published.summary import Published, write_summaries
from kdscope.study.resolve import load_study
from kdscope.study.source import preset_names
from kdscope.study.steps.stats import compared
from kdscope.study.training import cell_system

PUBLISHED = "published.yaml"


def build_study(name: str, root: Path) -> list[Path]:
    """Make ``docs/studies/<name>/index.html`` from the parts, and the summaries of every study.

    Args:
        name: of the study.
        root: of the repository.

    Raises:
        UserError: parts that do not belong together, a page that is too large, no markers.
        StoreError, TableError: a part is missing or damaged.
    """
    home = root / "docs" / "studies"
    folder = home / name
    parts = read_parts(home / "parts" / name, _before(folder / PUBLISHED))
    merged = merge(parts)
    with tempfile.TemporaryDirectory() as place:
        made = write_tables(merged, Path(place))
        commands = dict.fromkeys(part.record["command"] for part in parts)
        page = build(Path(place), merged.study, Path(place), command="; ".join(commands))
        _check_size(page)
        page = write_text(folder / page.name, page.read_text(encoding="utf-8"))
    tables.write("comparisons", made, folder / "comparisons.parquet")
    document = {
        "parts": [part.name for part in parts],
        "cells": _coverage(name, merged, parts),
        "chance": _chance(merged),
        "study": merged.study,
    }
    write_text(folder / PUBLISHED, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return [page, *write_summaries(root, published(root))]


def _check_size(page: Path) -> None:
    size = page.stat().st_size
    if size > LIMIT:
        raise UserError(
            f"the page has {size / 2**20:.1f} MiB, and {LIMIT / 2**20:.0f} are what a repository should "
            "carry; nothing was written. Publish fewer systems or training curves."
        )


def published(root: Path) -> list[Published]:
    """Every published study, in the order of their names."""
    home = root / "docs" / "studies"
    found = []
    for path in sorted(home.glob(f"*/{PUBLISHED}")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = path.parent.name
        records = {part: _record(home / "parts" / name / part) for part in document["parts"]}
        results = load(path.parent, document["study"])
        found.append(Published(name, results, records, document["cells"], document["chance"]))
    return found


def _record(part: Path) -> dict[str, Any]:
    return yaml.safe_load((part / RECORD).read_text(encoding="utf-8"))


def _before(path: Path) -> list[str]:
    """The parts that the page rested on so far."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else []


def write_tables(merged: Merged, out: Path) -> list[dict[str, Any]]:
    """All tables of the study, the statistics over all parts among them; returns these."""
    for name, table in merged.tables.items():
        tables.write(name, table, out / f"{name}.parquet")
    read = [merged.tables[name].to_pylist() for name in ("generations", "fidelity", "items")]
    read += [merged.tables["distributions"].to_pylist(), merged.tables["choices"]]
    rows = compared(tuple(read), merged.solutions, merged.study["statistics"])
    tables.write("comparisons", rows, out / "comparisons.parquet")
    return rows


def _coverage(name: str, merged: Merged, parts: Sequence[Part]) -> str:
    """How many of the preset's cells are here, and of which axes values are still to come."""
    if name not in preset_names():
        return ""
    grid, here = cells(load_study(name)), set(merged.tables["generations"]["model"].to_pylist())
    done = [cell for cell in grid if cell_system(cell)["model"] in here]
    axes = {
        "seed": lambda cell: [cell.seed],
        "student": lambda cell: [cell.student],
        "method": lambda cell: [cell.method],
        "ablation": lambda cell: [f"{k} {v}" for k, v in cell.apart.items()],
    }
    lacking = []
    for axis, values in axes.items():
        seen = {value for cell in done for value in values(cell)}
        every = dict.fromkeys(value for cell in grid for value in values(cell))
        missing = [str(value) for value in every if value not in seen]
        lacking += [f"{axis} {listing(missing)}"] if missing else []
    text = (
        f"{len(done)} of the preset's {count(len(grid), 'cell')}, from {count(len(parts), 'part')}."
    )
    return f"{text} Not run yet: {'; '.join(lacking)}." if lacking else text


def _chance(merged: Merged) -> float | None:
    """What guessing among the options would give, mean over tasks; None where a task has none."""
    found: dict[str, list[float]] = {}
    for item in merged.tables["items"].to_pylist():
        count_of_options = 2 if item["form"] == "boolean" else len(item["options"] or ())
        found.setdefault(item["task"], []).append(1 / count_of_options if count_of_options else 0.0)
    if not all(all(shares) for shares in found.values()):
        return None
    return sum(sum(shares) / len(shares) for shares in found.values()) / len(found)
