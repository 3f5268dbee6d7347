"""Each convention equals nltk's own function, on real rationales and at the edges."""

import math
import warnings

import pytest
from nltk.translate.bleu_score import sentence_bleu

from kdscope.data import load_items
from kdscope.fidelity.bleu_conventions import CONVENTIONS, measure_name, score

TOKENS = {"nltk": str.split, "nltk-bleu1": str.split, "nltk-characters": list}
WEIGHTS = {"nltk": (0.25,) * 4, "nltk-bleu1": (1,), "nltk-characters": (0.25,) * 4}


def nltks(other, reference, name):
    split = TOKENS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk warns where no 4-gram is shared
        return 100 * sentence_bleu([split(reference)], split(other), weights=WEIGHTS[name])


def test_the_conventions_are_these():
    assert set(CONVENTIONS) == set(TOKENS)
    assert measure_name("nltk-characters") == "bleu_nltk_characters"


@pytest.mark.parametrize("name", CONVENTIONS)
def test_they_equal_nltk_on_rationales(name, data_folder):
    texts = [item.reference for item in load_items("gsm8k", limit=60)]
    for one, other in zip(texts, texts[1:], strict=False):
        close = one.replace("the", "a", 1)
        for mine in (close, other, one):
            assert score(mine, one, name) == pytest.approx(nltks(mine, one, name), abs=1e-9)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize(
    ("other", "reference"),
    [
        ("a", "a"),
        ("a b", "a b c d e"),
        ("x y z", "a b c"),
        ("a a a a a", "a b"),
        ("日本 語", "日本 語 も"),
    ],
)
def test_they_equal_nltk_at_the_edges(name, other, reference):
    assert score(other, reference, name) == pytest.approx(nltks(other, reference, name), abs=1e-9)


def test_the_same_texts_score_100_and_absent_ones_nothing():
    for name in CONVENTIONS:
        assert score("one two three four five", "one two three four five", name) == pytest.approx(
            100
        )
        assert math.isnan(score(None, "a", name))
        assert math.isnan(score("a", " ", name))


def test_conventions_differ_on_one_pair_of_texts():
    """The reason to name them: the same two sentences."""
    teacher, student = "He needs 28 x 4 = 112 tiles .", "He needs 28 x 4 = 56 tiles ."
    found = {name: score(student, teacher, name) for name in CONVENTIONS}
    assert found["nltk-bleu1"] > found["nltk-characters"] > found["nltk"] > 50
