import numpy as np
import pytest

from kdscope.data.sources import load_items
from kdscope.fidelity import inheritance as room
from kdscope.fidelity import rewording
from kdscope.fidelity.agreement import flag_columns
from kdscope.fidelity.noise import (
    NOISE,
    cross_agreement,
    noise_columns,
    self_agreement,
    total_agreement,
)
from kdscope.fidelity.topics import topic_of, topics


def test_repeated_errors_by_group():
    agree = np.array([1, 0, 1, 1, 0, 0])
    teacher, student = np.array([0, 0, 1, 1, 0, 1]), np.array([0, 1, 1, 1, 0, 0])
    columns = flag_columns(agree, np.ones(6), teacher, student, chance=np.zeros(6))
    groups = {"first": np.arange(6) < 3, "second": np.arange(6) >= 3}
    sums = {k: v.sum() for k, v in room.group_columns(columns, groups).items()}

    def share(group, name):
        top, bottom = room.GROUPED[name]
        return sums[f"{group}\0{top}"] / sums[f"{group}\0{bottom}"]

    assert share("first", "teacher_errors") == pytest.approx(2 / 3)
    assert share("first", "repeated_errors") == 0.5
    assert share("second", "own_errors") == 0.5


def test_items_are_grouped_by_their_solution_and_length():
    groups = room.item_groups(
        ["How many?", "word " * 60, None], ["3 + 4 = 7.", "3 * 4 = 12. 12 - 2 = 10", None]
    )
    assert {name: list(np.flatnonzero(inside)) for name, inside in groups.items()} == {
        "operation: addition": [0],
        "operation: mixed": [1],
        "steps: 1 step": [0],
        "steps: 2-3 steps": [1],
        "length: long question": [1],
        "length: short question": [0, 2],
        "topic: school": [1],
    }


def test_items_are_described():
    one = room.describe("How many apples?", "3 + 4 = 7. 7 + 2 = 9.")
    assert one == ("addition", "2-3 steps", "short question", "food")
    two = room.describe("word " * 60, "3 * 4 = 12. 12 - 2 = 10")
    assert two == ("mixed", "2-3 steps", "long question", "school")
    assert room.describe("How many?") == ("unknown", "unknown", "short question", "unknown")


def test_the_topic_that_the_data_state_comes_before_the_questions_words():
    asked = "How many apples?"
    assert room.describe(asked, topic="botany").topic == "botany"
    groups = room.item_groups([asked] * 2, [None] * 2, ["botany", None])
    assert {name for name in groups if name.startswith("topic")} == {
        "topic: botany",
        "topic: food",
    }


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("Nina pays 3 dollars for a pen and sells it for 5 dollars. What is her profit?", "money"),
        ("A pen costs $3. How much are 4 pens?", "money"),  # a tie: money stands first
        ("A train needs 3 hours for 240 miles. What is its speed?", "travel"),
        ("A rectangle is 4 feet wide and 6 feet long. What is its area?", "measures"),
        ("Dan has 41 cherries and eats 2 cherries. How many cherries are left?", "food"),
        ("There are 7 birds in a tree, and 3 more birds come.", "nature"),
        ("A class has 12 pupils. Each pupil needs 3 notebooks.", "school"),
        ("The team scored 14 points in the first game and 9 in the second.", "play"),
        ("Hugo has 8 socks in a drawer and 5 shirts on the bed.", "home"),
        ("Eva is 3 years older than her brother. How old is her brother?", "people"),
        ("Which form of energy does the sun give to the earth? Answer1: light Answer2: sound", "science"),
        ("Ben worked 6 hours on Monday and 4 hours on Tuesday.", "time"),
        ("Which number is even? (A) 34 (B) 25", "numbers"),
        ("How much is 32 + 9?", "numbers"),
        ("Which of these is a fruit? (A) rake (B) plum (C) piano (D) camel", "food"),
        ("It is 7 days until the holiday. Lily has 56 magnets and finds 20 magnets. How many magnets?", "play"),
        ("What comes next?", None),
        ("", None),
    ],
)  # fmt: skip
def test_topics_by_words(question, topic):
    assert topic_of(question) == topic


def test_no_word_belongs_to_two_topics():
    words = [word for own in topics().values() for word in own]
    assert {word for word in words if words.count(word) > 1} == set()


def test_most_questions_of_the_catalogue_have_a_topic(data_folder):
    for task, least in (("gsm8k", 0.97), ("svamp", 0.95), ("arc-e", 0.93), ("tiny-choice", 0.97)):
        found = [topic_of(item.question) for item in load_items(task)]
        assert np.mean([topic is not None for topic in found]) > least, task


QUESTIONS = [
    "Dan has 5 apples and buys 3 more apples at the market. How many apples does Dan have?",
    "Dan has 9 apples and eats 2 apples at the market. How many apples does Dan have?",
    "A train travels between two cities in 4 hours without stopping anywhere.",
]


def test_rewordings_form_families():
    families = rewording.wording_families(QUESTIONS)
    assert families[0] == families[1] != families[2]
    found = rewording.find_families([*QUESTIONS, None], ["a"] * 4)
    assert found.items.tolist() == [0, 1]
    # The same question in another task is no rewording.
    assert rewording.find_families(QUESTIONS, ["a", "b", "a"]) is None


@pytest.mark.parametrize(("right", "share"), [([1, 1, 0], 1), ([1, 0, 0], 0), ([0, 0, 1], 1)])
def test_a_family_is_consistent_if_all_or_none_is_solved(right, share):
    families = rewording.find_families(QUESTIONS, ["a"] * 3)
    name = "consistency_under_rewording"
    assert rewording.consistency(families, right, name, resamples=10).estimate == share


def test_independent_answers_are_as_consistent_as_chance(data_folder):
    items = load_items("svamp", limit=600)
    families = rewording.find_families([i.question for i in items], [i.task for i in items])
    sizes = np.bincount(families.family)
    assert len(sizes) > 20
    assert sizes.max() < 40
    right = np.random.default_rng(0).random(600) < 0.7
    seen, chance = (
        rewording.consistency(families, right, name, resamples=200)
        for name in rewording.CONSISTENCY
    )
    assert seen.low < chance.estimate < seen.high
    assert chance.estimate == pytest.approx(0.58, abs=0.05)
    # A system that solves whole families or none.
    solved = np.zeros(600)
    solved[families.items] = families.family % 2
    found = rewording.consistency(families, solved, "consistency_under_rewording", resamples=200)
    assert found.estimate == 1


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
