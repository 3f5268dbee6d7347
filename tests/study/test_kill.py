"""Drivers and workers that are killed: the same command ends as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import trivial

from kdscope.study.results import open_results
from kdscope.study.status import status
from kdscope.study.store import read_manifest

DRIVER = Path(trivial.__file__)


def busy(study):
    """A graph with some width and depth whose steps take a moment."""
    ends = []
    for i in range(6):
        first = study.step("start", f"first{i}", number=i, do="slow", seconds=0.1)
        ends.append(study.step("work", f"second{i}", first, do="slow", seconds=0.1, table=True))
    last = study.step("work", "last", *ends, table=True)
    study.step("page", "page", *ends, last)
    path = study.folder.parent / "plan.json"
    path.write_text(json.dumps(study.plan.document()))
    return path


def start(folder, plan, workers=2):
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(folder), str(plan), str(workers)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err.decode()
    return json.loads(out)


def results(folder):
    return {name: table for name, table in open_results(folder).items() if name != "steps"}


def assert_equal(one, two):
    for name, table in one.items():
        assert table.equals(two[name]), name


def workers_of(folder):
    """Worker processes whose lock is that of a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if "kdscope.study.worker" in " ".join(process.info["cmdline"] or ()):
            try:
                if any(str(folder) in opened.path for opened in process.open_files()):
                    found.append(process)
            except psutil.Error:
                continue
    return found


@pytest.fixture
def undisturbed(study, tmp_path):
    plan = busy(study)
    finish(start(tmp_path / "calm", plan))
    return plan, results(tmp_path / "calm")


def test_a_killed_driver_loses_nothing_and_leaves_nobody_behind(study, undisturbed):
    plan, calm = undisturbed
    moments = random.Random(0)
    for _ in range(4):
        process = start(study.folder, plan)
        time.sleep(moments.uniform(0.3, 2.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    finish(start(study.folder, plan))
    assert_equal(calm, results(study.folder))
    assert not list((study.folder / "steps").rglob("*.work"))
    for key in study.graph.steps:
        assert read_manifest(study.artifact(key)) is not None
    assert not workers_of(study.folder)


def test_killed_workers_cost_attempts_only(study, undisturbed):
    plan, calm = undisturbed
    process, killed = start(study.folder, plan), 0
    while process.poll() is None and killed < 5:
        for worker in psutil.Process(process.pid).children()[:1]:
            worker.kill()
            killed += 1
        time.sleep(0.8)
    finish(process)
    assert killed
    assert_equal(calm, results(study.folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly_and_resumes(study, undisturbed, number):
    plan, calm = undisturbed
    process = start(study.folder, plan)
    while not (study.folder / "events.jsonl").exists():
        time.sleep(0.05)
    time.sleep(1.0)
    os.kill(process.pid, number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert json.loads(out)["interrupted"]
    assert not status(study.folder)["failed"]
    finish(start(study.folder, plan))
    assert_equal(calm, results(study.folder))


def test_a_second_driver_is_refused(study):
    study.step("start", "slow", do="slow", seconds=3)
    path = study.folder.parent / "plan.json"
    path.write_text(json.dumps(study.plan.document()))
    first = start(study.folder, path)
    while not workers_of(study.folder):
        time.sleep(0.1)
    second = start(study.folder, path)
    _, err = second.communicate(timeout=30)
    assert second.returncode == 1
    assert "another run is working" in err.decode()
    assert finish(first)["ran"] == 1
