"""Put the parts of a study together, and refuse what does not belong together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kdscope import tables
from kdscope.errors import StoreError, UserError
from kdscope.study.published.part import NAMES, Part, differing

# What a part may have of its own: which of the study's cells it ran. All else must be equal.
_CELLS = ("description", "seeds", "teachers", "students", "pairs", "ablations", "trackers")
_SHARED = ("methods", "identities.models", "identities.data", "identities.tasks")
_KEYS = {
    "steps": ("key", "started"),
    "curves": ("model",),
    "items": ("task", "item"),
    "contamination": ("train", "test"),
    "generations": ("model",),
    "choices": ("model",),
    "fidelity": ("model", "relation", "reference"),
    "distributions": ("model", "reference"),
}
_ANSWERS = ("generations", "choices")


@dataclass(frozen=True)
class Merged:
    """A study put together: its tables by name, the resolved study, and right solutions."""

    tables: dict[str, pa.Table]
    study: dict[str, Any]
    solutions: dict[tuple[str, str], str]


def merge(parts: Sequence[Part]) -> Merged:
    """All parts as one study.

    Rows that several parts hold alike are kept once. A teacher or an untuned model that two machines
    made, and that answers otherwise on each, stays beside the other as a second run of the same
    system, ``<model>@<part>``, and the students of that part stay with theirs.

    Raises:
        UserError: two parts have other settings, versions or questions, or hold the same student of
            the same seed with other results.
    """
    for part in parts[1:]:
        _check_settings(parts[0], part)
    taken: dict[str, str] = {}
    told_apart = [_told_apart(part, taken) for part in parts]
    merged = {name: _merged(name, told_apart) for name in NAMES}
    solutions = {key: text for part in parts for key, text in part.solutions.items()}
    return Merged(merged, _study(parts), solutions)


def _check_settings(one: Part, other: Part) -> None:
    apart = differing(_settings(one), _settings(other))
    for where in _SHARED:
        mine, theirs = _at(one.study, where), _at(other.study, where)
        for name in [name for name in mine if name in theirs]:
            apart += differing(mine[name], theirs[name], f"{where}.{name}")
    kinds = one.record["kinds"], other.record["kinds"]
    for kind in [kind for kind in kinds[0] if kind in kinds[1] and kind not in ("stats", "report")]:
        apart += differing(kinds[0][kind], kinds[1][kind], f"version of {kind}")
    if apart:
        raise UserError(
            f"the parts {one.name!r} and {other.name!r} are not of one study: {'; '.join(apart[:5])}. "
            "Numbers over both would mix the two; run one of them again as the other was run."
        )
    asked = [set(_keys(part.tables["items"], _KEYS["items"])) for part in (one, other)]
    if asked[0] != asked[1]:
        found = sorted(asked[0] ^ asked[1])[0]
        raise UserError(
            f"the parts {one.name!r} and {other.name!r} asked other questions: {found[0]} {found[1]} is in "
            "one of them only. Differences are paired by question, so both must ask the same."
        )


def _settings(part: Part) -> dict[str, Any]:
    left_out = {*_CELLS, *(where.partition(".")[0] for where in _SHARED)}
    return {name: value for name, value in part.study.items() if name not in left_out}


def _at(study: dict[str, Any], where: str) -> dict[str, Any]:
    found: Any = study
    for name in where.split("."):
        found = found.get(name) or {}
    return found


# -- the same system twice -------------------------------------------------------------------------


def _told_apart(part: Part, taken: dict[str, str]) -> Part:
    """The part with its own name on each model that an earlier part has with other answers."""
    names = {}
    for model, (marks, trained) in _systems(part).items():
        if taken.setdefault(model, marks) == marks:
            continue
        if trained:
            raise UserError(
                f"the part {part.name!r} and an earlier one both hold {model} with other answers: the same "
                "seed twice. Run this part with other seeds (seeds=[...]), or continue the run that has "
                "this student (the same folder) and keep that in place of both."
            )
        names[model] = f"{model}@{part.name}"
    renamed = {name: _renamed(table, names) for name, table in part.tables.items()}
    return Part(part.name, part.record, renamed, part.solutions)


def _systems(part: Part) -> dict[str, tuple[str, bool]]:
    """A mark of every system's answers, and whether it is a student that the study trained."""
    found: dict[str, tuple[str, bool]] = {}
    for name in _ANSWERS:
        if name not in part.tables:
            continue
        for (model,), rows in _grouped(part.tables[name], ("model",)):
            trained = rows["student"][0].is_valid and rows["method"][0].as_py() != "base"
            found[model] = (found.get(model, ("", False))[0] + _mark(rows), trained)
    return found


def _renamed(table: pa.Table, names: dict[str, str]) -> pa.Table:
    for column in ("model", "reference"):
        if names and column in table.column_names:
            new = [names.get(name, name) for name in table[column].to_pylist()]
            i = table.schema.get_field_index(column)
            table = table.set_column(i, column, pa.array(new, pa.string()))
    return table


# -- tables ----------------------------------------------------------------------------------------


def _merged(name: str, parts: Sequence[Part]) -> pa.Table:
    """One table of all parts: each group of rows once, in the order of the parts."""
    found: dict[tuple[Any, ...], tuple[str, str]] = {}
    kept = [tables.schema(name).empty_table()]
    for part in parts:
        if name not in part.tables:
            continue
        for key, rows in _grouped(part.tables[name], _KEYS[name]):
            first, mark = found.setdefault(key, (part.name, _mark(rows)))
            if first == part.name:
                kept.append(rows)
            elif mark != _mark(rows) and name not in ("steps", "curves"):
                raise StoreError(
                    f"the parts {first!r} and {part.name!r} disagree in the table {name!r} on "
                    f"{' '.join(map(str, key))}, though both have it. One of them must go, or be run again."
                )
    return pa.concat_tables(kept)


def _keys(table: pa.Table, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def _grouped(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[tuple[Any, ...], pa.Table]]:
    """Rows by the values of some columns, in the order in which these first appear."""
    places: dict[tuple[Any, ...], list[int]] = {}
    for i, key in enumerate(_keys(table, columns)):
        places.setdefault(key, []).append(i)
    for key, rows in places.items():
        yield key, table.take(pa.array(rows))


def _mark(rows: pa.Table) -> str:
    """A text that two groups share where every value of them is equal (NaN equals itself)."""
    return repr(rows.to_pydict())


# -- the study -------------------------------------------------------------------------------------


def _study(parts: Sequence[Part]) -> dict[str, Any]:
    """The resolved study that has the cells of all parts."""
    study = dict(parts[0].study)
    study["seeds"] = sorted({seed for part in parts for seed in part.study["seeds"]})
    for name in ("teachers", "students", "pairs"):
        study[name] = _union(part.study[name] for part in parts)
    study["methods"] = {k: v for part in parts for k, v in part.study["methods"].items()}
    study["ablations"] = {
        factor: _union(part.study["ablations"].get(factor) or [] for part in parts) or None
        for factor in dict.fromkeys(f for part in parts for f in part.study["ablations"])
    }
    study["identities"] = {
        kind: {k: v for part in parts for k, v in _at(part.study, f"identities.{kind}").items()}
        for kind in dict.fromkeys(kind for part in parts for kind in part.study["identities"])
    }
    return study


def _union(lists: Any) -> list[Any]:
    found: list[Any] = []
    for entry in (entry for entries in lists for entry in entries):
        if entry not in found:
            found.append(entry)
    return found
