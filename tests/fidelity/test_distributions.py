import pytest

from kdscope import tables
from kdscope.data.collation import Encoded
from kdscope.fidelity.distributions import PREFIXES, TokenComparison, distribution_rows
from tests.tiny import PROMPTS, random_model, tokenizer

WHO = {"reference": "t", "model": "s", "method": "fkl", "settings": "{}"}


def texts():
    encoded = [
        Encoded(f"tiny-math/{i}", tuple(ids[:3]), tuple(ids[3:]))
        for i, ids in enumerate(tokenizer()(list(PROMPTS))["input_ids"])
    ]
    return dict.fromkeys(PREFIXES, encoded)


def compare(student, teacher):
    one = tokenizer()
    comparison = TokenComparison(student, teacher, pad_id=one.pad_token_id, vocabulary=len(one))
    return list(distribution_rows(comparison, texts(), WHO))


def test_one_row_per_prefix_and_item_in_the_tables_form():
    rows = compare(random_model(0), random_model(1, width=48))
    assert tables.from_rows("distributions", rows).num_rows == 3 * len(PROMPTS)
    for row, example in zip(rows, texts()["reference"], strict=False):
        assert len(row["forward_kl"]) == len(row["topk"]) == len(example.response)
        assert (row["task"], row["item"]) == tuple(example.id.split("/"))
    assert max(rows[0]["forward_kl"]) > 0.01


def test_kl_of_a_model_with_itself_is_zero():
    for row in compare(random_model(0), random_model(0)):
        assert row["forward_kl"] == pytest.approx([0] * len(row["forward_kl"]), abs=1e-5)
        assert row["top1"] == [1] * len(row["top1"])
