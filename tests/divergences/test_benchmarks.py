"""The benchmark scripts: what they document can be asked for, and bad input ends in a sentence."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"


def run(script, *options):
    command = [sys.executable, str(BENCH / script), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would run")
def test_the_gpu_benchmark_says_what_is_missing():
    result = run("gpu.py", "--blocks", "1024x4", "4096x16")
    assert result.returncode == 2
    assert "no CUDA device" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("shape", ["1000x4", "1024"])
def test_impossible_programs_are_refused(shape):
    result = run("gpu.py", "--blocks", shape)
    assert result.returncode == 2
    assert "two powers of two" in result.stderr


@pytest.mark.parametrize("script", ["gpu.py", "head.py", "step.py"])
def test_every_option_in_the_examples_exists(script):
    result = run(script, "--help")
    assert result.returncode == 0
    usage, _, rest = result.stdout.partition("\n\n")
    named = set(re.findall(r"--[a-z-]+", rest.partition("options:")[0]))
    assert named
    assert named <= set(re.findall(r"--[a-z-]+", usage))


@pytest.mark.slow
def test_the_step_benchmark_does_the_same_work_with_every_trainer():
    result = run(
        "step.py", "--small", "--rounds", "1", "--student-layers", "1", "--teacher-layers", "1"
    )
    assert result.returncode == 0, result.stderr[-2000:]
    cells = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")][1:]
    losses = {row[0].strip("| "): float(row[-1].strip(" |")) for row in cells}
    assert losses["cached"] == losses["live"]
    assert losses["cached, fast"] == losses["live, fast"] != losses["live"]
    assert losses["live, fast"] == pytest.approx(losses["live"], rel=1e-3)
    assert losses["trl distillation"] == pytest.approx(losses["live"], rel=1e-4)
    assert losses["trl gkd"] == pytest.approx(losses["live"], rel=0.1)  # its logits are rounded
    ours = {"cached", "live", "cached, fast", "live, fast"}
    assert set(losses) == ours | {"trl distillation", "trl gkd", "plain"}
