"""One student without a study: from the command line and from Python."""

import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file

import kdscope
from kdscope import tables
from kdscope.errors import ConfigError, StoreError

SMALL = {"limit": 16, "epochs": 1, "max_length": 128}


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "kdscope", "distill", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def arguments(out, **changes):
    given = {
        "teacher": "tiny-teacher", "student": "tiny-student-small", "method": "fkl",
        "data": "tiny-train", "out": out,
    } | changes  # fmt: skip
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def test_the_verb_trains_resumes_and_overwrites_nothing(tmp_path):
    small = [f"{name}={value}" for name, value in SMALL.items()]
    done = command(*arguments(tmp_path / "o"), *small, "--json", "--display", "none")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    model = tmp_path / "o" / "model" / "adapter_model.safetensors"
    assert document["model"] == str(model.parent)
    assert document["measures"]["examples"] == 16
    assert any(float(w.abs().max()) > 0 for n, w in load_file(model).items() if "lora_B" in n)
    measures = set(tables.read("curves", tmp_path / "o" / "curves.parquet").to_pandas()["measure"])
    assert {"loss", "teacher_entropy", "dropped_mass"} <= measures
    before = model.stat().st_mtime_ns
    again = kdscope.distill(
        "tiny-teacher", "tiny-student-small", "fkl", "tiny-train", tmp_path / "o", **SMALL
    )
    assert (again.steps_run, model.stat().st_mtime_ns) == (0, before)
    with pytest.raises(StoreError, match="nothing was written"):
        kdscope.distill(
            "tiny-teacher", "tiny-student-small", "revkd", "tiny-train", tmp_path / "o", **SMALL
        )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"teacher": "tiny-professor"}, "tiny-teacher"),
        ({"student": "./gone"}, "gone"),
        ({"method": "fkd"}, "fkl"),
        ({"data": "missing.jsonl"}, "missing.jsonl"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_started(tmp_path, changes, word):
    given = {
        "teacher": "tiny-teacher", "student": "tiny-student", "method": "fkl", "data": "tiny-train",
    } | changes  # fmt: skip
    with pytest.raises(ConfigError, match=word):
        kdscope.distill(**given, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_settings_are_checked(tmp_path):
    common = ("tiny-teacher", "tiny-student", "fkl", "tiny-train", tmp_path / "o")
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        kdscope.distill(*common, temperatur=2.0)
    with pytest.raises(ConfigError, match="describe 2 students"):
        kdscope.distill(*common, temperature=[1.0, 2.0])
    assert not (tmp_path / "o").exists()


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("mine")
    with pytest.raises(StoreError, match="nothing was written"):
        kdscope.distill("tiny-teacher", "tiny-student", "fkl", "tiny-train", tmp_path / "o")
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["mine.txt"]


def test_the_verb_ends_with_status_2_without_a_traceback(tmp_path):
    done = command(*arguments(tmp_path / "o", method="fkd"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "fkl" in done.stderr
