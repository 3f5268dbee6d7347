"""A run whose home is an object store: what is complete there is never made again."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from pyarrow import fs

from kdscope.errors import ConfigError, StoreError
from kdscope.study.graph import Graph, Plan
from kdscope.study.launch import Options, run_plan
from kdscope.study.mirror import Mirror
from kdscope.study.objects import Objects
from kdscope.study.place import is_url, working_folder
from kdscope.study.store import Run
from kdscope.study.survey import survey


def trivial_plan():
    graph = Graph()
    one = graph.add("start", "one", {"name": "one", "number": 1}, {})
    two = graph.add("work", "two", {"name": "two", "number": 10, "table": True}, {"in": [one]})
    graph.add("page", "page", {"name": "page"}, {"in": [two]})
    return Plan("trivial", graph.steps, ())


def go(folder: Path, url: str):
    """The trivial study in a folder whose home is a URL; returns its outcome and how much was fetched."""
    from kdscope.study.display import watch

    run, plan, mirror = Run(folder), trivial_plan(), Mirror(url)
    mirror.recall(run)
    run.refuse_others(plan.name)
    fetched = mirror.pull(run, plan)
    run.claim(plan.name)
    with run.locked() as lock:
        run.save_study("", {"name": plan.name}, plan)
        found = survey(run, plan)
        outcome = run_plan(
            run, plan, watch("none"), Options(workers=1), lock, found, lambda s: mirror.push(run, s)
        )
    return outcome, fetched, mirror.close(run, plan)


def tables_of(folder: Path):
    return {
        p.name: p.read_bytes() for p in (folder / "tables").glob("*.parquet") if p.stem != "steps"
    }


def check_store(url: str, place: Path):
    """What an object store must show: another machine finds everything, damage is seen, keys are kept."""
    outcome, fetched, trouble = go(place / "here", url)
    assert (outcome.status, outcome.ran, fetched, trouble) == (0, 3, 0, "")
    outcome, fetched, trouble = go(place / "there", url)  # as on another machine
    assert (outcome.status, outcome.ran, fetched, trouble) == (0, 0, 3, "")
    assert tables_of(place / "here") == tables_of(place / "there")
    assert (place / "there" / "page" / "index.html").read_text() == "1 rows"
    events = (place / "there" / "events.jsonl").read_text().splitlines()
    assert (
        sum(json.loads(line)["event"] == "done" for line in events) == 3
    )  # its history came along
    objects, spoiled = Objects(url), place / "spoiled.json"
    spoiled.write_text("99")
    one = next(name for name in objects.artifacts() if "/one-" in name)
    objects.upload(spoiled, f"{one}/out/number.json")
    outcome, _, trouble = go(place / "third", url)
    assert (outcome.status, outcome.ran, trouble) == (0, 1, "")  # damaged, so made again
    assert tables_of(place / "third") == tables_of(place / "here")


def test_a_store_behind_pyarrow(kinds, tmp_path):
    check_store(f"file://{tmp_path}/store/run", tmp_path)


def test_a_store_behind_fsspec(kinds, tmp_path):
    pytest.importorskip("fsspec")
    check_store(f"memory://{tmp_path.name}/run", tmp_path)


def test_a_manifest_is_written_last(kinds, tmp_path, monkeypatch):
    """A copy that ends in the middle leaves no step that counts as complete there."""
    written = Objects.upload

    def fails(self, path, name):
        if path.name == "number.json":
            raise OSError("the line went dead")
        written(self, path, name)

    with monkeypatch.context() as broken:
        broken.setattr(Objects, "upload", fails)
        outcome, _, trouble = go(tmp_path / "here", f"file://{tmp_path}/store/run")
    assert outcome.status == 0
    assert "the line went dead" in trouble
    steps = tmp_path / "store" / "run" / "steps"
    assert {p.parent.parent.name for p in steps.rglob("manifest.json")} <= {"page"}
    outcome, fetched, trouble = go(tmp_path / "here", f"file://{tmp_path}/store/run")
    assert (outcome.ran, fetched, trouble) == (0, 0, "")
    assert len(list((tmp_path / "store").rglob("manifest.json"))) == 3


def test_places():
    assert is_url("s3://bucket/run")
    assert not is_url("runs/mine")
    assert working_folder(None) is None
    assert working_folder("runs/mine") == Path("runs/mine")
    here = working_folder("s3://bucket/mine?endpoint_override=localhost:9000")
    assert here is not None
    assert here.name.startswith("mine-")
    assert here != working_folder("s3://other/mine")


def test_what_cannot_be_opened_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="Mount it and give a path"):
        Mirror("nosuchstore://bucket/run")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written and read"):
        Mirror(f"file://{tmp_path}/file/run")


@pytest.mark.slow
def test_a_server_that_speaks_s3(kinds, tmp_path, monkeypatch):
    """Against moto's server (or what KDSCOPE_TEST_S3 names as its command), a process of its own."""
    command = os.environ.get("KDSCOPE_TEST_S3", "moto_server")
    if shutil.which(command) is None:
        pytest.skip(
            f"{command} is not installed: python -m venv X && X/bin/pip install 'moto[server]'"
        )
    server = subprocess.Popen(
        [command, "-p", "5123"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    try:
        where = "endpoint_override=127.0.0.1:5123&scheme=http&region=us-east-1&allow_bucket_creation=true"
        store, deadline = None, time.monotonic() + 60
        while store is None:
            try:
                store, _ = fs.FileSystem.from_uri(f"s3://bucket?{where}")
                store.create_dir("bucket")
            except OSError:
                store = None
                assert time.monotonic() < deadline
                time.sleep(0.5)
        check_store(f"s3://bucket/runs/trivial?{where}", tmp_path)
    finally:
        server.terminate()
        server.wait()
