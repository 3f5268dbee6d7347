"""The user's own data as tasks: every form, every file type, every mistake with its file and line."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdscope.data.own import own_items
from kdscope.data.sources import examples_of, items_of, load_items
from kdscope.data.tasks import task_of
from kdscope.errors import DataError
from kdscope.evaluation.grading import grade


def field(form="number", **own):
    filled = {"options": None, "max_new_tokens": 64, "statement": "the correct answer is {}"}
    return {"name": "mine", "identity": "sha256:0", "own": {"form": form, **filled, **own}}


def written(folder, records, name="mine.jsonl"):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return str(path)


def test_llm_adapters_form_keeps_its_solution(tmp_path):
    record = {"instruction": "Q 1?", "input": "C", "output": "So it is 5.", "answer": "5.0"}
    (item,) = own_items(field(), written(tmp_path, [record]))
    assert (item.task, item.item, item.question, item.input) == ("mine", "0", "Q 1?", "C")
    assert (item.gold, item.form, item.reference) == ("5", "number", "So it is 5.")


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet"])
def test_question_and_answer_columns_of_every_file_type(tmp_path, suffix):
    rows = [
        {"ask": "2+3?", "total": 5.0, "answer": 9.0},
        {"ask": "1/2?", "total": 0.5, "answer": 9.0},
    ]
    path = tmp_path / f"mine.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "csv":
        path.write_text("ask,total,answer\n2+3?,5.0,9\n1/2?,0.5,9\n")
    else:
        lines = map(json.dumps, rows)
        path.write_text("\n".join(lines) if suffix == "jsonl" else json.dumps(rows))
    columns = {"instruction": "ask", "answer": "total"}
    items = own_items(field(columns=columns), str(path))
    assert [(item.question, item.gold) for item in items] == [("2+3?", "5"), ("1/2?", "0.5")]
    assert own_items(field(columns=columns), str(path), limit=1) == items[:1]


@pytest.mark.parametrize(
    ("form", "record", "own", "gold", "options", "said"),
    [
        ("number", {"question": "Q", "answer": "2+3=5\n#### 1,005"}, {}, "1005", None, "It is 1005."),
        ("letter", {"question": "Q Answer Choices: (A) x (B) y", "answer": "b"}, {}, "B", ("A", "B"), "(B)"),
        ("letter", {"question": "Q", "answer": "D"}, {"options": ["A", "D"]}, "D", ("A", "D"), "Answer: D"),
        ("word", {"prompt": "Q", "label": "Not Good"}, {"options": ["good", "Not good"]}, "not good",
         ("good", "not good"), "I think it is not good."),
        ("word", {"prompt": "Q\n\nAnswer format: up/down", "label": "down"}, {}, "down", ("up", "down"), "down"),
        ("boolean", {"prompt": "Q", "target": True}, {}, "true", ("true", "false"), "yes"),
        ("boolean", {"prompt": "Q", "target": "No"}, {}, "false", ("true", "false"), "The answer is false."),
        ("text", {"prompt": "Q", "completion": "a word"}, {}, "a word", None, "a word"),
    ],
)  # fmt: skip
def test_every_form_is_read_and_graded(tmp_path, form, record, own, gold, options, said):
    (item,) = own_items(field(form, **own), written(tmp_path, [record]))
    assert (item.gold, item.options) == (gold, options)
    graded = grade(said, item)
    assert graded.valid
    assert graded.score == 1.0


def test_several_admissible_texts(tmp_path):
    (item,) = own_items(
        field("text"), written(tmp_path, [{"prompt": "Q", "answer": ["one", "two"]}])
    )
    assert item.gold == "one"
    assert grade("two", item).score == 1.0


@pytest.mark.parametrize(
    ("form", "record", "own", "message"),
    [
        ("number", {"prompt": "Q"}, {}, "without an answer"),
        ("number", {"prompt": " ", "answer": "1"}, {}, "'prompt' is empty"),
        ("number", {"answer": "1"}, {}, "without an instruction"),
        ("number", {"prompt": "Q", "answer": "five"}, {}, "'five' of mine must be a bare number.*'answer'"),
        ("word", {"prompt": "Q", "answer": "bad"}, {"options": ["up", "down"]}, "must be one of up, down"),
        ("word", {"prompt": "Q", "answer": "bad"}, {}, "has no options: give `options"),
        ("text", {"prompt": "Q", "answer": []}, {}, "list of answers is empty"),
        ("number", {"prompt": "Q", "answer": "1"}, {"columns": {"answer": "total"}},
         "names 'total', which is not there; the columns are prompt, answer"),
        ("number", {"prompt": "Q", "answer": "1"}, {"columns": {"output": "answer"}},
         "instruction, input, answer, reference and topic, not 'output'"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_line(tmp_path, form, record, own, message):
    good = {"prompt": "Q", "answer": "1" if form == "number" else "up", "total": "1"}
    path = written(tmp_path, [record] if "columns" in own or form == "word" else [good, record])
    with pytest.raises(DataError, match=message) as error:
        own_items(field(form, **own), path)
    if "not 'output'" not in message:
        assert str(error.value).startswith(f"{path}:")


def test_rows_of_a_csv_file_are_named_by_their_first_line(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('ask,total\n"two\nlines",5\n\n"three\nmore\nlines",none\n')
    with pytest.raises(DataError, match=rf"{path}:5: the answer 'none'"):
        own_items(field(columns={"instruction": "ask", "answer": "total"}), str(path))
    path.write_text("ask,ask\n1,2\n")
    with pytest.raises(DataError, match=rf"{path}:1: the column 'ask' stands twice"):
        own_items(field(), str(path))


def test_fields_of_steps_are_the_catalogues_or_the_users():
    assert items_of({"name": "tiny-math", "identity": ""}, limit=2) == load_items(
        "tiny-math", limit=2
    )
    assert task_of({"name": "gsm8k"}).form == "number"
    own = task_of(field("word", options=["Up", "down"], max_new_tokens=7))
    assert (own.id, own.options, own.chance, own.max_new_tokens) == ("mine", ("up", "down"), 0.5, 7)


def test_training_data_under_a_column_map_as_a_step_gets_it(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("ask,say\nQ,A\n")
    source = {"columns": {"instruction": "ask", "output": "say"}}
    (example,) = examples_of({"name": "mine", "source": source}, str(path))
    assert (example.id, example.instruction, example.output) == ("mine/0", "Q", "A")
