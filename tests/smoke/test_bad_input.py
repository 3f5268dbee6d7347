"""What users get wrong: one clear message, exit status 2, nothing started and nothing written over."""

import json
from pathlib import Path

import pytest

from tests.smoke.test_quickstart import SMALL, kdscope
from tests.tiny import random_model, tokenizer

STUDY = """
name: mine
teachers: [tiny-teacher]
students: [tiny-student-small]
train: {{data: {data}, epochs: 1}}
methods: {{sft: {{}}, {method}: {{}}}}
evaluate: {{tasks: [{task}], limit: 4}}
{more}
"""


def study(folder: Path, **changes: str) -> Path:
    defaults = {"data": "tiny-train", "method": "fkl", "task": "tiny-math", "more": ""}
    path = folder / "study.yaml"
    path.write_text(STUDY.format(**(defaults | changes)), encoding="utf-8")
    return path


def refused(done, *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"more": "temperatur: 2"}, ["temperatur"]),
        ({"method": "fkd"}, ["fkd", "fkl"]),
        ({"task": "no-such-task"}, ["no-such-task"]),
        ({"task": "no-such-task", "more": "x: 1", "method": "nope"}, ["no-such-task", "nope", "x"]),
        ({"data": "no-such-data"}, ["no-such-data"]),
        ({"data": "missing.jsonl"}, ["missing.jsonl"]),
        ({"more": "seeds: [0, 0]"}, ["seeds"]),
    ],
)
def test_a_faulty_study_is_refused_before_anything_starts(tmp_path, changes, words):
    out = tmp_path / "out"
    refused(kdscope("run", study(tmp_path, **changes), "--out", out), *words)
    assert not (out / "steps").exists()


def test_no_such_task_is_named_even_where_sections_are_missing(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: a\nevaluate: {tasks: [no-such-task]}\n")
    refused(kdscope("validate", path), "no-such-task", "teachers", "train")


def test_a_missing_study_file_names_the_presets(tmp_path):
    refused(kdscope("run", tmp_path / "gone.yaml"), "gone.yaml", "quickstart")


def test_a_malformed_record_is_named_by_file_and_line(tmp_path):
    data = tmp_path / "train.jsonl"
    good = json.dumps({"instruction": "How much is 1 + 1?", "input": "", "output": "2."})
    data.write_text(f"{good}\n{good}\n{{broken\n")
    done = kdscope("run", study(tmp_path, data=str(data)), "--out", tmp_path / "out")
    assert done.returncode in (1, 2)
    assert "train.jsonl" in done.stderr
    assert "3" in done.stderr


def test_an_empty_data_set_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    done = kdscope(
        "run", study(tmp_path, data=str(tmp_path / "empty.jsonl")), "--out", tmp_path / "o"
    )
    refused(done, "empty")


def test_a_checkpoint_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    done = kdscope(
        "run", study(tmp_path), f"students=[{tmp_path / 'model'}]", "--out", tmp_path / "o"
    )
    refused(done, "without weights")


def test_teacher_and_student_with_different_tokenizers_are_refused(tmp_path):
    folder = tmp_path / "other"
    random_model().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    content = json.loads(text)
    content["model"]["merges"] = content["model"]["merges"][:100]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    done = kdscope("run", study(tmp_path), f"students=[{folder}]", "--out", tmp_path / "o")
    refused(done, "tokenizer")


def test_a_folder_that_holds_another_study_is_left_alone(tmp_path):
    out = tmp_path / "out"
    assert (
        kdscope("run", study(tmp_path), "--limit", 2, "train.limit=16", "--out", out).returncode
        == 0
    )
    before = (out / "study.yaml").read_bytes()
    refused(kdscope("run", "quickstart", *SMALL, "--out", out), "holds the study 'mine'")
    assert (out / "study.yaml").read_bytes() == before
