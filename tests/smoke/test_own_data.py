"""A study on the user's own files, end to end, and what runs again when one of them changes."""

import csv
import json
from pathlib import Path

import pytest

from kdscope import tables
from kdscope.data import load_examples, load_items
from tests.smoke.test_bad_input import refused
from tests.smoke.test_quickstart import kdscope

STUDY = """
name: own
teachers: [tiny-teacher]
students: [tiny-student-small]
teacher_adapted: false
train:
  data: {path: train.csv, columns: {instruction: ask, output: say}}
  epochs: 1
methods: {sft: {}, fkl: {}}
evaluate:
  choices: true
  distributions: 3
  tasks:
    - {name: bills, path: bills.csv, form: number, columns: {instruction: ask, answer: total}}
    - {name: sides, path: sides.jsonl, form: word, options: [left, right], statement: "It is {}."}
"""


def table(path: Path, header: list[str], rows: list[tuple]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "study.yaml").write_text(STUDY)
    examples = [(e.instruction, e.output) for e in load_examples("tiny-train", limit=24)]
    table(tmp_path / "train.csv", ["ask", "say"], examples)
    bills = [(item.question, item.gold) for item in load_items("tiny-math", limit=3)]
    bills.append((examples[0][0], "7"))  # stands in the training data
    table(tmp_path / "bills.csv", ["ask", "total"], bills)
    sides = [{"prompt": f"Which side is {side}?", "answer": side} for side in ("left", "right")]
    sides.append({"prompt": "Which side is left? " * 200, "answer": "left"})  # beyond the context
    (tmp_path / "sides.jsonl").write_text("\n".join(map(json.dumps, sides)))
    return tmp_path


def run(folder: Path) -> dict[str, set[str]]:
    """Run the study; the steps that stand under the run, by kind."""
    done = kdscope("run", folder / "study.yaml", "--out", folder / "run")
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, set[str]] = {}
    for manifest in (folder / "run" / "steps").glob("*/*/manifest.json"):
        found.setdefault(manifest.parent.parent.name, set()).add(manifest.parent.name)
    return found


def test_own_files_from_a_csv_to_the_report_and_again(folder):
    before = run(folder)
    out = folder / "run" / "tables"
    answers = tables.read("generations", out / "generations.parquet").to_pylist()
    assert {(row["task"], row["item"]) for row in answers} == {
        *(("bills", str(i)) for i in range(4)), *(("sides", str(i)) for i in range(3)),
    }  # fmt: skip
    unasked = [row for row in answers if row["finish_reason"] == "too_long"]
    assert {(row["task"], row["item"]) for row in unasked} == {("sides", "2")}
    assert not any(row["valid"] for row in unasked)
    items = tables.read("items", out / "items.parquet").to_pylist()
    assert [row["item"] for row in items if row["leaked"]] == ["3"]
    assert {tuple(row["options"]) for row in items if row["task"] == "sides"} == {("left", "right")}
    scored = tables.read("choices", out / "choices.parquet").to_pylist()
    assert {(row["item"], row["option"]) for row in scored} == {
        (item, option) for item in "01" for option in ("left", "right")
    }
    compared = tables.read("distributions", out / "distributions.parquet").to_pylist()
    assert ("sides", "2") not in {(row["task"], row["item"]) for row in compared}
    contamination = tables.read("contamination", out / "contamination.parquet").to_pylist()
    assert {row["train"] for row in contamination} == {"train.csv"}
    page = (folder / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "bills" in page
    assert f"{len(unasked)} of these answers were not asked for" in page

    text = (folder / "bills.csv").read_text(encoding="utf-8").replace(",7", ",8")
    (folder / "bills.csv").write_text(text, encoding="utf-8")
    after = run(folder)
    assert after["sft"] == before["sft"]
    assert after["distill"] == before["distill"]
    fresh = after["predict"] - before["predict"]
    assert fresh
    assert all("-bills-" in name for name in fresh), "the other task's answers are reused"
    items = tables.read("items", out / "items.parquet").to_pylist()
    assert [row["gold"] for row in items if row["item"] == "3"] == ["8"]


@pytest.mark.parametrize("verb", ["validate", "run"])
def test_a_malformed_own_file_is_refused_before_anything_is_run(folder, verb):
    (folder / "bills.csv").write_text("ask,sum\nHow much is 1 + 1?,2\n")
    (folder / "sides.jsonl").write_text('{"prompt": "Which?", "answer": "up"}\n')
    (folder / "train.csv").write_text("ask,say\n1+1?,2\n,3\n")
    out = ("--out", folder / "run") if verb == "run" else ()
    refused(
        kdscope(verb, folder / "study.yaml", *out),
        "bills.csv:2: the column map names 'total', which is not there; the columns are ask, sum",
        "sides.jsonl:1: the answer 'up' of sides must be one of left, right",
        "train.csv:3: 'instruction' is empty",
    )
    assert not (folder / "run" / "steps").exists()
