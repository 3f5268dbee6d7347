"""The Ray engine on a real cluster of two nodes on one machine."""

import io
import json
import os

import pytest

from kdscope.errors import MissingExtraError, StoreError, UserError
from kdscope.study.display import watch
from kdscope.study.events import read_events
from kdscope.study.launch import Options, run_plan
from kdscope.study.ray import RayEngine, _listen, _warm, serve
from kdscope.study.results import open_results
from kdscope.study.store import Run


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("kdscope.study.ray.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.\[ray\]"):
        RayEngine(tmp_path)


def test_only_messages_of_the_job_itself_end_it(tmp_path):
    said = [
        {"state": "ready", "pid": 1},
        {"state": "done", "key": "other", "content": {}},
        {"state": "progress", "key": "own", "content": {"done": 1.0, "total": 1.0}},
        {"state": "failed", "key": "own", "content": {"message": "why"}},
    ]
    source = io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in said))
    message = _listen(source, "own", tmp_path / "gone" / "progress.json")  # no such folder any more
    assert message == said[3]
    assert _listen(source, "own", tmp_path / "progress.json") is None


def test_a_cancelled_task_leaves_no_worker_that_could_answer_for_another(monkeypatch, tmp_path):
    def cancelled(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kdscope.study.ray._listen", cancelled)
    with pytest.raises(KeyboardInterrupt):
        serve({"key": "k", "work": str(tmp_path)}, 1)
    assert not _warm


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from tests.study.conftest import HERE

    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), before] if before else [str(HERE)])
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.second = made.add_node(num_cpus=1)
    yield made
    made.shutdown()
    os.environ["PYTHONPATH"] = before


def graph(study):
    ends = []
    for i in range(3):
        first = study.step("start", f"first{i}", number=i)
        ends.append(study.step("work", f"second{i}", first, do="slow", seconds=0.5, table=True))
    study.step("page", "page", study.step("work", "last", *ends, table=True), *ends)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_tables_of_one_machine(study, cluster, tmp_path):
    graph(study)
    assert study.run(engine="ray", address=cluster.address).status == 0
    assert not [event for event in read_events(study.run_folder.events) if event["event"] == "lost"]
    local = Run(tmp_path / "local")
    local.claim("trivial")
    with local.locked() as lock:
        local.save_study("", {"name": "trivial"}, study.plan)
        outcome = run_plan(local, study.plan, watch("none"), Options(workers=1), lock)
    assert outcome.status == 0, local.events.read_text()
    here, there = open_results(local.folder), open_results(study.folder)
    for name, table in here.items():
        if name != "steps":
            assert table.equals(there[name]), name
    assert study.run(engine="ray", address=cluster.address).ran == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_killed_workers_and_hanging_steps_on_a_cluster(study, cluster):
    study.step("start", "victim", do="kill")
    study.step("start", "fine")
    assert study.run(engine="ray", address=cluster.address).status == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_unreachable_cluster_is_one_sentence(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(UserError, match="no Ray cluster can be reached"):
        RayEngine(tmp_path, "127.0.0.1:1")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_storage_that_workers_do_not_see(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("kdscope.study.ray.answer_probe", lambda probe, node: "")
    with pytest.raises(StoreError, match="does not share"):
        RayEngine(tmp_path, cluster.address)
