"""The ``fidelity`` table: one row per item of a pair of systems."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdscope.errors import TableError
from kdscope.fidelity.agreement import AnswerBook, same
from kdscope.fidelity.equations import parse
from kdscope.fidelity.overlap import compare, over_items, partners, prepare
from kdscope.fidelity.reasoning import compare_steps, kind_of_error

RELATIONS = ("teacher", "sft_student")
Row = Mapping[str, Any]

_SYSTEM = ("model", "teacher", "student", "method", "seed", "settings")


def fidelity_rows(
    reference_rows: Sequence[Row],
    system_rows: Sequence[Row],
    *,
    relation: str,
    forms: Mapping[str, str] | None = None,
    solutions: Mapping[tuple[str, str], str] | None = None,
) -> list[dict[str, Any]]:
    """Compare a system with its reference, item by item.

    Args:
        reference_rows: rows of the reference with the columns of ``generations``.
        system_rows: rows of the system; only sample 0 is
            used, and only items that both have.
        relation: what the reference is to the system: ``teacher`` or ``sft_student``.
        forms: task -> form of its answers; free-text tasks (``text``, ``verifiable``) have no
            agreement.
        solutions: (task, item) -> a right solution text, by which errors are named where the
            reference is wrong itself.

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
    _add_steps(rows, theirs, ours, solutions or {})
    _add_second_samples(rows, theirs, reference_rows)
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
    texts = [row.get("text") for row in theirs]
    for found in over_items(texts, [[row.get("text") for row in ours]], partner):
        for suffix, value in (("", found.overlap[0]), ("_floor", found.floor[0])):
            for name in ("bleu", "chrf", "rouge_l"):
                scale = 1 if name == "rouge_l" else 100  # the table holds fractions
                rows[found.place][name + suffix] = value and getattr(value, name) / scale


def _add_steps(
    rows: list[dict[str, Any]],
    theirs: Sequence[Row],
    ours: Sequence[Row],
    solutions: Mapping[tuple[str, str], str],
) -> None:
    """Add what the equations of the texts share, and the kind of each error."""
    for row, reference, own in zip(rows, theirs, ours, strict=True):
        right, text = reference.get("text"), own.get("text")
        if right is None or text is None:
            continue
        mine = parse(text)
        found = compare_steps(parse(right), mine)
        row.update({name: getattr(found, name) for name in ("equation_f1", "value_f1", "order")})
        row["diverges"] = found.diverges if found.equation_f1 is not None else None
        row["steps"], row["valid_steps"] = len(mine), sum(equation.valid for equation in mine)
        solution = right if reference.get("correct") else solutions.get((own["task"], own["item"]))
        if own.get("correct") is False and solution is not None:
            row["error"] = kind_of_error(
                text,
                solution,
                valid=own.get("valid") is not False,
                finish_reason=own.get("finish_reason"),
            )


def _add_second_samples(
    rows: list[dict[str, Any]], theirs: Sequence[Row], reference_rows: Sequence[Row]
) -> None:
    """Add how much the reference's text has in common with its own second sample."""
    second = {
        (row["task"], row["item"]): row.get("text")
        for row in reference_rows
        if row.get("sample") == 1
    }
    for row, reference in zip(rows, theirs, strict=True):
        text, other = reference.get("text"), second.get((reference["task"], reference["item"]))
        if not text or not other:
            continue
        found = compare(prepare(other), prepare(text))
        row.update(
            {
                "bleu_second": found.bleu / 100,
                "chrf_second": found.chrf / 100,
                "rouge_l_second": found.rouge_l,
            }
        )
