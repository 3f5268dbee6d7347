"""The embedded world: right answers, fixed texts, no test question in training."""

import re

import pytest

from kdscope.data import synthetic


def test_every_equation_of_every_solution_is_true_and_the_last_one_is_the_answer():
    for task in ("tiny-math", "tiny-long"):
        for item in synthetic.tiny_items(task):
            reference = item.reference or ""
            equations = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", reference)
            for left, sign, right, result in equations:
                value = {
                    "+": int.__add__,
                    "-": int.__sub__,
                    "*": int.__mul__,
                    "/": int.__floordiv__,
                }[sign](int(left), int(right))
                assert value == int(result), reference
            work = reference.split("Check")[0]
            assert re.findall(r"= (\d+)", work)[-1] == item.gold
            assert reference.endswith(f"The answer is {item.gold}.")


def test_the_right_option_is_the_only_right_one():
    for item in synthetic.tiny_items("tiny-choice"):
        options = item.options or ()
        assert item.gold in options
        assert len(set(options)) == 4
        if "largest" in item.question:
            assert int(item.gold) == max(map(int, options))
        if " even" in item.question:
            assert [option for option in options if int(option) % 2 == 0] == [item.gold]


@pytest.mark.parametrize("task", synthetic.TEST_SIZES)
def test_test_sets_are_disjoint_from_training_and_without_duplicates(task):
    trained = {example.instruction for example in synthetic.tiny_examples()}
    questions = [item.question for item in synthetic.tiny_items(task)]
    assert len(questions) == synthetic.TEST_SIZES[task] >= 200
    assert len(set(questions)) == len(questions)
    assert not trained & set(questions)


def test_problems_vary_in_steps_wording_and_distractors():
    solutions = [example.output for example in synthetic.tiny_examples()]
    assert 0.1 < sum("Check" in s for s in solutions) / len(solutions) < 0.3
    wordings = {re.sub(r"\d+", "N", solution) for solution in solutions}
    assert len(wordings) > 0.6 * len(solutions)
    steps = [
        len(re.findall("=", item.reference or "")) for item in synthetic.tiny_items("tiny-long")
    ]
    assert min(steps) >= 4


def test_texts_are_fixed():
    """A change of any text must raise ``synthetic.VERSION``, since it is part of every content key."""
    assert synthetic.VERSION == 2
    assert synthetic.tiny_examples()[1].instruction.startswith("Nina has 5 envelopes.")
