"""Extraction on the stored rationales: what is read, and what the paper misreads."""

import re

import pytest

from kdscope.data.forms import canonical_number, same_answer
from kdscope.data.sources import load_items
from kdscope.evaluation.extraction import extract
from kdscope.evaluation.grading import grade

STATED = re.compile(r"answer is \$?(-?\d[\d,]*\.?\d*)")


def stated(items):
    """Items whose rationale says "answer is X", with the first number after these words."""
    for item in items:
        if found := STATED.findall(item.reference or ""):
            number = canonical_number(found[-1].rstrip(".,"))
            yield extract(item.reference, item), number


@pytest.mark.parametrize(
    ("task", "count", "misread"),
    [
        ("gsm8k", 1296, 17),
        ("svamp", 999, 12),
        ("multiarith", 600, 1),
        ("addsub", 395, 0),
        ("singleeq", 508, 0),
    ],
)
def test_numbers_that_rationales_state(data_folder, task, count, misread):
    read = list(stated(load_items(task)))
    assert len(read) == count
    flexible = sum(same_answer(answer.flexible, number, "number") for answer, number in read)
    paper = sum(not same_answer(answer.paper, number, "number") for answer, number in read)
    assert flexible / count >= 0.995
    assert paper == misread


def test_letters_that_rationales_state(data_folder):
    read = [
        (extract(item.reference, item), found[-1])
        for item in load_items("aqua")
        if (found := re.findall(r"answer is \(([A-E])\)", item.reference or ""))
    ]
    assert len(read) == 252
    assert sum(answer.flexible == letter for answer, letter in read) / 252 >= 0.99
    assert sum(answer.paper != letter for answer, letter in read) == 48


@pytest.mark.parametrize("task", ["winogrande", "arc-e", "arc-c", "obqa", "boolq", "piqa", "siqa"])
def test_reference_answers_of_choices_are_right(data_folder, task):
    for item in load_items(task):
        graded = grade(item.reference or "", item)
        assert graded.correct
        assert graded[:3] == (item.gold,) * 3
