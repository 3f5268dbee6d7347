"""Predictions in the form of lm-eval's output folder: samples of each task, and the results of all.

Each document stands in the samples once per extractor, as lm-eval writes one line per filter. Names and
fields are those of lm-eval's ``result_schema``, so that tools that read its folders read these.
"""

import hashlib
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kdscope.data.forms import same_answer
from kdscope.data.records import Item

# lm-eval's name of a filter, and our column.
FILTERS = {"strict-match": "answer_strict", "flexible-extract": "answer_flexible"}
_SCORED = {"none": "text"}  # free text has a score, not an answer
_FREE = ("text", "verifiable")
Sample = dict[str, Any]


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
            columns = _SCORED if item.form in _FREE else FILTERS
            samples[item.task] += [_sample(item, rows, *filter) for filter in columns.items()]
    return dict(samples)


def _sample(item: Item, rows: list[Mapping[str, Any]], name: str, column: str) -> Sample:
    document = {"question": item.question, "input": item.input, "answer": item.gold}
    if item.form in _FREE:
        metric, value = "score", float(rows[0]["score"])
    else:
        metric, value = "exact_match", float(same_answer(rows[0][column], item.gold, item.form))
    return {
        "doc_id": int(item.item) if item.item.isdecimal() else item.item,
        "doc": document,
        "target": item.gold,
        "arguments": {"gen_args_0": {"arg_0": item.question, "arg_1": {}}},
        "resps": [[row["text"] for row in rows]],
        "filtered_resps": [row[column] or "[invalid]" for row in rows],
        "filter": name,
        "metrics": [metric],
        "doc_hash": _hash(json.dumps(document, sort_keys=True, ensure_ascii=False)),
        "prompt_hash": rows[0].get("prompt_hash") or _hash(item.question),
        "target_hash": _hash(item.gold),
        metric: value,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def lm_eval_results(
    samples: Mapping[str, Sequence[Sample]], model: str, folder: str, created: datetime
) -> dict[str, Any]:
    """The aggregated results of one system, as lm-eval's ``results_*.json`` has them.

    Means are over documents, by the first response; their standard error is lm-eval's (the sample's
    deviation over the root of n), ``"N/A"`` for one document.

    Args:
        samples: by task, of :func:`lm_eval_samples`.
        model: name of the system.
        folder: name of the folder that the results go to.
        created: when it was exported.
    """
    counts = {task: len({str(one["doc_id"]) for one in found}) for task, found in samples.items()}
    repeats = {task: len(found[0]["filtered_resps"]) for task, found in samples.items()}
    return {
        "results": {task: _metrics(task, found, counts[task]) for task, found in samples.items()},
        "group_subtasks": {task: [] for task in samples},
        "configs": {
            task: {
                "task": task, "output_type": "generate_until", "num_fewshot": 0,
                "repeats": repeats[task],
            }
            for task in samples
        },
        "versions": dict.fromkeys(samples, "kdscope"),
        "n-shot": dict.fromkeys(samples, 0),
        "higher_is_better": {
            task: dict.fromkeys(found[0]["metrics"], True) for task, found in samples.items()
        },
        "n-samples": {task: {"original": n, "effective": n} for task, n in counts.items()},
        "config": {"model": "kdscope", "model_args": {"pretrained": model}, "limit": None},
        "date": created.timestamp(),
        "model_source": "kdscope",
        "model_name": model,
        "model_name_sanitized": folder,
        "task_hashes": {
            task: _hash("".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in found))
            for task, found in samples.items()
        },
    }  # fmt: skip


def _metrics(task: str, samples: Sequence[Sample], documents: int) -> dict[str, Any]:
    found: dict[str, Any] = {"name": task, "alias": task, "sample_len": documents}
    metric = samples[0]["metrics"][0]
    for name in dict.fromkeys(sample["filter"] for sample in samples):
        values = [sample[metric] for sample in samples if sample["filter"] == name]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else "N/A"
        found[f"{metric},{name}"] = statistics.fmean(values)
        found[f"{metric}_stderr,{name}"] = error
    return found


def export_lm_eval(
    generations: Iterable[Mapping[str, Any]],
    items: Iterable[Item],
    folder: Path,
    *,
    created: datetime | None = None,
) -> list[Path]:
    """Write ``samples_<task>_<time>.jsonl`` for each task and ``results_<time>.json`` of all.

    Args:
        generations: rows of one system.
        items: the questions.
        folder: for this system alone.
        created: the time in the names; now where absent.

    Returns:
        The paths, the results last; none where no item was answered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    created = created or datetime.now(UTC)
    stamp = created.astimezone(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    rows = list(generations)
    found, paths = lm_eval_samples(rows, items), []
    for task, samples in found.items():
        path = folder / f"samples_{task}_{stamp}.jsonl"
        lines = (json.dumps(sample, ensure_ascii=False) for sample in samples)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        paths.append(path)
    if found:
        path = folder / f"results_{stamp}.json"
        results = lm_eval_results(found, str(rows[0]["model"]), folder.name, created)
        path.write_text(json.dumps(results, indent=2, ensure_ascii=False), encoding="utf-8")
        paths.append(path)
    return paths
