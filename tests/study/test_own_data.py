"""The user's own data in a study file: what is keyed, and every mistake before anything is loaded."""

import json

import pytest
import yaml

from kdscope.errors import ConfigError, DataError
from kdscope.study import identity
from kdscope.study.datasets import asked_tasks
from kdscope.study.plan import build_plan
from kdscope.study.preflight import check_own_files
from kdscope.study.resolve import load_study

COLUMNS = {"instruction": "ask", "output": "say"}
TASK = {"name": "bills", "path": "bills.jsonl", "form": "number"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.csv").write_text("ask,say\n1+1?,2\n1+2?,3\n")
    (tmp_path / "bills.jsonl").write_text(json.dumps({"prompt": "3+4?", "answer": 7}) + "\n")
    return tmp_path


def study(folder, data, tasks, **more):
    content = {
        "name": "own",
        "teachers": ["tiny-teacher"],
        "students": ["tiny-student-small"],
        "train": {"data": data},
        "methods": {"sft": {}, "fkl": {}},
        "evaluate": {"tasks": tasks},
        **more,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def mapped(folder, **changes):
    return {"path": "mine.csv", "columns": COLUMNS, **changes}


def keys(path):
    return {
        step.path.rpartition("-")[0]: step.key
        for step in build_plan(load_study(path)).steps.values()
    }


def test_a_study_with_own_data_and_tasks_resolves(folder):
    resolved = load_study(study(folder, mapped(folder), ["tiny-math", TASK]))
    assert [task.name for task in resolved.tasks] == ["tiny-math", "bills"]
    assert resolved.data.name == "mine.csv"
    assert resolved.data.fields["source"] == {"columns": COLUMNS}
    assert resolved.locations() == {
        "mine.csv": str(folder / "mine.csv"),
        "task bills": str(folder / "bills.jsonl"),
    }
    assert str(folder) not in json.dumps([resolved.data.fields, [t.fields for t in resolved.tasks]])
    check_own_files(resolved)
    again = folder / "resolved.yaml"
    again.write_text(
        yaml.safe_dump({k: v for k, v in resolved.document().items() if k != "identities"})
    )
    assert load_study(str(again)).tasks == resolved.tasks, "what ran can be run again"


def test_what_depends_on_a_changed_file_gets_another_key(folder):
    path = study(folder, mapped(folder), ["tiny-math", TASK])
    before = keys(path)
    assert keys(path) == before
    (folder / "bills.jsonl").write_text(json.dumps({"prompt": "3+4?", "answer": 8}) + "\n")
    changed = {name for name, key in keys(path).items() if key != before[name]}
    assert changed
    assert not any(name.startswith(("sft/", "distill/", "teacher_cache/")) for name in changed)
    assert all("tiny-math" not in name for name in changed)
    assert any(name.startswith("predict/") and name.endswith("bills") for name in changed)
    (folder / "mine.csv").write_text("ask,say\n1+1?,2\n1+2?,4\n")
    assert keys(path).keys() == before.keys()
    assert all(key != before[name] for name, key in keys(path).items())


def test_the_column_map_is_part_of_the_key_and_the_place_is_not(folder):
    before = keys(study(folder, mapped(folder), ["tiny-math"]))
    other = keys(
        study(
            folder, mapped(folder, columns={"instruction": "say", "output": "ask"}), ["tiny-math"]
        )
    )
    assert all(other[name] != key for name, key in before.items())
    (folder / "sub").mkdir()
    (folder / "mine.csv").rename(folder / "sub" / "mine.csv")
    moved = keys(study(folder, mapped(folder, path="sub/mine.csv"), ["tiny-math"]))
    assert {k: v for k, v in moved.items() if "report" not in k} == {
        k: v for k, v in before.items() if "report" not in k
    }


def test_one_changed_record_of_a_large_file_is_seen(folder, monkeypatch):
    monkeypatch.setattr(
        identity, "_WHOLE", 1000
    )  # bytes from which on weights are known by samples
    monkeypatch.setattr(identity, "_BLOCK", 10)
    line = json.dumps({"prompt": "Q" * 1000, "answer": "A"}) + "\n"
    big = folder / "big.jsonl"
    big.write_text(line * 2000)
    path = study(folder, "big.jsonl", ["tiny-math"])
    before = load_study(path).data.fields["identity"]
    with big.open("r+b") as file:
        file.seek(len(line) * 1234 + 20)
        file.write(b"X")
    assert load_study(path).data.fields["identity"] != before


@pytest.mark.parametrize(
    ("data", "tasks", "words"),
    [
        ({"path": "gone.csv"}, ["tiny-math"], ["train.data", "no file 'gone.csv'"]),
        ({"path": "mine.csv", "hub": "a/b"}, ["tiny-math"], ["train.data", "either `path`"]),
        ({}, ["tiny-math"], ["train.data", "either `path`"]),
        ({"path": "mine.csv", "split": "test"}, ["tiny-math"], ["`split`, which means something with `hub`"]),
        ({"path": "mine.csv", "colums": {}}, ["tiny-math"], ["train.data.colums", "did you mean 'columns'"]),
        ({"path": "mine.csv", "columns": {"question": "ask"}}, ["tiny-math"],
         ["train.data.columns.question", "unknown key", "instruction"]),
        ("tiny-train", [{"name": "a", "path": "bills.jsonl"}], ["evaluate.tasks[0].form", "is missing"]),
        ("tiny-train", [{**TASK, "form": "numbre"}], ["evaluate.tasks[0].form", "did you mean 'number'"]),
        ("tiny-train", [{**TASK, "name": "gsm8k"}], ["evaluate.tasks[0]", "give yours another name"]),
        ("tiny-train", [{**TASK, "path": "gone.jsonl"}], ["evaluate.tasks[0]", "no file 'gone.jsonl'"]),
        ("tiny-train", [{k: v for k, v in TASK.items() if k != "name"}], ["evaluate.tasks[0].name", "is missing"]),
        ("tiny-train", [{**TASK, "options": ["a"]}], ["evaluate.tasks[0]", "form number does not"]),
        ("tiny-train", [{**TASK, "form": "word", "options": [True, "no"]}], ["evaluate.tasks[0].options", "quote"]),
        ("tiny-train", [TASK, TASK], ["evaluate.tasks", "second task called 'bills'"]),
        ("tiny-train", ["bills.jsonl"], ["evaluate.tasks[0]", "written as a mapping"]),
        ("tiny-train", [TASK, "no-such", 3], ["evaluate.tasks[1]", "no-such"]),
    ],
)  # fmt: skip
def test_mistakes_of_form_are_named_with_their_place(folder, data, tasks, words):
    with pytest.raises(ConfigError) as caught:
        load_study(study(folder, data, tasks))
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_two_data_sets_of_one_name_must_be_told_apart(folder):
    other = {"data": {"path": "mine.csv"}}
    with pytest.raises(ConfigError, match=r"teacher_train\.data.*both called 'mine\.csv'"):
        load_study(study(folder, mapped(folder), ["tiny-math"], teacher_train=other))
    other["data"]["name"] = "raw"
    resolved = load_study(study(folder, mapped(folder), ["tiny-math"], teacher_train=other))
    assert resolved.teacher_data.name == "raw"
    with pytest.raises(ConfigError, match="a model is called 'tiny-teacher' too"):
        load_study(study(folder, mapped(folder, name="tiny-teacher"), ["tiny-math"]))


def test_a_hub_set_without_revision_is_noted_in_the_plan(folder):
    data = {"hub": "owner/name", "columns": COLUMNS}
    plan = build_plan(load_study(study(folder, data, ["tiny-math"])))
    assert any("owner/name has no revision" in note for note in plan.notes)
    pinned = build_plan(load_study(study(folder, {**data, "revision": "0123abc"}, ["tiny-math"])))
    assert not any("revision" in note for note in pinned.notes)
    assert pinned.steps.keys() != plan.steps.keys()


def test_all_malformed_records_of_own_files_are_told_at_once(folder):
    (folder / "mine.csv").write_text("ask,say\n1+1?,\n")
    (folder / "bills.jsonl").write_bytes(b'{"prompt": "Q", "answer": 1}\n{"prompt": "caf\xe9"}\n')
    resolved = load_study(study(folder, mapped(folder), [TASK]))
    with pytest.raises(DataError) as caught:
        check_own_files(resolved)
    assert "mine.csv:2: 'output' is empty" in str(caught.value)
    assert "bills.jsonl:2: byte 0xe9 is not valid UTF-8" in str(caught.value)


def test_tasks_of_a_verb_without_a_study(folder):
    (folder / "tasks.yaml").write_text(yaml.safe_dump([TASK]))
    refs = asked_tasks(f"TINY-math, {folder / 'tasks.yaml'}")
    assert [ref.name for ref in refs] == ["tiny-math", "bills"]
    assert refs[1].path == str(folder / "bills.jsonl")
    assert asked_tasks([{**TASK, "path": str(folder / "bills.jsonl")}]) == refs[1:]
    with pytest.raises(ConfigError, match="no-such"):
        asked_tasks("no-such")
    (folder / "tasks.yaml").write_text(yaml.safe_dump({**TASK, "form": "x"}))
    with pytest.raises(ConfigError, match=r"tasks\.yaml: .* form: Input should be"):
        asked_tasks([str(folder / "tasks.yaml")])
    with pytest.raises(ConfigError, match=r"gone\.yaml cannot be read"):
        asked_tasks("gone.yaml")
