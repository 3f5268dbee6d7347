import json
import re
from datetime import UTC, datetime

import pytest

from kdscope import tables
from kdscope.data.records import Item
from kdscope.errors import DataError
from kdscope.evaluation.exporters import export_lm_eval, lm_eval_samples
from kdscope.evaluation.grading import grade
from kdscope.evaluation.importers import import_predictions
from kdscope.evaluation.inspect_logs import export_inspect


def jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def plain(task="gsm8k", item="0", text="The answer is 18.", gold="18", **more):
    return {"task": task, "item": item, "text": text, "gold": gold, **more}


def test_plain_json_lines(tmp_path):
    path = jsonl(
        tmp_path / "student-a.jsonl",
        plain(question="How many?", prompt="P"),
        plain(item=1, text="I think 7", gold="She has 5 + 3 = 8.\n#### 8"),
        plain(item=1, text="", gold="8", sample=1),
        plain("AQuA", "x", "The answer is (C).", "C"),
        plain("ARC-Easy", "x", "the correct answer is answer2", "answer2"),
        plain("boolq", "x", "the correct answer is true", "false"),
        plain("dollyEval", "x", "a cat", "a cat"),
    )
    rows, items, _ = import_predictions(path)
    assert {row["model"] for row in rows} == {"student-a"}
    assert [row["task"] for row in rows] == ["gsm8k"] * 3 + ["aqua", "arc-e", "boolq", "dollyeval"]
    assert [row["correct"] for row in rows] == [True, False, False, True, True, False, None]
    assert [row["valid"] for row in rows] == [True, True, False, True, True, True, True]
    assert [row["sample"] for row in rows[:3]] == [0, 0, 1]
    assert [row["answer_flexible"] for row in rows[:3]] == ["18", "7", None]
    assert rows[-1]["score"] == 1.0
    assert rows[0]["prompt_hash"]
    assert rows[1]["prompt_hash"] is None
    assert items[0] == Item("gsm8k", "0", "How many?", "18", "number")
    assert items[1].gold == "8"
    table = tables.from_rows("generations", rows)
    assert table.num_rows == 7


def test_tasks_outside_the_catalogue_get_the_form_of_their_golds(tmp_path):
    path = jsonl(
        tmp_path / "a.jsonl",
        plain("my-sums", "0", "It is 4", "4.0"),
        plain("my-choice", "0", "Answer: (G)", "G"),
        plain("my-choice", "1", "Answer: B", "b"),
        plain("my-words", "0", "the correct answer is ending3", "ending3"),
        plain("my-texts", "0", "some text", "some 5"),
    )
    rows, items, _ = import_predictions(path)
    assert [item.form for item in items] == ["number", "letter", "letter", "word", "text"]
    assert [row["correct"] for row in rows] == [True, True, True, True, None]


def test_a_gold_may_be_a_text_that_ends_in_the_answer(tmp_path):
    path = jsonl(
        tmp_path / "a.jsonl",
        plain("piqa", "0", "solution2", "the correct answer is solution2"),
        plain("aqua", "0", "(C)", "So it is 5. The answer is (C)."),
        plain("boolq", "0", "true", "the correct answer is true"),
        plain("svamp", "0", "4", "3 + 1 = 4"),
    )
    rows, items, _ = import_predictions(path)
    assert [item.gold for item in items] == ["solution2", "C", "true", "4"]
    assert all(row["correct"] for row in rows)


def lm_eval(doc_id, text, target, filter="strict-match", **more):
    return {
        "doc_id": doc_id,
        "doc": {"question": f"Q{doc_id}", "answer": target},
        "target": target,
        "arguments": {
            "gen_args_0": {"arg_0": f"Question: Q{doc_id}\nAnswer:", "arg_1": {"until": []}}
        },
        "resps": [[text]],
        "filtered_resps": ["18"],
        "filter": filter,
        "metrics": ["exact_match"],
        "doc_hash": "a",
        "prompt_hash": "b",
        "target_hash": "c",
        "exact_match": 1.0,
        **more,
    }


def test_lm_eval_samples(tmp_path):
    path = jsonl(
        tmp_path / "samples_gsm8k_cot_2026-01-01T00-00-00.123456.jsonl",
        lm_eval(0, "So 9*2=18.\n#### 18", "x\n#### 18"),
        lm_eval(1, "#### 17", "x\n#### 18"),
        lm_eval(0, "So 9*2=18.\n#### 18", "x\n#### 18", "flexible-extract"),
        lm_eval(1, "#### 17", "x\n#### 18", "flexible-extract"),
    )
    rows, items, _ = import_predictions(path, system="student")
    assert [(row["model"], row["task"], row["item"], row["correct"]) for row in rows] == [
        ("student", "gsm8k", "0", True),
        ("student", "gsm8k", "1", False),
    ]
    assert items[1].question == "Q1"
    assert import_predictions(path).generations[0]["model"] == path.stem


def test_lm_eval_samples_of_likelihoods(tmp_path):
    def scored(doc_id, values, target):
        return {
            "doc_id": doc_id,
            "doc": {"question": "Q"},
            "target": target,
            "arguments": [["ctx", f" option {place}"] for place in range(len(values))],
            "resps": [[[str(value), "False"]] for value in values],
            "filtered_resps": [[str(value), "False"] for value in values],
            "acc": 1.0,
        }

    path = jsonl(
        tmp_path / "samples_arc_easy_2026-01-01T00-00-00.jsonl",
        scored(0, [-3.0, -1.5, -9.0], 1),
        scored(1, [-3.0, -1.5, -9.0], "2"),
    )
    rows, items, _ = import_predictions(path)
    assert [(row["task"], row["answer_flexible"], row["correct"]) for row in rows] == [
        ("arc-e", "B", True),
        ("arc-e", "B", False),
    ]
    assert rows[0]["text"] == "option 1"
    assert items[1].gold == "C"


def test_inspect_logs(tmp_path):
    def sample(id, epoch, content, target, stop="stop"):
        message = {"role": "assistant", "content": content}
        choices = [{"message": message, "stop_reason": stop}]
        return {
            "id": id,
            "epoch": epoch,
            "target": target,
            "input": [{"role": "user", "content": "How many?"}],
            "messages": [message],
            "output": {"model": "m", "choices": choices},
            "scores": {"match": {"value": "C"}},
        }

    log = {
        "version": 2,
        "status": "success",
        "eval": {"task": "inspect_evals/gsm8k", "model": "m"},
        "samples": [
            sample("a", 1, "The answer is 18.", "18"),
            sample("a", 2, [{"type": "text", "text": "The answer is 1"}], ["18"], "max_tokens"),
        ],
    }
    path = tmp_path / "student.json"
    path.write_text(json.dumps(log))
    rows, items, _ = import_predictions(path)
    assert [
        (r["task"], r["item"], r["sample"], r["correct"], r["finish_reason"]) for r in rows
    ] == [
        ("gsm8k", "a", 0, True, "stop"),
        ("gsm8k", "a", 1, False, "length"),
    ]
    assert items == [Item("gsm8k", "a", "How many?", "18", "number")]
    packed = tmp_path / "student.eval"
    packed.write_bytes(b"PK")
    with pytest.raises(DataError, match="inspect log convert"):
        import_predictions(packed)


def test_prediction_tables_are_taken_as_they_are(tmp_path):
    rows = import_predictions(jsonl(tmp_path / "a.jsonl", plain())).generations
    tables.write("generations", rows, tmp_path / "b.parquet")
    again = import_predictions(tmp_path / "b.parquet").generations
    assert [row["model"] for row in again] == ["a"]
    assert again[0]["correct"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([plain(), plain()], r"a\.jsonl:2: item 0 of gsm8k is answered twice"),
        (
            [plain(), {"task": "gsm8k", "item": "1", "text": "x"}],
            r"a\.jsonl:2: .*'gold' is missing",
        ),
        ([plain(), plain(item="1", text=None)], r"a\.jsonl:2: .*'text' is missing"),
        ([plain(), plain(item="1", text=5)], "'text' must be text"),
        ([plain(sample=-1)], "'sample' must be a number from 0"),
        ([plain(gold="many")], "gold 'many' of gsm8k must be a number"),
        ([plain("aqua", gold="Z")], "must be one of A, B, C, D, E"),
        ([plain(), plain(sample=1, gold="19")], "one item has one gold"),
        ([{"a": 1}], "not a known form of predictions"),
        ([lm_eval(0, "a", None)], "without 'target'"),
    ],
)
def test_bad_predictions_are_named(tmp_path, records, message):
    path = jsonl(tmp_path / "a.jsonl", *records)
    with pytest.raises(DataError, match=message):
        import_predictions(path)


def test_export_and_import_are_inverse(tmp_path):
    items = [Item("gsm8k", str(i), f"Q{i}", str(i), "number") for i in range(3)]
    rows = [
        {
            "model": "me",
            "task": "gsm8k",
            "item": str(i),
            "sample": s,
            "text": text,
            **grade(text, items[i])._asdict(),
        }
        for i in range(3)
        for s, text in enumerate((f"The answer is {i}.", "The answer is 2."))
    ]
    path, results = export_lm_eval(rows, items, tmp_path / "out")
    assert path.name.startswith("samples_gsm8k_")
    assert results.name.startswith("results_")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["doc_id"], line["filter"]) for line in lines[:2]] == [
        (0, "strict-match"),
        (0, "flexible-extract"),
    ]
    assert lines[0]["resps"] == [["The answer is 0.", "The answer is 2."]]
    assert lines[0]["exact_match"] == 1.0
    again = import_predictions(path)
    assert again.items == items
    keys = (
        "task",
        "item",
        "sample",
        "text",
        "answer_strict",
        "answer_flexible",
        "correct",
        "score",
    )
    assert [[row[key] for key in keys] for row in again.generations] == [
        [row[key] for key in keys] for row in rows
    ]
    assert lm_eval_samples(rows, []) == {}


def test_inspect_export_and_import_are_inverse(tmp_path):
    items = [Item("gsm8k", str(i), f"Q{i}", str(i), "number") for i in range(3)]
    rows = [
        {
            "model": "me",
            "task": "gsm8k",
            "item": item.item,
            "sample": sample,
            "prompt_hash": None,
            "text": text,
            "finish_reason": "length" if sample else "stop",
            **grade(text, item)._asdict(),
        }
        for item in items
        for sample, text in enumerate((f"The answer is {item.item}.", "I do not know"))
    ]
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    (path,) = export_inspect(rows, items, tmp_path / "out", created=when)
    log = json.loads(path.read_text())
    assert re.fullmatch(r"2026-01-02T03-04-05\+00-00_gsm8k_[0-9a-f]{22}\.json", path.name)
    assert log["eval"]["created"] == "2026-01-02T03:04:05+00:00"
    assert log["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.5
    again = import_predictions(path)
    assert again.items == items
    keys = ("task", "item", "sample", "text", "answer_flexible", "correct", "finish_reason")
    assert [[row[key] for key in keys] for row in again.generations] == [
        [row[key] for key in keys] for row in rows
    ]
