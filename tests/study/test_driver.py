"""The driver on trivial steps: order, resume, failures, retries, damage."""

import json
import os
from dataclasses import replace

import pytest

from kdscope.errors import StoreError
from kdscope.study.budget import Limits, check_room, folder_bytes
from kdscope.study.events import read_events
from kdscope.study.inspection import collect, garbage, log_text, why
from kdscope.study.local import LocalEngine
from kdscope.study.results import open_results, rebuild_tables
from kdscope.study.status import status
from kdscope.study.store import read_manifest


def chain(study):
    one = study.step("start", "one", number=1)
    two = study.step("work", "two", one, number=10, table=True)
    three = study.step("work", "three", one, two, number=100, table=True)
    page = study.step("page", "page", two, three)
    return one, two, three, page


def number(study, key):
    return json.loads((study.artifact(key) / "out" / "number.json").read_text())


def test_a_chain_runs_in_order_and_leaves_complete_artifacts(study):
    one, two, three, _ = chain(study)
    outcome = study.run()
    assert outcome.status == 0
    assert outcome.ran == 4
    assert [number(study, key) for key in (one, two, three)] == [1, 11, 112]
    manifest = read_manifest(study.artifact(two))
    assert manifest is not None
    assert manifest["key"] == two
    assert manifest["measures"]["number"] == 11
    assert manifest["measures"]["peak_memory"] > 1e6
    assert set(manifest["files"]) == {"out/generations.parquet", "out/number.json"}
    assert not list(study.run_folder.steps.rglob("*.work"))
    assert (study.folder / "page" / "index.html").read_text() == "2 rows"
    tables = open_results(study.folder)
    assert list(tables["generations"]["model"]) == ["two", "three"]
    assert list(tables["steps"]["state"]) == ["done"] * 3
    assert list(tables["steps"]["tokens"]) == [7] * 3
    assert "this is two" in log_text(study.folder, "two")


def test_the_same_call_does_no_work(study):
    chain(study)
    study.run()
    before = sorted((p, p.stat().st_mtime_ns) for p in (study.folder / "tables").iterdir())
    again = study.run()
    assert (again.ran, again.reused, again.status) == (0, 4, 0)
    assert before == sorted((p, p.stat().st_mtime_ns) for p in (study.folder / "tables").iterdir())


def test_tables_are_rebuilt_from_steps_alone(study):
    chain(study)
    study.run()
    before = {p.name: p.read_bytes() for p in (study.folder / "tables").glob("*.parquet")}
    for path in (study.folder / "tables").iterdir():
        path.unlink()
    rebuild_tables(study.folder)
    assert before == {p.name: p.read_bytes() for p in (study.folder / "tables").glob("*.parquet")}


def test_independent_branches_go_on_after_a_failure(study):
    bad = study.step("start", "bad", do="raise")
    lost = study.step("work", "lost", bad)
    good = study.step("work", "good", study.step("start", "fine"), table=True)
    study.step("page", "page", lost, good)
    outcome = study.run()
    assert outcome.status == 1
    assert list(outcome.failed.values()) == ["RuntimeError: as it was told"]
    assert len(outcome.skipped) == 2
    assert number(study, good) == 2
    assert (study.folder / "page" / "index.html").read_text() == "1 rows"  # of what there is
    assert "Traceback" in log_text(study.folder, "bad")
    states = dict(open_results(study.folder)["steps"][["step", "state"]].values)
    assert sorted(states.values()) == ["done", "done", "failed", "skipped", "skipped"]
    starts = [e for e in read_events(study.run_folder.events) if e["event"] == "start"]
    assert sum(e["key"] == bad for e in starts) == 1  # an error of the code is not tried again
    assert study.run().status == 1


def test_a_users_mistake_is_not_tried_again_and_exits_2(study):
    study.step("start", "bad", do="user")
    outcome = study.run()
    assert outcome.status == 2
    assert list(outcome.failed.values()) == ["the file of the user is not there"]


def test_a_killed_worker_costs_one_attempt(study):
    key = study.step("start", "victim", do="kill", times=2, number=5)
    other = study.step("start", "bystander")
    outcome = study.run()
    assert outcome.status == 0
    manifest = read_manifest(study.artifact(key))
    assert manifest is not None
    assert manifest["attempts"] == 3
    assert number(study, other) == 1
    assert any("signal 9" in line for line in why(study.folder, "victim"))


def test_a_worker_killed_for_ever_fails_its_step_alone(study):
    study.step("start", "victim", do="kill", times=99)
    fine = study.step("start", "bystander")
    outcome = study.run()
    assert outcome.status == 1
    assert number(study, fine) == 1


def test_out_of_memory_halves_the_micro_batch(study):
    key = study.step("start", "hungry", do="memory", batch=16)
    assert study.run().status == 0
    manifest = read_manifest(study.artifact(key))
    assert manifest is not None
    assert (manifest["micro_batch"], manifest["attempts"]) == (4, 3)


def test_a_network_error_is_tried_again(study):
    study.step("start", "remote", do="network")
    assert study.run().status == 0


def test_a_hanging_step_is_killed_and_tried_again(study):
    study.step("start", "sleeper", do="hang")
    outcome = study.run(limits=Limits(stall_seconds=2.0))
    assert outcome.status == 0
    assert any("hung" in line for line in why(study.folder, "sleeper"))


def test_a_step_over_its_time_limit_fails(study):
    study.step("start", "sleeper", do="hang")
    outcome = study.run(limits=Limits(step_seconds=1.0))
    assert "longer than the limit" in next(iter(outcome.failed.values()))


def test_a_full_disk_stops_the_run_with_one_sentence(study):
    study.step("start", "writer", do="disk")
    outcome = study.run()
    assert outcome.status == 2
    assert "the disk is full" in outcome.stopped
    assert study.run().status == 0
    full = study.run(limits=Limits(free_bytes=1 << 60))
    assert full.status == 0  # nothing to do needs no space


def damage_size(artifact):
    (artifact / "out" / "number.json").write_text("1 ")


def damage_byte(artifact):
    (artifact / "out" / "number.json").write_text("7")


def damage_manifest(artifact):
    text = (artifact / "manifest.json").read_text()
    (artifact / "manifest.json").write_text(text[: len(text) // 2])


def damage_missing(artifact):
    (artifact / "out" / "number.json").unlink()


def damage_no_manifest(artifact):
    (artifact / "manifest.json").unlink()


@pytest.mark.parametrize(
    "damage", [damage_size, damage_byte, damage_manifest, damage_missing, damage_no_manifest]
)
def test_a_damaged_artifact_is_set_aside_and_made_again(study, damage):
    one, *_ = chain(study)
    study.run()
    damage(study.artifact(one))
    outcome = study.run()
    assert (outcome.ran, outcome.status) == (1, 0)
    assert number(study, one) == 1
    assert any("damaged" in line for line in why(study.folder, "start/one"))
    assert len(list((study.run_folder.steps / ".damaged").iterdir())) == 1


def test_a_silent_flip_is_found_by_a_thorough_check(study):
    one, *_ = chain(study)
    study.run()
    path = study.artifact(one) / "out" / "number.json"
    times = path.stat()
    path.write_text("7")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert study.run().ran == 0
    assert study.run(thorough=True).ran == 1


def test_why_names_the_field(study):
    one = study.step("start", "one", number=1)
    study.step("work", "two", one)
    study.run()
    study.graph.steps.clear()
    one = study.step("start", "one", number=2)
    study.step("work", "two", one)
    study.run()
    lines = why(study.folder, "work/two")
    assert any(line.strip() == "number: 1 -> 2" for line in lines)
    assert any("input in is another step" in line for line in lines)


def test_transient_artifacts_are_remade_only_when_needed(study):
    big = study.step("big", "cache")
    study.step("work", "user", big)
    study.run()
    removed = collect(study.folder, caches=True)
    assert [path.name for path, _ in removed] == [study.artifact(big).name]
    assert study.run().ran == 0
    study.step("work", "another", big)
    assert study.run().ran == 2


def test_gc_lists_what_no_plan_needs(study):
    chain(study)
    study.run()
    assert garbage(study.folder) == []
    study.graph.steps.clear()
    study.step("start", "one", number=1)
    study.run()
    found = garbage(study.folder)
    assert len(found) == 3
    assert all(amount > 0 for _, amount in found)
    assert collect(study.folder) == found
    assert study.run().ran == 0


def test_status(study):
    study.step("start", "bad", do="raise")
    study.step("start", "fine")
    study.run()
    state = status(study.folder)
    assert (state["steps"], state["done"], state["left"], state["active"]) == (2, 1, 1, False)
    assert list(state["failed"].values()) == ["RuntimeError: as it was told"]


def test_another_study_in_the_folder_is_refused(study, tmp_path):
    study.step("start", "one")
    study.run()
    with pytest.raises(StoreError, match="holds the study 'trivial', not 'other'"):
        study.run_folder.claim("other")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(StoreError, match="is not a folder of a kdscope run"):
        type(study.run_folder)(tmp_path / "mine").claim("trivial")


def test_two_drivers_refuse_each_other(study):
    study.step("start", "one")
    study.run_folder.claim("trivial")
    with study.run_folder.locked(), pytest.raises(StoreError, match="another run is working"):
        study.run()


def test_the_limit_of_time_ends_a_run_cleanly_and_the_next_goes_on(study):
    first = study.step("start", "first")
    study.step("work", "sleeper", first, do="hang")
    outcome = study.run(limits=Limits(run_seconds=2.0))
    assert outcome.status == 1
    assert outcome.limited
    assert "--max-hours" in outcome.stopped
    assert not outcome.failed
    assert not status(study.folder)["failed"]
    assert study.run().status == 0
    assert status(study.folder)["left"] == 0


def test_the_limit_of_disk_starts_no_further_step(study):
    chain(study)
    outcome = study.run(limits=Limits(disk_bytes=1))
    assert (outcome.status, outcome.ran) == (1, 0)
    assert "--max-disk" in outcome.stopped
    held = folder_bytes(study.folder)
    one = study.run(limits=Limits(disk_bytes=held + 1))  # the first step fills it
    assert (one.status, one.ran) == (1, 1)
    assert study.run(limits=Limits(disk_bytes=10**9)).status == 0


def test_too_little_free_space_is_said_before_anything_runs(tmp_path):
    folder = tmp_path / "not" / "made" / "yet"
    with pytest.raises(StoreError, match="nothing was started"):
        check_room(folder, 1e18, Limits())
    check_room(folder, 1e18, Limits(disk_bytes=10**9))
    check_room(folder, 1e3, Limits())
    assert not folder.exists()


def test_done_without_a_result_is_lost_and_tried_again(study, monkeypatch):
    one, *_ = chain(study)
    submit, spoiled = LocalEngine.submit, []

    def elsewhere(engine, job):
        if job.key == one and not spoiled:
            spoiled.append(job.key)
            job = replace(job, final=str(study.folder / "elsewhere"))
        submit(engine, job)

    monkeypatch.setattr(LocalEngine, "submit", elsewhere)
    assert study.run().status == 0
    lost = [event for event in read_events(study.run_folder.events) if event["event"] == "lost"]
    assert [event["key"] for event in lost] == spoiled
    assert "not in the folder" in lost[0]["message"]
    assert number(study, one) == 1
