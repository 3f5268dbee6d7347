"""Plain JSON Lines, one object per answer, where the gold answer may be absent."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from kdscope.data.records import Item
from kdscope.errors import DataError
from kdscope.evaluation.importers import choice_rows, graded
from kdscope.evaluation.prediction_files import Answer, option_logprobs
from kdscope.report.compare.tidy import extracted, name_items, task_id, tidy


def plain_records(path: Path) -> list[dict[str, Any]] | None:
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


def of_plain(
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
        parts.append(extracted(pd.DataFrame([answer._asdict() for answer in bare])))
        notes.append(f"{len(bare)} answers come without gold")
    if given:
        parts.append(tidy(pd.DataFrame(given)).rename(columns={"answer": "answer_flexible"}))
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
        task_id(str(record.get("task") or "task")),
        str(record["item"]),
        sample,
        str(record.get("text") or ""),
        str(record.get("gold") or ""),
        question=str(record.get("question") or ""),
        logprobs=option_logprobs(record, where),
    )
