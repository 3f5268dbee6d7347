"""Predicted against measured time, as a plan shows it after a run."""

from dataclasses import replace

from kdscope.study import measured
from kdscope.study.display import watch
from kdscope.study.launch import Options, run_plan
from kdscope.study.store import read_manifest


def run(study, plan):
    study.run_folder.claim("trivial")
    with study.run_folder.locked() as lock:
        study.run_folder.save_study("", {"name": "trivial"}, plan)
        return run_plan(study.run_folder, plan, watch("none"), Options(workers=1), lock)


def test_each_step_is_compared_with_the_prediction_it_was_started_with(study):
    one = study.step("start", "one", do="slow", seconds=0.3)
    two = study.step("work", "two", one)
    assert measured.lines(study.folder, study.plan) == []  # nothing has run
    run(study, replace(study.plan, predicted={one: 0.6, two: 5.0}))
    manifest = read_manifest(study.artifact(one))
    assert manifest is not None
    assert manifest["predicted"] == 0.6
    assert manifest["seconds"] >= 0.3
    assert manifest["cpu_seconds"] < 0.3  # it slept
    assert manifest["machine"]["load"] >= 0.0
    later = replace(study.plan, predicted={one: 99.0, two: 99.0})  # as after learning
    found = {kind.kind: kind for kind in measured.by_kind(study.folder, later)}
    assert found["start"].predicted == 0.6
    assert found["start"].seconds == manifest["seconds"]
    assert found["work"].steps == 1
    ran = measured.last_run(study.folder)
    assert ran is not None
    assert ran.steps == 2
    assert ran.predicted > 5.6  # the start of the worker and what lies between steps count
    assert ran.seconds >= 0.3
    run(study, later)  # nothing to do: the last run that ran all it had to is still that one
    assert measured.last_run(study.folder) == ran
    text = "\n".join(measured.lines(study.folder, later))
    assert "start: 1 steps took" in text
    assert "the last run: 2 steps took" in text
    assert "load" in text


def test_steps_that_were_not_predicted_are_left_out(study):
    study.step("start", "one")
    study.run()
    assert measured.by_kind(study.folder, study.plan) == []
    assert measured.last_run(study.folder) is None
