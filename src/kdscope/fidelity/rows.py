"""The ``fidelity`` table: one row per item of a pair of systems."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdscope.errors import TableError
from kdscope.fidelity.agreement import AnswerBook, same
from kdscope.fidelity.overlap import over_items, partners
from kdscope.fidelity.reasoning import equation_f1

RELATIONS = ("teacher", "sft_student")
Row = Mapping[str, Any]

_SYSTEM = ("model", "teacher", "student", "method", "seed", "settings")


def fidelity_rows(
    reference_rows: Sequence[Row],
    system_rows: Sequence[Row],
    *,
    relation: str,
    forms: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Compare a system with its reference, item by item.

    Args:
        reference_rows: rows of the reference with the columns of ``generations``.
        system_rows: rows of the system; only sample 0 is
            used, and only items that both have.
        relation: what the reference is to the system: ``teacher`` or ``sft_student``.
        forms: task -> form of its answers; free-text tasks (``text``, ``verifiable``) have no
            agreement.

    Returns:
        Rows of the ``fidelity`` table in the order of the system's rows.

    Raises:
        TableError: an unknown relation, an item given twice, or no item in common.
    """
    if relation not in RELATIONS:
        raise TableError(
            f"relation {relation!r} does not exist; choose one of {', '.join(RELATIONS)}"
        )
    known = _by_item(reference_rows, "reference")
    mine = _by_item(system_rows, "system")
    keys = [key for key in mine if key in known]
    if not keys:
        raise TableError(
            f"the reference's {len(known)} items and the system's {len(mine)} have none in common, "
            "so nothing can be compared: predict both on the same tasks with the same limit"
        )
    ours, theirs = [mine[key] for key in keys], [known[key] for key in keys]
    rows = [
        _answers(theirs[i], ours[i], relation, agree)
        for i, agree in enumerate(_agreements(theirs, ours, forms or {}))
    ]
    _add_texts(rows, theirs, ours)
    return rows


def _by_item(rows: Sequence[Row], side: str) -> dict[tuple[str, str], Row]:
    """Sample 0 by (task, item)."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.get("sample") not in (0, None):
            continue
        key = (row["task"], row["item"])
        if key in found:
            raise TableError(
                f"the {side} answers item {key[1]!r} of {key[0]} twice in sample 0; "
                "give one run (one model and seed) at a time"
            )
        found[key] = row
    return found


def _agreements(
    theirs: Sequence[Row], ours: Sequence[Row], forms: Mapping[str, str]
) -> list[bool | None]:
    """Whether the answers agree; None where neither is valid or the task has no single answer."""
    book = AnswerBook()
    reference = book.read([_answer(row) for row in theirs])
    other = book.read([_answer(row) for row in ours])
    counted = reference.valid | other.valid
    closed = [forms.get(row["task"]) not in ("text", "verifiable") for row in ours]
    flags = zip(same(reference, other), counted, closed, strict=True)
    return [bool(flag) if count and one else None for flag, count, one in flags]


def _answer(row: Row) -> str | None:
    """The flexible answer, None if it is not valid."""
    return row.get("answer_flexible") if row.get("valid") is not False else None


def _answers(theirs: Row, ours: Row, relation: str, agree: bool | None) -> dict[str, Any]:
    return {
        "reference": theirs["model"],
        "relation": relation,
        **{name: ours.get(name) for name in _SYSTEM},
        "task": ours["task"],
        "item": ours["item"],
        "agree": agree,
        "reference_valid": theirs.get("valid"),
        "valid": ours.get("valid"),
        "reference_correct": theirs.get("correct"),
        "correct": ours.get("correct"),
    }


def _add_texts(rows: list[dict[str, Any]], theirs: Sequence[Row], ours: Sequence[Row]) -> None:
    """Add the overlaps of the texts to the rows."""
    partner = partners([row["task"] for row in theirs], [row["item"] for row in theirs])
    for row, reference, own in zip(rows, theirs, ours, strict=True):
        row["equation_f1"] = equation_f1(reference.get("text"), own.get("text"))
    texts = [row.get("text") for row in theirs]
    for found in over_items(texts, [[row.get("text") for row in ours]], partner):
        for suffix, value in (("", found.overlap[0]), ("_floor", found.floor[0])):
            for name in ("bleu", "chrf", "rouge_l"):
                scale = 1 if name == "rouge_l" else 100  # the table holds fractions
                rows[found.place][name + suffix] = value and getattr(value, name) / scale
