"""Predictions in the form of lm-eval's ``--log_samples``: one JSON Lines file per task.

Each document stands there once per extractor, as lm-eval writes one line per filter.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdscope.data.forms import same_answer
from kdscope.data.records import Item

# lm-eval's name of a filter, and our column.
FILTERS = {"strict-match": "answer_strict", "flexible-extract": "answer_flexible"}


def lm_eval_samples(
    generations: Iterable[Mapping[str, Any]], items: Iterable[Item]
) -> dict[str, list[dict[str, Any]]]:
    """Samples by task, documents in the order of the items; several samples are several responses.

    Args:
        generations: rows of one system.
        items: the questions; rows of items that are not among them are left out.
    """
    answers: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in generations:
        answers[row["task"], row["item"]].append(row)
    samples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for item in items:
        rows = sorted(answers.get((item.task, item.item), []), key=lambda row: row["sample"])
        if rows:
            samples[item.task] += [_sample(item, rows, name) for name in FILTERS]
    return dict(samples)


def _sample(item: Item, rows: list[Mapping[str, Any]], name: str) -> dict[str, Any]:
    filtered = [row[FILTERS[name]] or "[invalid]" for row in rows]
    document = {"question": item.question, "input": item.input, "answer": item.gold}
    return {
        "doc_id": int(item.item) if item.item.isdecimal() else item.item,
        "doc": document,
        "target": item.gold,
        "arguments": {"gen_args_0": {"arg_0": item.question, "arg_1": {}}},
        "resps": [[row["text"] for row in rows]],
        "filtered_resps": filtered,
        "filter": name,
        "metrics": ["exact_match"],
        "doc_hash": _hash(json.dumps(document, sort_keys=True, ensure_ascii=False)),
        "prompt_hash": rows[0].get("prompt_hash") or _hash(item.question),
        "target_hash": _hash(item.gold),
        "exact_match": float(same_answer(rows[0][FILTERS[name]], item.gold, item.form)),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def export_lm_eval(
    generations: Iterable[Mapping[str, Any]], items: Iterable[Item], folder: Path
) -> list[Path]:
    """Write ``samples_<task>.jsonl`` for each task; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for task, samples in lm_eval_samples(generations, items).items():
        path = folder / f"samples_{task}.jsonl"
        lines = (json.dumps(sample, ensure_ascii=False) for sample in samples)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        paths.append(path)
    return paths
