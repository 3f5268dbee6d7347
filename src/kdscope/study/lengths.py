"""How long texts are, for the cost models alone: a plan reads no data.

Prompts were measured on the test sets with SmolLM2's tokenizer (template included), the embedded sets with
their own; answers of the others are assumed (``docs/cost.md``).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kdscope.data.tasks import task_of


class Length(NamedTuple):
    """Mean tokens of a prompt (template included) and of an answer."""

    prompt: float
    answer: float


BY_FORM = {
    "number": Length(95, 120),
    "letter": Length(120, 130),
    "word": Length(105, 9),
    "boolean": Length(70, 9),
    "text": Length(95, 100),
    "verifiable": Length(95, 300),
}
_EMBEDDED = {
    "tiny-train": Length(100, 42),
    "tiny-math": Length(100, 42),
    "tiny-long": Length(130, 71),
    "tiny-choice": Length(100, 16),
}
_CHOICE_SETS = ("commonsense15k", "commonsense170k", "arc-obqa-boolq", "arc-e-train", "arc-c-train",
                "obqa-train", "boolq-train")  # fmt: skip


def train_length(data: str) -> Length:
    """Lengths of a training set's examples; of a user's own file, those of word problems."""
    if data in _EMBEDDED:
        return _EMBEDDED[data]
    if data in _CHOICE_SETS:
        return BY_FORM["word"]
    return BY_FORM["text"] if data == "dolly" else BY_FORM["number"]


def task_length(task: Mapping[str, Any]) -> Length:
    """Lengths of the prompts and answers of a step's ``task`` field."""
    return _EMBEDDED.get(task["name"]) or BY_FORM[task_of(task).form]
