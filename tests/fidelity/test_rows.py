import pytest

from kdscope import tables
from kdscope.errors import TableError
from kdscope.fidelity.rows import fidelity_rows


def generation(item, answer, *, text=None, model="m", task="gsm8k", sample=0, correct=None):
    return {
        "model": model, "teacher": None, "student": "s", "method": "sft", "seed": 0, "settings": "{}",
        "task": task, "item": item, "sample": sample, "text": text or f"The answer is {answer}.",
        "answer_flexible": answer, "valid": answer is not None, "correct": correct,
    }  # fmt: skip


def test_rows_fit_the_table():
    teacher = [
        generation("1", "4", model="t"),
        generation("2", "5", model="t"),
        generation("3", None, model="t"),
    ]
    student = [
        generation("2", "5.0"),
        generation("1", "7"),
        generation("3", None),
        generation("9", "1"),
    ]
    rows = fidelity_rows(teacher, student, relation="teacher", forms={"gsm8k": "number"})
    assert [row["item"] for row in rows] == ["2", "1", "3"]
    assert [row["agree"] for row in rows] == [True, False, None]
    assert rows[0]["bleu"] is not None
    assert rows[0]["bleu_floor"] is not None
    assert rows[0]["reference"] == "t"
    assert tables.from_rows("fidelity", rows).num_rows == 3


def test_free_text_has_overlap_but_no_agreement():
    row = fidelity_rows(
        [generation("1", "a b")],
        [generation("1", "a b")],
        relation="sft_student",
        forms={"gsm8k": "text"},
    )[0]
    assert row["agree"] is None
    assert row["rouge_l"] == 1.0
    assert row["bleu_floor"] is None


def test_only_sample_zero_counts():
    rows = [generation("1", "4"), generation("1", "5", sample=1)]
    assert fidelity_rows(rows, rows, relation="teacher")[0]["agree"] is True


@pytest.mark.parametrize(
    ("reference", "system", "relation", "message"),
    [
        ([generation("1", "4")], [generation("2", "4")], "teacher", "none in common"),
        ([generation("1", "4")] * 2, [generation("1", "4")], "teacher", "twice"),
        ([generation("1", "4")], [generation("1", "4")], "friend", "friend"),
    ],
)
def test_what_cannot_be_compared_is_refused(reference, system, relation, message):
    with pytest.raises(TableError, match=message):
        fidelity_rows(reference, system, relation=relation)
