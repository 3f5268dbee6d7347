"""Predictions as Inspect logs: one JSON log a task, which ``inspect view`` and our importer open.

Written by hand from the format's published fields, so that Inspect need not be installed.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdscope.data.records import Item

_STOP = {"stop": "stop", "length": "max_tokens", "run_on": "stop"}


def inspect_log(
    task: str,
    model: str,
    rows: Iterable[Mapping[str, Any]],
    items: Mapping[str, Item],
    created: str | None = None,
) -> dict[str, Any]:
    """One system's answers to one task as a log; several samples of an item are its epochs.

    Args:
        task: its id.
        model: name of the system.
        rows: rows of ``generations`` of that system and task.
        items: the task's questions by id; rows of other items are left out.
        created: ISO 8601; now where absent.
    """
    known = [row for row in rows if row["item"] in items]
    created = created or datetime.now(UTC).isoformat(timespec="seconds")
    graded = [row for row in known if row["correct"] is not None]
    right = sum(bool(row["correct"]) for row in graded)
    accuracy = {"name": "accuracy", "value": right / len(graded) if graded else 0.0, "params": {}}
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "created": created,
            "task": task,
            "dataset": {"name": task, "samples": len(items)},
            "model": model,
            "config": {"epochs": 1 + max((row["sample"] or 0 for row in known), default=0)},
        },
        "plan": {"name": "kdscope", "steps": [], "config": {}},
        "results": {
            "total_samples": len(known),
            "completed_samples": len(known),
            "scores": [
                {"name": "flexible", "scorer": "flexible", "metrics": {"accuracy": accuracy}}
            ],
        },
        "stats": {"started_at": created, "completed_at": created, "model_usage": {}},
        "samples": [_sample(row, items[row["item"]], model) for row in known],
    }


def _sample(row: Mapping[str, Any], item: Item, model: str) -> dict[str, Any]:
    asked = f"{item.question}\n{item.input}".strip()
    answer = {"role": "assistant", "content": row["text"] or "", "source": "generate"}
    stop = _STOP.get(row["finish_reason"], "unknown")
    score = {
        "value": "C" if row["correct"] else "I",
        "answer": row["answer_flexible"],
        "explanation": row["text"] or "",
    }
    return {
        "id": item.item,
        "epoch": (row["sample"] or 0) + 1,
        "input": asked,
        **({"choices": list(item.options)} if item.options else {}),
        "target": item.gold,
        "messages": [{"role": "user", "content": asked, "source": "input"}, answer],
        "output": {
            "model": model,
            "choices": [{"message": answer, "stop_reason": stop}],
            "completion": row["text"] or "",
        },
        "scores": {"flexible": score} if row["correct"] is not None else {},
        "metadata": {"prompt_hash": row["prompt_hash"]},
        "store": {},
        "events": [],
        "model_usage": {},
    }


def export_inspect(
    generations: Iterable[Mapping[str, Any]], items: Iterable[Item], folder: Path
) -> list[Path]:
    """Write ``<task>.json`` for each task of one system; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    answers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in generations:
        answers[row["task"]].append(row)
    asked: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        asked[item.task][item.item] = item
    paths = []
    for task, rows in answers.items():
        path = folder / f"{task}.json"
        log = inspect_log(task, str(rows[0]["model"]), rows, asked[task])
        path.write_text(json.dumps(log, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        paths.append(path)
    return paths
