"""Pairs of systems whose relation is known: the measures tell them apart as their definitions promise.

The table of docs/fidelity.md is this one.
"""

import numpy as np
import pytest

from kdscope.fidelity.agreement import AnswerBook, measure

ITEMS = 20_000


def pairs():
    """Name -> (gold, teacher, student), open answers with 20 popular wrong ones."""
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 1000, ITEMS)

    def wrong():
        return 2000 + rng.integers(0, 20, ITEMS)

    def answers(right):
        return np.where(right, gold, wrong())

    teacher_right = rng.random(ITEMS) < 0.7
    teacher = answers(teacher_right)
    independent = answers(rng.random(ITEMS) < 0.6)
    copied = np.where(teacher_right, answers(rng.random(ITEMS) < 0.6 / 0.7), teacher)
    # 0.6 right in all: some of what the teacher has right, none of what it has wrong, same wrong answers.
    same_items = np.where(teacher_right, gold, wrong())
    other_items = answers(rng.random(ITEMS) < np.where(teacher_right, 4 / 7, 1.0))
    return {
        "independent errors": (gold, teacher, independent),
        "copied errors": (gold, teacher, copied),
        "same items right, own errors": (gold, teacher, same_items),
        "same accuracy, other items": (gold, teacher, other_items),
        "the teacher itself": (gold, teacher, teacher),
    }


NAMES = (
    "agreement", "expected_agreement", "kappa", "agreement_when_right", "agreement_when_wrong",
    "error_consistency", "direction",
)  # fmt: skip

EXPECTED = {
    "independent errors": (0.43, 0.42, 0.02, 0.60, 0.02, 0.00, 0.39),
    "copied errors": (0.90, 0.42, 0.83, 0.86, 1.00, 0.78, 0.00),
    "same items right, own errors": (0.72, 0.49, 0.44, 1.00, 0.05, 1.00, None),
    "same accuracy, other items": (0.40, 0.49, -0.18, 0.57, 0.00, -0.43, 0.50),
    "the teacher itself": (1.00, 0.49, 1.00, 1.00, 1.00, 1.00, None),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_table_of_the_docs(name):
    gold, *sides = pairs()[name]
    book = AnswerBook()
    reference, other = (book.read([str(a) for a in side], side == gold) for side in sides)
    for label, wanted in zip(NAMES, EXPECTED[name], strict=True):
        found = measure(label, reference, other)
        if wanted is None:
            assert np.isnan(found), label
        else:
            assert found == pytest.approx(wanted, abs=0.015), label


def test_the_docs_print_this_table():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "fidelity.md").read_text()
    for name, row in EXPECTED.items():
        cells = " | ".join("–" if x is None else f"{x:.2f}".replace("-", "−") for x in row)
        assert f"| {name} | {cells} |" in text
