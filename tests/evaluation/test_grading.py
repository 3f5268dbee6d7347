import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from kdscope.data.records import Item
from kdscope.data.sources import load_items
from kdscope.evaluation.grading import Grade, grade
from kdscope.evaluation.rouge import rouge_l
from kdscope.tables import SCHEMAS

NUMBER = Item("gsm8k", "0", "q", "9.8", "number")


def test_right_wrong_and_invalid_are_three_things():
    assert grade("The answer is 9.80.", NUMBER) == Grade("9.8", "9.8", "9.8", True, True, 1.0)
    assert grade("The answer is 9.", NUMBER)[3:] == (True, False, 0.0)
    assert grade("no idea", NUMBER) == Grade(None, None, None, False, False, 0.0)


def test_a_grade_has_the_columns_of_its_table():
    assert set(Grade._fields) <= set(SCHEMAS["generations"])


def test_free_text_scores_the_best_reference():
    item = Item("sni", "0", "q", "cats", "text", reference=json.dumps(["cats", "the running dogs"]))
    graded = grade("The dogs run", item)
    assert graded.correct is None
    assert graded.score == pytest.approx(2 * 2 / 6)
    assert grade("", item) == Grade(None, None, None, False, None, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    *[
        st.lists(
            st.sampled_from(["the", "running", "runs", "dog", "dogs,", "5", "Cat"]), max_size=12
        )
    ]
    * 2
)
def test_rouge_l_is_that_of_rouge_score(ours, theirs):
    text, reference = " ".join(ours), " ".join(theirs)
    expected = RougeScorer(["rougeL"], use_stemmer=True).score(reference, text)["rougeL"].fmeasure
    assert rouge_l(text, reference) == pytest.approx(expected, abs=1e-12)


def test_rouge_l_on_real_references(data_folder):
    items = load_items("selfinst", limit=40)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    for one, other in pairwise(items):
        expected = scorer.score(one.gold, other.gold)["rougeL"].fmeasure
        assert rouge_l(other.gold, one.gold) == pytest.approx(expected, abs=1e-12)
        assert grade(one.gold, one).score == pytest.approx(1.0)
