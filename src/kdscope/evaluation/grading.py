"""Grading: a generated text against an item's gold answer.

Invalid (no answer found by ``flexible``) is kept apart from wrong. Correctness is by ``flexible``;
free text is not right or wrong, its score is ROUGE-L as MiniLLM computes it.
"""

import json
from typing import NamedTuple

from kdscope.data.forms import same_answer
from kdscope.data.records import Item
from kdscope.evaluation.extraction import extract
from kdscope.evaluation.rouge import rouge_l

__all__ = ["Grade", "grade", "same_answer"]


class Grade(NamedTuple):
    """The graded columns of a ``generations`` row, under their names there.

    Attributes:
        answer_strict: answer in the agreed words, or None.
        answer_flexible: answer by any marker or the last admissible value, or None.
        answer_paper: answer as the paper's reference reads it, or None.
        valid: ``flexible`` found an answer.
        correct: that answer is the gold one; None for free text.
        score: 1.0 / 0.0 for right / wrong, ROUGE-L F in [0, 1] for free text.
    """

    answer_strict: str | None
    answer_flexible: str | None
    answer_paper: str | None
    valid: bool
    correct: bool | None
    score: float


def grade(text: str, item: Item) -> Grade:
    """Extract and compare one generated text."""
    strict, flexible, paper = extract(text, item)
    valid = flexible is not None
    if item.form == "text":
        references = json.loads(item.reference) if item.reference else [item.gold]
        score = max(rouge_l(flexible, reference) for reference in references) if flexible else 0.0
        return Grade(strict, flexible, paper, valid, None, score)
    if item.form == "verifiable":
        correct = flexible is not None and "0" not in flexible
    else:
        correct = same_answer(flexible, item.gold, item.form)
    return Grade(strict, flexible, paper, valid, correct, float(correct))
