"""Reading and checking studies: every mistake at once, with path, line and nearest known key."""

import json

import pytest
import yaml

from kdscope.cli import app
from kdscope.errors import ConfigError
from kdscope.study.resolve import load_study
from kdscope.study.source import preset_names

GOOD = {
    "name": "small",
    "teachers": ["tiny-teacher"],
    "students": ["tiny-student"],
    "train": {"data": "tiny-train"},
    "methods": {"sft": {}, "fkl": {}},
    "evaluate": {"tasks": ["tiny-math"]},
}


def written(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}, sort_keys=False))
    return str(path)


def message(*arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name):
    resolved = load_study(name)
    assert resolved.study.name == name
    assert resolved.tasks
    assert resolved.source.text.startswith(f"# kdscope run {name}")


def test_all_mistakes_at_once_with_lines(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\n"
        "seeds: [0, 0]\n"
        "teachers: [tiny-techer]\n"
        "train: {data: tiny-trian, epoch: 3}\n"
        "methods:\n"
        "  gkd: {on_polcy: 0.5, beta: 2}\n"
        "  fwd: {}\n"
        "ablations: {teacher_nois: [1]}\n"
        "evaluate: {tasks: [no-such-task], decoding: greed}\n"
    )
    text = message(str(path))
    for part in (
        "students: is missing",
        "seeds (line 2): a seed is listed twice",
        "teachers[0] (line 3): there is no model 'tiny-techer'; did you mean 'tiny-teacher'",
        "train.data (line 4): there is no training set 'tiny-trian'; did you mean 'tiny-train'",
        "train.epoch (line 4): unknown key; did you mean 'epochs'",
        "methods.gkd.on_polcy (line 6): unknown key; did you mean 'on_policy'",
        "methods.gkd.beta (line 6): must be less than or equal to 1, not 2",
        "methods.fwd (line 7): there is no method 'fwd'",
        "ablations.teacher_nois (line 8): unknown key; did you mean 'teacher_noise'",
        "evaluate.tasks[0] (line 9): there is no task 'no-such-task'",
        "evaluate.decoding.strategy (line 9): must be one of greedy, sample, not 'greed'",
    ):
        assert part in text


def test_an_unknown_task_is_named_though_sections_are_missing(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("evaluate: {tasks: no-such-task}\n")
    assert "no-such-task" in message(str(path))


def test_overrides(tmp_path):
    study = load_study(
        written(tmp_path),
        ["seeds=[4]", "train.lora.r=2", "evaluate.limit=40", "methods.fkl.beta=1"],
    ).study
    assert study.seeds == (4,)
    assert study.train.lora is not None
    assert study.train.lora.r == 2
    assert study.evaluate.limit == 40


def test_faulty_overrides_are_listed(tmp_path):
    text = message(written(tmp_path), ["seeds", "train.lora.alpah=2", "name=[", "train.data.x=1"])
    for part in (
        "seeds: an override is written",
        "train.lora.alpah (given as override): unknown key; did",
        "not valid YAML",
        "there is nothing at",
    ):
        assert part in text


def test_yaml_that_is_none(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("name: [\n")
    assert "line 2" in message(str(path))
    path.write_text("- a\n")
    assert "mapping" in message(str(path))
    path.write_text("")
    assert "an empty file" in message(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in message(str(path))
    path.write_text("name: a\nname: b\n")
    assert "name (line 2): is written twice" in message(str(path))


def test_neither_file_nor_preset():
    assert "did you mean 'quickstart'" in message("quickstrt")


def test_exponents_without_a_point_are_numbers(tmp_path):
    assert (
        load_study(written(tmp_path), ["train.learning_rate=3e-4"]).study.train.learning_rate
        == 3e-4
    )


def test_pairs_name_models_of_the_study(tmp_path):
    resolved = load_study(written(tmp_path, pairs=[["tiny-teacher", "tiny-student"]]))
    assert resolved.pairs == (("tiny-teacher", "tiny-student"),)
    text = message(written(tmp_path, pairs=[["tiny-teacher", "tiny-studnt"]]))
    assert "pairs[0]" in text
    assert "'tiny-student'" in text


def test_paper_conventions_fill_in_what_the_study_leaves_out(tmp_path):
    study = load_study(written(tmp_path, conventions="paper"), ["train.warmup_steps=5"]).study
    assert study.prompt == "paper"
    assert study.train.validation == 500
    assert study.train.warmup_steps == 5
    assert study.train.lora is not None
    assert study.train.lora.dropout == 0.05
    assert study.teachers[0].dtype == "float16"


def checkpoint(folder, tokens=("a", "b"), weights=True):
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    vocabulary = {token: i for i, token in enumerate(tokens)}
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": []}})
    )
    if weights:
        (folder / "model.safetensors").write_bytes(b"weights")
    return str(folder)


def test_a_checkpoint_without_weights_is_refused(tmp_path):
    folder = checkpoint(tmp_path / "empty", weights=False)
    assert "without weights" in message(written(tmp_path, students=[folder]))
    assert "no checkpoint folder" in message(written(tmp_path, students=["./nowhere"]))


def test_different_tokenizers_are_refused(tmp_path):
    one = checkpoint(tmp_path / "one")
    same, other = checkpoint(tmp_path / "same"), checkpoint(tmp_path / "other", ("a", "c"))
    load_study(written(tmp_path, teachers=[one], students=[same]))
    text = message(written(tmp_path, teachers=[one], students=[same, other]))
    assert "teacher 'one' and student 'other' have different tokenizers" in text


def test_content_not_path_identifies_a_checkpoint(tmp_path):
    one = checkpoint(tmp_path / "one")
    study = written(tmp_path, teachers=[{"model": one, "name": "t"}], students=[one])
    before = load_study(study).teachers["t"]
    (tmp_path / "one").rename(tmp_path / "moved")
    moved = str(tmp_path / "moved")
    after = load_study(
        written(tmp_path, teachers=[{"model": moved, "name": "t"}], students=[moved])
    )
    assert after.teachers["t"].fields == before.fields
    assert after.locations()["t"] == moved
    (tmp_path / "moved" / "model.safetensors").write_bytes(b"other weights")
    changed = load_study(
        written(tmp_path, teachers=[{"model": moved, "name": "t"}], students=[moved])
    )
    assert changed.teachers["t"].fields != before.fields


def test_a_users_file_is_known_by_its_content(tmp_path):
    (tmp_path / "mine.json").write_text('[{"instruction": "1+1", "output": "2"}]')
    one = load_study(written(tmp_path, train={"data": "mine.json"}))
    assert one.data.fields["identity"].startswith("sha256:")
    assert "no file 'gone.json'" in message(written(tmp_path, train={"data": "gone.json"}))
    (tmp_path / "none.json").write_text("")
    assert "is empty" in message(written(tmp_path, train={"data": "none.json"}))


def test_layers_that_a_known_family_does_not_have_are_refused():
    with pytest.raises(ConfigError, match=r"train\.lora\.targets.*did you mean 'q_proj'"):
        load_study("quickstart", ["train.lora={targets: [q_prj, v_proj]}"])


def test_a_missing_file_names_each_place_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"\(looked in the current folder\)"):
        load_study("quickstart", ["train.data=./none.json"])


@pytest.mark.parametrize(
    ("label", "message"),
    [("distill", "KIND=RESOURCE"), ("distil=big", "did you mean 'distill'"), ("sft=", "KIND=RES")],
)
def test_labels_are_checked(label, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        app(
            ["run", "quickstart", "--out", str(tmp_path / "r"), "--label", label],
            standalone_mode=False,
        )
