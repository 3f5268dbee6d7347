"""Trivial steps for the driver, and the means to run them in this process."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import trivial  # noqa: E402 -- workers import it by this name, too

from kdscope.study.display import watch  # noqa: E402
from kdscope.study.graph import Graph, Plan  # noqa: E402
from kdscope.study.launch import Options, run_plan  # noqa: E402
from kdscope.study.steps import KINDS  # noqa: E402
from kdscope.study.store import Run  # noqa: E402


@pytest.fixture(autouse=True)
def _no_machine_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KDSCOPE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def kinds(monkeypatch):
    """The trivial kinds, known here and in workers."""
    for name, kind in trivial.TRIVIAL.items():
        monkeypatch.setitem(KINDS, name, kind)
    found = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), found] if found else [str(HERE)]))


class Study:
    """A graph under construction, and its runs in one folder."""

    def __init__(self, folder: Path):
        self.graph, self.folder = Graph(), folder
        self.run_folder = Run(folder)

    def step(self, kind: str, name: str, *inputs: str, **fields) -> str:
        return self.graph.add(kind, name, {"name": name, **fields}, {"in": list(inputs)})

    @property
    def plan(self) -> Plan:
        return Plan("trivial", self.graph.steps, ())

    def run(self, **options):
        self.run_folder.claim("trivial")
        with self.run_folder.locked() as lock:
            self.run_folder.save_study("", {"name": "trivial"}, self.plan)
            given = Options(**{"workers": 1, **options})
            return run_plan(self.run_folder, self.plan, watch("none"), given, lock)

    def artifact(self, key: str) -> Path:
        return self.run_folder.steps / self.graph.steps[key].path


@pytest.fixture
def study(kinds, tmp_path) -> Study:
    return Study(tmp_path / "run")
