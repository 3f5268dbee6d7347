"""The public Python API of a study."""

import subprocess
import sys

import pytest

import kdscope
from kdscope.errors import ConfigError, MissingExtraError, StoreError


def test_a_study_is_planned_from_python(tmp_path):
    study = kdscope.Study("quickstart", {"seeds": [0], "evaluate.limit": 3}, out=tmp_path / "run")
    plan = study.plan()
    assert study.folder == tmp_path / "run"
    assert plan.resolved.study.seeds == (0,)
    assert plan.resolved.study.evaluate.limit == 3
    assert plan.totals()["cached"] == 0
    assert not study.folder.exists()


def test_mistakes_are_raised_at_once():
    with pytest.raises(ConfigError, match="did you mean 'seeds'"):
        kdscope.Study("quickstart", {"seedz": [0]})


def test_frames_and_views_of_a_run(study):
    key = study.step("start", "one", table=True)
    study.run()
    frames = kdscope.open_results(study.folder)
    assert list(frames["generations"]["model"]) == ["one"]
    assert frames["fidelity"].empty
    views = kdscope.open_views(study.folder)
    assert views.sql("select step, state from steps").fetchall() == [
        (study.graph.steps[key].path, "done")
    ]
    assert views.sql("select count(*) from generations").fetchall() == [(1,)]


def test_a_folder_without_tables_is_explained(tmp_path):
    for opened in (kdscope.open_results, kdscope.open_views):
        with pytest.raises(StoreError, match="has no tables"):
            opened(tmp_path)


def test_views_without_duckdb_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("kdscope.study.results.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.\[duckdb\]"):
        kdscope.open_views(tmp_path)


def test_importing_kdscope_loads_nothing_heavy():
    code = "import sys, kdscope; print([m for m in ('pandas', 'torch', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
