"""Prediction files of three forms as answers: plain JSON Lines, lm-eval samples, Inspect logs.

The form of a file is told by its content. Plain JSON Lines has one object per answer:
``{task, item, text, gold}`` and optionally ``sample``, ``prompt``, ``question``.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdscope.data.readers import Record, read_records, read_text
from kdscope.data.tasks import TASKS, find_task
from kdscope.errors import DataError


class Answer(NamedTuple):
    """One answer as another tool stored it, before grading."""

    where: str
    task: str
    item: str
    sample: int
    text: str
    gold: str
    prompt: str | None = None
    question: str = ""
    finish_reason: str | None = None
    choice: str | None = None  # the letter of the likeliest option, where options were scored
    logprobs: tuple[tuple[str, float], ...] = ()  # of each option, in nats, where they are known


def read_answers(path: Path, task: str | None = None) -> Iterator[Answer]:
    """The answers of a file, in its order.

    Args:
        path: ``.jsonl`` or ``.json`` of any of the three forms.
        task: the task of lm-eval samples whose file name does not tell it.

    Raises:
        DataError: the file has none of the forms, or a record lacks a field.
    """
    if not path.is_file():
        raise DataError(f"there is no prediction file at {path}")
    if path.suffix == ".eval":
        raise DataError(
            f"{path} is a packed Inspect log; write it as JSON first: "
            f"inspect log convert --to json --output-dir . {path.name}"
        )
    log = _inspect_log(path)
    if log is not None:
        yield from _of_inspect(path, log)
        return
    records = read_records(path)
    fields = records[0].fields
    if "doc_id" in fields and ("resps" in fields or "filtered_resps" in fields):
        yield from _of_lm_eval(path, records, task)
    elif {"task", "item", "text", "gold"} <= set(fields):
        yield from (_of_plain(record) for record in records)
    else:
        raise DataError(
            f"{records[0].where}: not a known form of predictions. Plain JSON Lines needs task, "
            f"item, text and gold; lm-eval samples have doc_id and resps; Inspect logs have eval "
            f"and samples. Found {', '.join(map(str, fields))}"
        )


# --- plain JSON Lines ---------------------------------------------------------------------------


def _of_plain(record: Record) -> Answer:
    fields = record.fields
    for name in ("task", "item", "text", "gold"):
        if fields.get(name) is None:
            raise DataError(
                f"{record.where}: an answer needs task, item, text and gold; {name!r} is missing"
            )
    if not isinstance(fields["text"], str):
        raise DataError(f"{record.where}: 'text' must be text, not {type(fields['text']).__name__}")
    sample = fields.get("sample") or 0
    if not str(sample).isdecimal():
        raise DataError(f"{record.where}: 'sample' must be a number from 0, not {sample!r}")
    return Answer(
        record.where,
        _task_id(str(fields["task"])),
        str(fields["item"]),
        int(sample),
        fields["text"],
        str(fields["gold"]),
        fields.get("prompt"),
        str(fields.get("question") or ""),
        logprobs=option_logprobs(fields, record.where),
    )


def _task_id(name: str) -> str:
    """A catalogue id in its own spelling; other names in lower case."""
    try:
        return find_task(name).id
    except DataError:
        return name.lower()


# --- lm-eval ------------------------------------------------------------------------------------

_SAMPLES_FILE = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d.:-]+)?$")


def _of_lm_eval(path: Path, records: Sequence[Record], task: str | None) -> Iterator[Answer]:
    """One answer per response; a document stands in the file once per filter and is taken once."""
    named = _SAMPLES_FILE.match(path.stem)
    task = task or (named["task"] if named else path.stem)
    seen = set()
    for record in records:
        fields = record.fields
        document = fields.get("doc_id")
        if document in seen:
            continue
        seen.add(document)
        if fields.get("target") is None:
            raise DataError(f"{record.where}: a sample without 'target' cannot be graded")
        known = {
            "where": record.where,
            "task": _lm_eval_task(str(fields.get("task_name") or task)),
            "item": str(document),
            "prompt": _lm_eval_prompt(fields.get("arguments")),
            "question": str((fields.get("doc") or {}).get("question") or ""),
        }
        scores = _likelihoods(fields.get("filtered_resps"))
        if scores:
            yield Answer(sample=0, **known, **_likeliest(record, scores))
            continue
        responses = fields.get("resps") or [fields.get("filtered_resps") or []]
        texts = responses[0] if isinstance(responses[0], list) else responses
        if not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(
                f"{record.where}: 'resps' holds neither texts nor likelihoods of options"
            )
        for sample, text in enumerate(texts):
            yield Answer(sample=sample, text=str(text), gold=str(fields["target"]), **known)


_GREEDY = {"['True']", "['False']", "[True]", "[False]"}


def _likelihoods(responses: Any) -> list[float]:
    """Log-likelihoods of options from ``[[value, greedy], ...]``; empty for texts."""
    pairs = responses if isinstance(responses, list) else []
    if not all(isinstance(pair, list) and str(pair[1:]) in _GREEDY for pair in pairs):
        return []
    return [float(value) for value, _ in pairs]


def _likeliest(record: Record, scores: list[float]) -> dict[str, Any]:
    """The likeliest option as a letter and its text, the gold option's letter, and all scores."""
    letters = "ABCDEFGHIJ"
    target = str(record.fields["target"])
    if not target.isdecimal() or int(target) >= len(scores) or len(scores) > len(letters):
        raise DataError(
            f"{record.where}: the target {target!r} must be the number of an option, below "
            f"{len(scores)}"
        )
    best = max(range(len(scores)), key=scores.__getitem__)
    text = _continuation(record.fields.get("arguments"), best)
    logprobs = tuple(zip(letters, scores, strict=False))
    return {
        "choice": letters[best], "gold": letters[int(target)], "text": text, "logprobs": logprobs,
    }  # fmt: skip


def option_logprobs(fields: Mapping[str, Any], where: str) -> tuple[tuple[str, float], ...]:
    """Log-probabilities of the options from a plain record's ``option_logprobs``, if it has them."""
    given = fields.get("option_logprobs") or {}
    try:
        return tuple((str(option), float(value)) for option, value in given.items())
    except (AttributeError, TypeError, ValueError):
        raise DataError(
            f"{where}: 'option_logprobs' must give each option its log-probability, as in "
            f'{{"A": -0.3, "B": -1.4}}, not {given!r}'
        ) from None


def _continuation(arguments: Any, place: int) -> str:
    try:
        if isinstance(arguments, dict):
            return str(arguments[f"gen_args_{place}"]["arg_1"]).strip()
        return str(arguments[place][1]).strip()
    except (KeyError, IndexError, TypeError):
        return ""


def _lm_eval_task(name: str) -> str:
    """``gsm8k_cot_zeroshot`` is ``gsm8k``: the longest catalogue id that the name begins with."""
    known = _task_id(name)
    if known in TASKS:
        return known
    parts = re.split(r"[_-]", name)
    heads = ("_".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((id for head in heads if (id := _task_id(head)) in TASKS), known)


def _lm_eval_prompt(arguments: Any) -> str | None:
    """The prompt in either spelling of the arguments: a list of pairs, or ``gen_args_0``."""
    try:
        first = arguments["gen_args_0"]["arg_0"] if isinstance(arguments, dict) else arguments[0][0]
    except (KeyError, IndexError, TypeError):
        return None
    return first if isinstance(first, str) else json.dumps(first)


# --- Inspect ------------------------------------------------------------------------------------


def _inspect_log(path: Path) -> dict[str, Any] | None:
    """The log as a document, if the file is one."""
    if path.suffix != ".json":
        return None
    try:
        log = json.loads(read_text(path))
    except json.JSONDecodeError:
        return None
    return log if isinstance(log, dict) and "eval" in log and "samples" in log else None


def _of_inspect(path: Path, log: dict[str, Any]) -> Iterator[Answer]:
    task = _lm_eval_task(str(log["eval"].get("task", path.stem)).rpartition("/")[2])
    for number, sample in enumerate(log["samples"] or [], start=1):
        where = f"{path}: sample {number}"
        target = sample.get("target")
        if target is None or "id" not in sample:
            raise DataError(f"{where}: an Inspect sample needs id and target")
        output = sample.get("output") or {}
        choice = (output.get("choices") or [{}])[0]
        text = output.get("completion")
        text = _content((choice.get("message") or {}).get("content")) if text is None else text
        asked = _content(sample.get("input"))
        yield Answer(
            where,
            task,
            str(sample["id"]),
            int(sample.get("epoch", 1)) - 1,
            text,
            str(target[0] if isinstance(target, list) else target),
            asked,
            asked,
            {"stop": "stop", "max_tokens": "length"}.get(str(choice.get("stop_reason"))),
        )


def _content(value: Any) -> str:
    """Text of a message: a string, or parts or messages that hold text."""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    return "\n".join(_content(part.get("text", part.get("content"))) for part in parts)
