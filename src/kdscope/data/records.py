"""The records that pass between rooms: a training example and a question of a task."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """One training example.

    Attributes:
        id: stable content-independent id within its data set, e.g. ``gsm8k-train/17``.
        instruction: what is asked.
        input: further context; empty where there is none.
        output: the reference response, without leading or trailing whitespace.
    """

    id: str
    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a task.

    Attributes:
        task: lower-case task id, e.g. ``gsm8k``.
        item: id within the task, stable across runs and limits.
        question: the instruction as the model sees it (inside the prompt template).
        gold: the bare gold answer: a number, a letter, an option word, or a reference text.
        form: number | letter | word | boolean | text | verifiable.
        options: the admissible answers of a choice, in order; None for open answers.
        input: further context of the question; empty where there is none.
        reference: a reference solution text, where the source has one.
        topic: what the question is about, where the source says so.
    """

    task: str
    item: str
    question: str
    gold: str
    form: str
    options: tuple[str, ...] | None = None
    input: str = ""
    reference: str | None = None
    topic: str | None = None
