"""Two processes (gloo) take the optimizer step that one process takes, as replicas and sharded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdscope.models.adapters import load_trained
from tests.distillation.two_processes import CASES, head_gradient, student, trained_on, weights_of

ROOT = Path(__file__).parents[2]
SHARDED = [case for case in CASES if case != "rollouts"]
REPLICAS = [case for case in CASES if case != "shared"]
pytestmark = pytest.mark.slow


def run_two(folder, way, *cases):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "tests.distillation.two_processes", str(folder), way, *cases,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of a case: model and numbers."""
    known = {}

    def train(case):
        if case not in known:
            trained = trained_on(case, tmp_path_factory.mktemp("one") / case)
            known[case] = (trained.model, weights_of(trained))
        return known[case]

    return train


def assert_same(found, expected, case):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name],
            value,
            rtol=1e-5,
            atol=1e-5,
            msg=lambda m, n=name: f"{case} {n}: {m}",
        )


def assert_saved_whole(folder, case, model):
    """What two processes saved loads, and is the model that one process trained."""
    tied = CASES[case].get("tied", False)
    loaded = load_trained(student(tied), folder).state_dict()
    assert_same(loaded, model.state_dict(), f"{case}, saved:")


def compare(folder, way, cases, alone):
    done = run_two(folder, way, *cases)
    assert done.returncode == 0, done.stderr[-4000:]
    for case in cases:
        model, expected = alone(case)
        found = torch.load(folder / f"{case}.pt")
        assert_same(found, expected, case)
        assert_saved_whole(folder / case / "model", case, model)


def test_replicas_take_the_step_of_one_process(tmp_path, alone):
    compare(tmp_path, "replicas", REPLICAS, alone)


def test_sharded_weights_take_the_step_of_one_process(tmp_path, alone):
    """Every step also asserts that each process holds its part of every weight alone."""
    compare(tmp_path, "sharded on CPUs", SHARDED, alone)
    gradient = torch.load(tmp_path / "head.pt")
    torch.testing.assert_close(gradient, head_gradient(0, 1), rtol=1e-5, atol=1e-6)


def test_rollouts_of_a_sharded_student_are_refused(tmp_path):
    done = run_two(tmp_path, "sharded on CPUs", "rollouts")
    assert done.returncode != 0
    assert "rollouts of a sharded student are not supported" in done.stderr


def test_sharding_that_would_not_happen_is_refused(tmp_path):
    done = run_two(tmp_path, "sharded", "lora")
    assert done.returncode != 0
    assert "sharded weights (FSDP2) need accelerators" in done.stderr
