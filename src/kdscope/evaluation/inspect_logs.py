"""Predictions as Inspect logs: one JSON log a task, which ``inspect view`` and our importer open.

Written by hand from the format's published fields, so that Inspect need not be installed.
"""

import hashlib
import json
import re
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
            "eval_id": _short(model, task),
            "created": created,
            "task": task,
            "task_id": _short(task),
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


def _short(*parts: str) -> str:
    """A name of 22 letters, as Inspect's identifiers have, that depends on the parts alone."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:22]


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
    generations: Iterable[Mapping[str, Any]],
    items: Iterable[Item],
    folder: Path,
    *,
    created: datetime | None = None,
) -> list[Path]:
    """Write a log for each task of one system; returns the paths.

    They are named ``<time>_<task>_<id>.json``: Inspect's viewer lists no others.

    Args:
        generations: rows of one system.
        items: the questions.
        folder: for this system alone.
        created: the time in the names; now where absent.
    """
    created = (created or datetime.now(UTC)).astimezone(UTC)
    stamp = created.strftime("%Y-%m-%dT%H-%M-%S+00-00")
    folder.mkdir(parents=True, exist_ok=True)
    answers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in generations:
        answers[row["task"]].append(row)
    asked: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        asked[item.task][item.item] = item
    paths = []
    for task, rows in answers.items():
        model = str(rows[0]["model"])
        log = inspect_log(task, model, rows, asked[task], created.isoformat(timespec="seconds"))
        named = re.sub(r"[^A-Za-z0-9-]+", "-", task)  # "_" parts a name
        path = folder / f"{stamp}_{named}_{log['eval']['eval_id']}.json"
        path.write_text(json.dumps(log, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        paths.append(path)
    return paths
