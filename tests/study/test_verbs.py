"""The verbs of a study from the command line: light, clear, with the right exit status."""

import json
import subprocess
import sys

import pytest
import yaml

HEAVY = (
    "torch",
    "transformers",
    "ray",
    "peft",
    "accelerate",
    "datasets",
    "pandas",
    "scipy",
    "pyarrow",
)

LOADED = """
import sys
from kdscope.cli import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    print("LOADED", [name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


def kdscope(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "kdscope", *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments", [["--help"], ["validate", "quickstart"], ["plan", "quickstart"]]
)
def test_no_heavy_library_is_loaded(arguments):
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(heavy=HEAVY), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "LOADED []" in done.stderr, done.stderr


def test_a_driver_loads_no_torch():
    code = "import sys, kdscope.study.launch; print('torch' in sys.modules, 'ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_plan_as_json(tmp_path):
    done = kdscope("plan", "quickstart", "seeds=[0]", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["cells"] == 10
    assert found["total"]["cached"] == 0
    assert found["total"]["steps"] == len(found["steps"])
    assert {"step", "kind", "key", "cached", "seconds", "memory", "disk"} == set(found["steps"][0])
    assert all(step["seconds"] > 0 for step in found["steps"])


def test_a_faulty_study_exits_2_without_a_traceback(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("name: x\nevaluate: {tasks: [no-such-task]}\n")
    for verb in ("validate", "plan", "run"):
        done = kdscope(verb, path, cwd=tmp_path)
        assert done.returncode == 2
        assert "no-such-task" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_presets_and_init(tmp_path):
    found = json.loads(kdscope("presets", "--json").stdout)
    assert {"quickstart", "smollm2-gsm8k"} <= {entry["name"] for entry in found}
    assert kdscope("init", "quickstart", cwd=tmp_path).returncode == 0
    assert yaml.safe_load((tmp_path / "quickstart.yaml").read_text())["name"] == "quickstart"
    again = kdscope("init", "quickstart", cwd=tmp_path)
    assert again.returncode == 2
    assert "not written over" in again.stderr
    assert "did you mean 'quickstart'" in kdscope("init", "quickstrt").stderr


def test_a_folder_with_another_study_is_left_alone(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "resolved.yaml").write_text("name: mine\n")
    done = kdscope("run", "quickstart", "--out", folder)
    assert done.returncode == 2
    assert "holds the study 'mine'" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["resolved.yaml"]


def test_folders_that_are_no_runs(tmp_path):
    for verb in (["status"], ["why", "x"], ["logs", "x"], ["gc"]):
        done = kdscope(verb[0], tmp_path, *verb[1:])
        assert done.returncode == 2
        assert "no plan.json" in done.stderr


def test_an_unknown_engine_is_explained(tmp_path):
    done = kdscope("run", "quickstart", "--engine", "slurm", "--out", tmp_path / "r")
    assert done.returncode == 2
    assert "local" in done.stderr


def test_doctor_reports_as_json():
    found = json.loads(kdscope("doctor", "--json").stdout)
    assert found["slots"] >= 1
    assert found["gflops_per_slot"] > 0
