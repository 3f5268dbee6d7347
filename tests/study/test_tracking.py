"""Trackers: told of every training where a study names them, and never part of what a step is."""

import json
import os
import subprocess
import sys
import types

import pytest

from kdscope.errors import ConfigError, MissingExtraError
from kdscope.study import tracking
from kdscope.study.api import Study
from kdscope.study.overview import overview

SMALL = {
    "seeds": [0], "students": ["tiny-student-small"], "train.limit": 48, "train.epochs": 1,
    "methods": {"sft": {}}, "include_base": False, "evaluate.limit": 2,
    "evaluate.tasks": ["tiny-choice"], "evaluate.distributions": 0,
}  # fmt: skip


def job(folder, *trackers):
    return {
        "trackers": trackers, "study": "mine", "step": "sft/one-0123", "kind": "sft", "key": "ab" * 32,
        "fields": {"model": {"name": "tiny"}}, "run_dir": str(folder),
    }  # fmt: skip


def test_a_tracker_changes_no_key():
    plain, tracked = overview("quickstart"), overview("quickstart", ["trackers=[tensorboard]"])
    assert list(plain.plan.steps) == list(tracked.plan.steps)
    assert tracked.plan.trackers == ("tensorboard",)
    assert tracked.resolved.document()["trackers"] == ["tensorboard"]


def test_an_unknown_tracker_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'tensorboard'"):
        overview("quickstart", ["trackers=[tensorbord]"])


def test_a_tracker_that_is_not_installed_is_refused_by_its_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.\[wandb\]"):
        tracking.require(("wandb",), "mine")
    found = overview("quickstart", ["trackers=[wandb]"])
    assert "wandb" in found.missing_extras()
    with pytest.raises(MissingExtraError, match=r"\.\[wandb\]"):
        Study("quickstart", {"trackers": ["wandb"]}, out=tmp_path / "run").run()


def test_a_folder_of_the_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "trackio").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert tracking.absent(("trackio",)) == ["trackio"]


def test_without_trackers_nothing_is_set(tmp_path):
    before = dict(os.environ)
    with tracking.tracked(job(tmp_path)) as arguments:
        assert arguments == {}
        assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())


def test_what_the_user_has_set_stays_and_everything_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mine")
    before, made = dict(os.environ), []
    stub = types.SimpleNamespace(set_experiment=made.append, end_run=lambda: None)
    monkeypatch.setitem(sys.modules, "mlflow", stub)
    with tracking.tracked(job(tmp_path, "mlflow", "wandb")) as arguments:
        assert arguments["report_to"] == ["mlflow", "wandb"]
        assert arguments["trackio_space_id"] is None
        assert os.environ["MLFLOW_TRACKING_URI"] == "http://mine"
        assert os.environ["WANDB_PROJECT"] == "mine"
        assert os.environ["WANDB_RUN_ID"] == "ab" * 16
        assert made == ["mine"]  # before any training: two workers at once fail on its tables
    assert dict(os.environ) == before


def test_a_run_that_a_failed_training_left_open_is_ended(tmp_path, monkeypatch):
    ended = []
    stub = types.SimpleNamespace(finish=lambda: ended.append("wandb"))
    monkeypatch.setitem(sys.modules, "wandb", stub)
    with pytest.raises(RuntimeError), tracking.tracked(job(tmp_path, "wandb")):
        raise RuntimeError("training failed")
    assert ended == ["wandb"]


def test_tensorboard_gets_the_curve_and_the_tables_are_the_same(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    runs = {}
    for name, trackers in (("plain", []), ("tracked", ["tensorboard"])):
        study = Study("quickstart", SMALL | {"trackers": trackers}, out=tmp_path / name)
        assert study.run().status == 0
        runs[name] = {p.name: p.read_bytes() for p in (tmp_path / name / "tables").glob("*.parquet")
                      if p.name != "steps.parquet"}  # fmt: skip
    assert runs["plain"] == runs["tracked"]
    assert not (tmp_path / "plain" / "trackers").exists()
    folders = [p.parent for p in (tmp_path / "tracked" / "trackers").rglob("events.out.tfevents.*")]
    assert len(folders) == 2  # the teacher's training and the student's
    for folder in folders:
        board = reader.EventAccumulator(str(folder))
        board.Reload()
        artifact = tmp_path / "tracked" / "steps" / folder.relative_to(
            tmp_path / "tracked" / "trackers" / "tensorboard"
        )  # fmt: skip
        lines = [json.loads(line) for line in (artifact / "metrics.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if "loss" in line]
        assert [scalar.value for scalar in board.Scalars("train/loss")] == pytest.approx(losses)


def test_validate_names_the_extra():
    done = subprocess.run(
        [sys.executable, "-m", "kdscope", "validate", "quickstart", "trackers=[mlflow]"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tracking.absent(("mlflow",)):
        assert done.returncode == 2
        assert ".[mlflow]" in done.stderr
    else:
        assert done.returncode == 0
