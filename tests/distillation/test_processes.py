"""Two processes (gloo) take the optimizer step that one process takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.distillation.two_processes import CASES, weights_of

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run_two(folder, parallel, *cases):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "tests.distillation.two_processes", str(folder), parallel, *cases,
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=400
    )


def compare(folder, parallel, cases):
    done = run_two(folder, parallel, *cases)
    assert done.returncode == 0, done.stderr[-4000:]
    for case in cases:
        two, one = torch.load(folder / f"{case}.pt"), weights_of(case, folder / f"one-{case}")
        assert two.keys() == one.keys()
        for name, weight in one.items():
            torch.testing.assert_close(
                two[name],
                weight,
                rtol=1e-5,
                atol=1e-5,
                msg=lambda m, c=case, n=name: f"{c} {n}: {m}",
            )


def test_replicas_take_the_step_of_one_process(tmp_path):
    compare(tmp_path, "replicas", list(CASES))


def test_sharding_that_would_not_happen_is_refused(tmp_path):
    done = run_two(tmp_path, "sharded", "lora")
    assert done.returncode != 0
    assert "sharded weights (FSDP2) need accelerators" in done.stderr
