import json

import numpy as np
import pytest

from kdscope.fidelity.equations import parse
from kdscope.fidelity.reasoning import (
    BY_ANSWER,
    ERRORS,
    by_answer_columns,
    compare_steps,
    kind_of_error,
)


@pytest.mark.parametrize(
    ("text", "equations"),
    [
        ("Natalia sold 48/2 = <<48/2=24>>24 clips in May.", ["(48/2)=24"]),
        ("She pays 3 x $4 = $12 and then 12 + 5 = 17.", ["(3*4)=12", "(12+5)=17"]),
        ("5 × 3 = 15", ["(3*5)=15"]),
        ("\\frac{6}{2} = 3 and 4 \\times 2 = 8", ["(6/2)=3", "(2*4)=8"]),
        ("20% of 50 = 10", ["(1:5*50)=10"]),
        ("3 apples * 4 dollars = 12 dollars", ["(3*4)=12"]),
        ("(3 + 4) * 2 = 14", ["((3+4)*2)=14"]),
        ("1,200 - 300 - 50 = 850", ["(1200-300-50)=850"]),
        ("So 10 minus 4 equals 6.", ["(10-4)=6"]),
        ("Total = 5 + 6 = 11", ["(5+6)=11"]),
        ("2 * 3 = 6 + 4 = 10", ["(2*3)=6", "(4+6)=10"]),
        ("x = 5", []),
        ("There are 5 in the 2nd row. 7 = 7", []),
        ("0.5 * 10 = 5.0", ["(10*1:2)=5"]),
        ("-3 + 5 = 2", ["(3+5)=2"]),
        ("8 / 0 = 0", ["(8/0)=0"]),
        ("12 * 4 + 8 * 2 = 48 + 16 = 64", ["((12*4)+(2*8))=64", "(16+48)=64"]),
        ("17 bags x $18/bag = $306", ["(17*18)=306"]),
        ("200(.60)=120", ["(200*3:5)=120"]),
        ("X*2 - $40 = $250 and 3x + 2x = 10", []),
        ("- 3 + 4 = 7", ["(3+4)=7"]),
        ("", []),
    ],
)
def test_equations_are_read(text, equations):
    found = [str(e) for e in parse(text)]
    if text.startswith("-3"):
        assert found in (["(-3+5)=2"], ["(3+5)=2"])
    else:
        assert found == equations


def test_gsm8k_annotations_are_found_in_the_plain_text(data_folder):
    """What the data set's authors marked as calculations is what is read from their prose."""
    lines = (data_folder / "gsm8k" / "train.jsonl").read_text().splitlines()[:400]
    texts = [json.loads(line)["answer"].split("####")[0] for line in lines]
    marked = found = shared = 0
    for text in texts:
        import re

        own = {str(e) for m in re.findall(r"<<([^<>]*)>>", text) for e in parse(m)}
        read = {str(e) for e in parse(text)}
        marked, found, shared = marked + len(own), found + len(read), shared + len(own & read)
    assert shared / marked > 0.8
    assert shared / found > 0.85
    right = [e.valid for text in texts for e in parse(text)]
    assert np.mean(right) > 0.95


@pytest.mark.parametrize(
    ("text", "valid"),
    [("28 * 4 = 56", False), ("7 * 8 = 56", True), ("100 / 3 = 33.33", True), ("7 / 2 = 4", False),
     ("100 / 3 = 33", True), ("1 / 3 = 0.34", False), ("8 / 0 = 8", False)],
)  # fmt: skip
def test_arithmetic_is_checked(text, valid):
    assert [equation.valid for equation in parse(text)] == [valid]


def test_order_and_first_divergence():
    one = parse("2 + 3 = 5. 5 * 2 = 10. 10 - 1 = 9.")
    turned = parse("5 * 2 = 10. 3 + 2 = 5. 10 - 1 = 9.")
    same, other, shorter = (
        compare_steps(one, one),
        compare_steps(one, turned),
        compare_steps(one, one[:2]),
    )
    assert same[:4] == (1.0, 1.0, 1.0, None)
    assert other.equation_f1 == 1.0
    assert other.order == pytest.approx(2 / 3)
    assert other.diverges == 1
    assert shorter.diverges == 3
    assert compare_steps([], []).equation_f1 is None
    assert compare_steps([], parse("2 + 2 = 4")).equation_f1 == 0.0


def test_the_step_error_that_bleu_calls_faithful():
    """The paper's Table 9, row 2: the same words around a wrong product."""
    teacher, student = "He needs 28 x 4 = 112 tiles.", "He needs 28 x 4 = 56 tiles."
    assert compare_steps(parse(teacher), parse(student)).equation_f1 == 0.0
    assert kind_of_error(student, teacher) == "arithmetic_slip"


def test_two_by_two_adds_up():
    f1, agree = [1, 0.9, 0.2, 0.0, np.nan, 1], [1, 0, 1, 0, 1, np.nan]
    sums = {k: np.array([v.sum()]) for k, v in by_answer_columns(f1, agree).items()}
    shares = {name: float(statistic(sums)) for name, statistic in BY_ANSWER.items()}
    assert sum(list(shares.values())[:4]) == pytest.approx(1)
    assert shares["same_reasoning_other_answer"] == 0.25
    assert shares["answer_given_same_steps"] == 0.5


RIGHT = "Each box holds 6 * 4 = 24 eggs. With 3 boxes that is 24 * 3 = 72. He keeps 72 - 12 = 60."

LABELLED = [
    ("6 * 4 = 24. 24 * 3 = 75. 75 - 12 = 63. The answer is 63", "arithmetic_slip"),
    ("6 * 4 = 28. 28 * 3 = 84. 84 - 12 = 72. The answer is 72", "arithmetic_slip"),
    ("6 * 4 = 24. 24 * 3 = 72. 72 - 12 = 50. The answer is 50", "arithmetic_slip"),
    ("6 + 4 = 10. 10 * 3 = 30. 30 - 12 = 18. The answer is 18", "wrong_operation"),
    ("6 * 4 = 24. 24 + 3 = 27. 27 - 12 = 15. The answer is 15", "wrong_operation"),
    ("6 * 4 = 24. 24 * 3 = 72. 72 + 12 = 84. The answer is 84", "wrong_operation"),
    ("6 * 4 = 24. 24 * 3 = 72. 12 - 72 = -60. The answer is -60", "wrong_operation"),
    ("6 * 5 = 30. 30 * 3 = 90. 90 - 12 = 78. The answer is 78", "wrong_quantity"),
    ("6 * 4 = 24. 24 * 2 = 48. 48 - 12 = 36. The answer is 36", "wrong_quantity"),
    ("6 * 4 = 24. 24 * 3 = 72. 72 - 10 = 62. The answer is 62", "wrong_quantity"),
    ("6 * 4 = 24. 24 * 3 = 72. The answer is 72", "missing_step"),
    ("6 * 4 = 24. The answer is 24", "missing_step"),
    ("24 * 3 = 72. The answer is 72", "missing_step"),
    ("I do not know.", "format"),
    ("6 * 4 = 24 eggs and so", "format"),
    ("6 * 4 = 24. The answer is 24\n\n### Instruction:\nHow many", "run_on"),
    ("The answer is 24\nQuestion: How many", "run_on"),
    ("The answer is 12", "other"),
    ("100 / 5 = 20. The answer is 20", "other"),
]


@pytest.mark.parametrize(("text", "kind"), LABELLED)
def test_errors_are_told_apart(text, kind):
    assert kind_of_error(text, RIGHT, valid=kind != "format") == kind
    assert kind in ERRORS


def test_every_kind_has_an_example():
    assert {kind for _, kind in LABELLED} == set(ERRORS)
