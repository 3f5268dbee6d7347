"""The Ray engine on a real cluster of two nodes on one machine."""

import io
import json
import os
from functools import partial
from pathlib import Path

import pytest

from kdscope.errors import MissingExtraError, StoreError, UserError
from kdscope.study.display import watch
from kdscope.study.events import read_events
from kdscope.study.launch import Options, run_plan
from kdscope.study.mirror import Mirror
from kdscope.study.ray import RayEngine
from kdscope.study.ray_node import PROGRESS, _leave, _listen, _warm, serve
from kdscope.study.results import open_results
from kdscope.study.store import Run


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("kdscope.study.ray.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"\.\[ray\]"):
        RayEngine(tmp_path)


def test_only_messages_of_the_job_itself_end_it():
    said = [
        {"state": "ready", "pid": 1},
        {"state": "done", "key": "other", "content": {}},
        {"state": "progress", "key": "own", "content": {"done": 1.0, "total": 1.0}},
        {"state": "failed", "key": "own", "content": {"message": "why"}},
    ]
    source, seen = io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in said)), []
    assert _listen(source, "own", seen.append) == said[3]
    assert seen == [said[2]["content"]]
    assert _listen(source, "own", seen.append) is None


def test_progress_of_a_step_that_is_complete_already_is_left_out(tmp_path):
    _leave({"done": 1.0}, tmp_path)
    assert json.loads((tmp_path / PROGRESS).read_text()) == {"done": 1.0}
    _leave({"done": 1.0}, tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_a_cancelled_task_leaves_no_worker_that_could_answer_for_another(monkeypatch, tmp_path):
    def cancelled(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kdscope.study.ray_node._listen", cancelled)
    with pytest.raises(KeyboardInterrupt):
        serve({"key": "k", "work": str(tmp_path)}, 1)
    assert not _warm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from tests.study.conftest import HERE

    before = os.environ.get("PYTHONPATH", "")
    with pytest.MonkeyPatch.context() as nodes:
        nodes.setenv("PYTHONPATH", os.pathsep.join([str(HERE), before] if before else [str(HERE)]))
        nodes.setenv("KDSCOPE_CACHE", str(tmp_path_factory.mktemp("nodes")))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.add_node(num_cpus=1)
        made.caches = os.environ["KDSCOPE_CACHE"]
        yield made
        made.shutdown()


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
def test_a_cluster_that_shares_nothing_but_an_object_store(study, cluster, tmp_path):
    graph(study)
    url = f"file://{tmp_path}/store/run"
    mirror, run = Mirror(url), study.run_folder
    run.claim("trivial")
    with run.locked() as lock:
        run.save_study("", {"name": "trivial"}, study.plan)
        given = Options(engine="ray", address=cluster.address, mirror=url)
        done = partial(mirror.push, run)
        outcome = run_plan(
            run, study.plan, watch("none"), given, lock, finished=done, mirror=mirror
        )
    assert mirror.close(run, study.plan) == ""
    assert outcome.status == 0
    assert not [event for event in read_events(run.events) if event["event"] == "lost"]
    assert (study.folder / "page" / "index.html").read_text() == "4 rows"
    assert len(mirror.objects.artifacts()) == len(study.plan.steps)
    copies = [path.name for path in Path(cluster.caches).glob("nodes/*/steps/*/second*")]
    assert len(set(copies)) == 3  # worked on by the nodes, in folders of their own
    assert [row.score for row in open_results(study.folder)["generations"].itertuples()] == [
        0,
        1,
        2,
        6,
    ]


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
    monkeypatch.setattr("kdscope.study.ray.answer_probe", lambda home, name, node, stored: "")
    with pytest.raises(StoreError, match="does not share"):
        RayEngine(tmp_path, cluster.address)
