"""Predictions of any origin as ``generations`` rows.

Texts are graded by the extractor of their task, whatever the other tool made of them; a task that
the catalogue does not know gets the form that its gold answers have. The system's name is the
file's stem unless given.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdscope import tables
from kdscope.data.forms import canonical
from kdscope.data.records import Item
from kdscope.data.tasks import TASKS
from kdscope.errors import DataError
from kdscope.evaluation.extraction import extract
from kdscope.evaluation.grading import Grade, grade
from kdscope.evaluation.prediction_files import Answer, read_answers


class Imported(NamedTuple):
    """Graded answers and the items they answer.

    Attributes:
        generations: rows of the ``generations`` table, in the order of the file.
        items: the items by task and id, in the order of their first answer.
        choices: rows of the ``choices`` table, where the file has the options' log-probabilities.
    """

    generations: list[dict[str, Any]]
    items: list[Item]
    choices: Sequence[dict[str, Any]] = ()


def import_predictions(
    path: Path, *, system: str | None = None, task: str | None = None
) -> Imported:
    """Read and grade a file of predictions.

    Args:
        path: ``.jsonl`` or ``.json`` of any of the three forms, or ``.parquet`` in the form of the
            ``generations`` table (taken as it is; it brings no items).
        system: the name of what answered; the file's stem by default.
        task: the task of lm-eval samples whose file name does not tell it.

    Raises:
        DataError: a record lacks a field, an answer appears twice, a gold is not of its task's
            form, or the file has none of the known forms; file and line are named.
    """
    if path.suffix == ".parquet":
        return Imported(tables.read("generations", path).to_pylist(), [])
    answers = list(read_answers(path, task))
    _refuse_repeats(answers)
    return graded(answers, system or path.stem)


def graded(answers: Sequence[Answer], system: str) -> Imported:
    """Answers that were read already, graded."""
    items = _items(answers)
    rows = [_row(answer, items[answer.task, answer.item], system) for answer in answers]
    return Imported(rows, list(items.values()), choice_rows(answers, system))


def choice_rows(answers: Sequence[Answer], system: str) -> list[dict[str, Any]]:
    """Rows of the ``choices`` table of the answers that came with their options' log-probabilities.

    The first sample of an item counts.
    """
    seen: set[tuple[str, str]] = set()
    rows: list[dict[str, Any]] = []
    for answer in answers:
        if (answer.task, answer.item) in seen:
            continue
        seen.add((answer.task, answer.item))
        rows += [
            {
                "model": system, "task": answer.task, "item": answer.item, "option": option,
                "logprob": value, "gold": option == answer.gold.strip() if answer.gold else None,
            }
            for option, value in answer.logprobs
        ]  # fmt: skip
    return rows


def _refuse_repeats(answers: Sequence[Answer]) -> None:
    seen: dict[tuple[str, str, int], str] = {}
    for answer in answers:
        key = (answer.task, answer.item, answer.sample)
        if key in seen:
            raise DataError(
                f"{answer.where}: item {answer.item} of {answer.task} is answered twice (first at "
                f"{seen[key]}); give further answers to an item a `sample` number"
            )
        seen[key] = answer.where


# --- items and rows -----------------------------------------------------------------------------


def _items(answers: Sequence[Answer]) -> dict[tuple[str, str], Item]:
    by_task: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_task[answer.task].append(answer)
    shapes = {
        task: _shape(task, [a.gold.strip() for a in given], given[0].choice is not None)
        for task, given in by_task.items()
    }
    items: dict[tuple[str, str], Item] = {}
    for answer in answers:
        key = (answer.task, answer.item)
        item = _item(answer, *shapes[answer.task])
        if items.setdefault(key, item).gold != item.gold:
            raise DataError(
                f"{answer.where}: item {answer.item} of {answer.task} has the gold {item.gold!r}, "
                f"but {items[key].gold!r} before; one item has one gold answer"
            )
    return items


# Option words by what they begin with, for questions that are not here to list theirs.
_OPTION_WORDS = {
    "answer": tuple(f"answer{number}" for number in range(1, 6)),
    "solution": ("solution1", "solution2"),
    "option": ("option1", "option2"),
    "ending": tuple(f"ending{number}" for number in range(1, 5)),
}
_TRUTHS = ("true", "false")


def _shape(task: str, golds: Sequence[str], chosen: bool) -> tuple[str, tuple[str, ...] | None]:
    """The form of a task's answers and its options: the catalogue's, else as the golds are."""
    known = TASKS.get(task)
    form = "letter" if chosen else known.form if known else _form_of(golds)
    if form == "word":
        stem = re.search(rf"\b({'|'.join(_OPTION_WORDS)})\d", golds[0].lower())
        return form, _OPTION_WORDS[stem[1]] if stem else tuple(sorted(set(golds)))
    if form == "letter":
        if known and known.options:
            return form, known.options
        bare = {gold.strip("()").upper() for gold in golds}
        return form, tuple(sorted({*"ABCDE", *(gold for gold in bare if len(gold) == 1)}))
    return form, _TRUTHS if form == "boolean" else None


def _form_of(golds: Sequence[str]) -> str:
    if all(canonical(gold.rpartition("####")[2], "number") is not None for gold in golds):
        return "number"
    if all(re.fullmatch(r"\(?[A-Ja-j]\)?", gold) for gold in golds):
        return "letter"
    if all(gold.lower() in _TRUTHS for gold in golds):
        return "boolean"
    stems = "|".join(_OPTION_WORDS)
    worded = all(re.fullmatch(rf"(?:{stems})\d", gold.lower()) for gold in golds)
    return "word" if worded else "text"


def _item(answer: Answer, form: str, options: tuple[str, ...] | None) -> Item:
    """The item of an answer; its gold is the bare answer, or a text that ends in it."""
    blank = Item(answer.task, answer.item, answer.question, "", form, options)
    gold = canonical(answer.gold, form)
    if (options and gold not in options) or (gold is None and form == "number"):
        gold = extract(answer.gold, blank).flexible
    if gold is None:
        choices = f"one of {', '.join(options)}" if options else f"a {form}"
        raise DataError(
            f"{answer.where}: the gold {answer.gold!r} of {answer.task} must be {choices}, or a "
            "text that ends in it"
        )
    return Item(answer.task, answer.item, answer.question, gold, form, options)


def _row(answer: Answer, item: Item, system: str) -> dict[str, Any]:
    prompt = answer.prompt
    return {
        "model": system,
        "settings": "{}",
        "task": answer.task,
        "item": answer.item,
        "sample": answer.sample,
        "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest()[:16] if prompt else None,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        **_grade(answer, item)._asdict(),
    }


def _grade(answer: Answer, item: Item) -> Grade:
    """By the text, or by the option that had the highest likelihood."""
    if answer.choice is None:
        return grade(answer.text, item)
    correct = answer.choice == item.gold
    return Grade(answer.choice, answer.choice, answer.choice, True, correct, float(correct))
