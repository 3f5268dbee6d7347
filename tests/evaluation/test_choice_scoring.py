"""Options by likelihood: equal to reading prompt and statement whole, for every shape of options."""

import pytest
import torch

from kdscope.data.prompts import TEMPLATES
from kdscope.data.sources import load_items
from kdscope.errors import DataError
from kdscope.evaluation.choice_scoring import (
    Question,
    can_be_scored,
    choice_rows,
    score_options,
    statements,
)
from tests.tiny import random_model, tokenizer

QUESTIONS = [
    Question([5, 6, 7], [[8, 9, 10], [8, 9, 11]]),  # one token differs
    Question([12], [[8, 9, 10, 4], [8, 13], [8, 14, 15]]),  # tails of several lengths
    Question([5, 6, 7, 8, 9], [[20], [21, 22, 23, 24]]),  # nothing is shared
    Question([30, 31], [[7, 8], [7, 8, 9]]),  # one option begins another
]


def whole(model, question: Question, option: list[int]) -> float:
    ids = torch.tensor([[*question.prompt, *option]])
    with torch.no_grad():
        logits = model(ids).logits[0, :, : len(tokenizer())].log_softmax(-1)
    start = len(question.prompt) - 1
    return float(sum(logits[start + i, token] for i, token in enumerate(option)))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_scores_equal_a_full_reading(batch_size):
    model = random_model()
    found = score_options(model, tokenizer(), QUESTIONS, batch_size=batch_size)
    for question, scores in zip(QUESTIONS, found, strict=True):
        expected = [whole(model, question, option) for option in question.options]
        assert scores == pytest.approx(expected, abs=1e-4)


def test_rows_of_the_table():
    items = load_items("tiny-choice", limit=5)
    rows = choice_rows(
        random_model(), tokenizer(), items, TEMPLATES["clean"], {"model": "m"}, batch_size=2
    )
    assert [row["option"] for row in rows] == [o for item in items for o in item.options]
    assert sum(row["gold"] for row in rows) == 5
    said = "The answer is camel."
    assert statements(items[0])[0] == said
    assert rows[0]["logprob_per_byte"] == pytest.approx(rows[0]["logprob"] / len(said))


def test_a_statement_is_what_the_training_text_says(data_folder):
    for task in ("arc-e", "boolq", "piqa"):
        for item in load_items(task, limit=20):
            assert item.reference in statements(item)


def test_open_questions_cannot_be_scored():
    assert not can_be_scored(load_items("tiny-math", limit=3))
    assert can_be_scored(load_items("tiny-choice", limit=3))


def test_a_question_beyond_the_context_is_refused():
    with pytest.raises(DataError, match=r"1 of 2 questions .* context of 512"):
        score_options(
            random_model(), tokenizer(), [QUESTIONS[0], Question([1] * 511, [[2, 3], [4, 5]])]
        )
