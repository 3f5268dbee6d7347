import numpy as np
import pytest

from kdscope.data.sources import load_items
from kdscope.fidelity import inheritance as room
from kdscope.fidelity.noise import (
    NOISE,
    cross_agreement,
    noise_columns,
    self_agreement,
    total_agreement,
)


def test_repeated_errors_by_group():
    agree = [1, 0, 1, 1, 0, 0]
    teacher, student = [0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 0, 0]
    first, second = room.inherited_errors(agree, teacher, student, ["a", "a", "a", "b", "b", "b"])
    assert (first.group, first.items) == ("a", 3)
    assert first.teacher_wrong.estimate == pytest.approx(2 / 3)
    assert first.repeated.estimate == 0.5
    assert first.student_wrong.estimate == 0.5
    assert second.own_errors.estimate == 0.5
    assert second.repeated.low < second.repeated.high


def test_items_are_described():
    one = room.describe("How many apples?", "3 + 4 = 7. 7 + 2 = 9.")
    assert one == ("addition", "2-3 steps", "short question")
    assert room.describe("word " * 60, "3 * 4 = 12. 12 - 2 = 10")[0::2] == (
        "mixed",
        "long question",
    )
    assert room.describe("How many?")[:2] == ("unknown", "unknown")


def test_rewordings_form_families():
    questions = [
        "Dan has 5 apples and buys 3 more apples at the market. How many apples does Dan have?",
        "Dan has 9 apples and eats 2 apples at the market. How many apples does Dan have?",
        "A train travels between two cities in 4 hours without stopping anywhere.",
    ]
    families = room.wording_families(questions)
    assert families[0] == families[1] != families[2]
    assert room.consistency(families, [1, 1, 0]).estimate == 1
    assert room.consistency(families, [1, 0, 0]).estimate == 0
    assert np.isnan(room.consistency([1, 2], [1, 1]).estimate)


def test_svamp_has_families(data_folder):
    families = room.wording_families([item.question for item in load_items("svamp", limit=300)])
    sizes = np.bincount(families)
    assert np.sum(sizes > 1) > 20
    assert sizes.max() < 30


def test_examples_are_picked_by_rule():
    rows = [
        {"task": "t", "item": str(i), "rouge_l": score, "correct": right}
        for i, (score, right) in enumerate([(0.9, False), (0.5, False), (0.2, True), (0.8, True), (None, True)])
    ]  # fmt: skip
    picked = room.pick_examples(rows, count=1)
    assert [row["item"] for row in picked["wrong_and_faithful"]] == ["0"]
    assert [row["item"] for row in picked["right_and_free"]] == ["2"]


def test_self_agreement_by_hand():
    codes = np.array([[1, 1, 1], [1, 1, 2], [1, -1, -1], [3, -2, -2]])
    assert self_agreement(codes).tolist()[:3] == pytest.approx([1, 1 / 3, 0])
    assert np.isnan(self_agreement(codes)[3])
    assert cross_agreement(codes[:2], np.array([[1, 2], [1, 2]])).tolist() == pytest.approx(
        [0.5, 0.5]
    )
    assert total_agreement([["a", "b", None], ["a", "c", None]]) == pytest.approx(1 / 3)


def test_a_sampled_copy_reaches_its_ceiling():
    """Two samplers of the same distribution: agreement 0.5 or so, normalised 1."""
    rng = np.random.default_rng(0)
    favourite = rng.integers(0, 50, 3000)[:, None]

    def sample():
        return np.where(rng.random((3000, 4)) < 0.7, favourite, rng.integers(50, 1000, (3000, 4)))

    sums = {k: np.array([v.sum()]) for k, v in noise_columns(sample(), sample()).items()}
    found = {name: float(statistic(sums)) for name, statistic in NOISE.items()}
    assert found["agreement_over_samples"] == pytest.approx(0.49, abs=0.02)
    assert found["agreement_normalised"] == pytest.approx(1, abs=0.02)
