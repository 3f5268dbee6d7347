"""What a study survives: break a small quickstart, run the same command again, compare tables.

    python scripts/faults.py [--kills 20] [--only NAME ...] [--markdown docs/faults.md]

Every scenario ends in one of two ways: the same command finishes and all tables but ``steps`` equal
those of the undisturbed run, or the command refuses with one sentence. An undisturbed run takes a
minute or so on two cores.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from kdscope.study.events import read_events
from kdscope.study.results import open_results

STUDY = [
    "quickstart",
    "seeds=[0]",
    "students=[tiny-student-small]",
    "train.limit=48",
    "--limit",
    "20",
]

# Put on PYTHONPATH of the workers: breaks a step's module once per marker file, as it is imported.
SABOTAGE = """
import importlib, os, pathlib, time
_real = importlib.import_module
def _import(name, package=None):
    module = _real(name, package)
    if name == os.environ.get("SABOTAGE_MODULE"):
        marker = pathlib.Path(os.environ["SABOTAGE_MARKER"])
        def run(*arguments):
            if marker.exists():
                marker.unlink()
                if os.environ["SABOTAGE"] == "raise":
                    raise RuntimeError("sabotaged")
                time.sleep(100000)
            return module.run_as_written(*arguments)
        if not hasattr(module, "run_as_written"):
            module.run_as_written, module.run = module.run, run
    return module
importlib.import_module = _import
"""


class Result(NamedTuple):
    """A row of the fault table."""

    fault: str
    times: int
    ending: str
    equal: str


class Lab:
    """Runs of one study, and the undisturbed tables to compare with."""

    def __init__(self, place: Path, study: list[str]):
        self.place, self.study = place, study
        self.random = random.Random(0)
        self.calm = self.finish("calm")

    def start(self, name: str, *more: str, **environment: str) -> subprocess.Popen[str]:
        """The command, in a folder of that name."""
        command = [sys.executable, "-m", "kdscope", "run", *self.study, "--display", "none",
                   "--out", str(self.place / name), *more]  # fmt: skip
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env=os.environ | environment,
        )  # fmt: skip

    def finish(self, name: str, *more: str, **environment: str) -> dict:
        """Run to the end; the tables."""
        status, message = self.end(self.start(name, *more, **environment))
        if status != 0:
            raise SystemExit(f"{name}: status {status}: {message}")
        return self.tables(name)

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Wait for a command: its status and what it said."""
        _, said = process.communicate(timeout=3600)
        return process.returncode, said.strip()

    def tables(self, name: str) -> dict:
        """All tables but ``steps``."""
        found = open_results(self.place / name)
        return {table: frame for table, frame in found.items() if table != "steps"}

    def verdict(self, fault: str, times: int, name: str, ending: str = "finished") -> Result:
        """Run the same command to the end and compare."""
        tables = self.finish(name)
        differing = [table for table, frame in self.calm.items() if not frame.equals(tables[table])]
        left = list((self.place / name / "steps").rglob("*.work"))
        equal = "equal" if not differing and not left else f"differ: {differing} {left}"
        return Result(fault, times, ending, equal)

    def copy(self, name: str) -> Path:
        """A copy of the undisturbed run's folder."""
        target = self.place / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.place / "calm", target)
        return target

    def unexplained(self, name: str) -> int:
        """Steps that ran to the end more than once without a reason in the events."""
        done: dict[str, int] = {}
        for event in read_events(self.place / name / "events.jsonl"):
            if event["event"] == "done":
                done[event["key"]] = done.get(event["key"], 0) + 1
            elif event["event"] == "damaged":
                done[event["key"]] = done.get(event["key"], 0) - 1
        return sum(count > 1 for count in done.values())


def driver_killed(lab: Lab, kills: int) -> Result:
    """Kill -9 of the driver at random moments of one run."""
    for _ in range(kills):
        process = lab.start("driver-killed")
        time.sleep(lab.random.uniform(0.5, 15.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    ending = f"finished, {lab.unexplained('driver-killed')} steps ran twice"
    return lab.verdict("driver killed (-9)", kills, "driver-killed", ending)


def worker_killed(lab: Lab, kills: int) -> Result:
    """Kill -9 of a random worker at random moments."""
    done = 0
    while done < kills:
        process = lab.start("worker-killed")
        while process.poll() is None and done < kills:
            time.sleep(lab.random.uniform(1.0, 8.0))
            workers = [] if process.poll() is not None else psutil.Process(process.pid).children()
            if workers:
                lab.random.choice(workers).kill()
                done += 1
        lab.end(process)
        if done < kills:
            shutil.rmtree(lab.place / "worker-killed")
    return lab.verdict("worker killed (-9)", kills, "worker-killed")


def _sabotaged(lab: Lab, how: str, *more: str) -> tuple[int, str, str]:
    name, hook = f"step-{how}", lab.place / "hook"
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(SABOTAGE)
    marker = lab.place / f"marker-{how}"
    marker.touch()
    path = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    status, said = lab.end(
        lab.start(name, *more, PYTHONPATH=path, SABOTAGE=how, SABOTAGE_MARKER=str(marker),
                  SABOTAGE_MODULE="kdscope.study.steps.teacher_cache")
    )  # fmt: skip
    return status, said, name


def step_raises(lab: Lab, kills: int) -> Result:
    """A step whose code raises: its branch stops, the others go on."""
    status, _, name = _sabotaged(lab, "raise")
    return lab.verdict("a step raises", 1, name, f"status {status}, others went on; finished")


def step_hangs(lab: Lab, kills: int) -> Result:
    """A step that never ends: killed after the stall limit, and run again."""
    status, _, name = _sabotaged(lab, "hang", "--stall-minutes", "1")
    return lab.verdict("a step hangs", 1, name, f"status {status}, killed and run again")


def flipped_byte(lab: Lab, kills: int) -> Result:
    """One byte of one file of every artifact flipped, one after another."""
    folder = lab.copy("flipped-byte")
    artifacts = sorted(path for path in (folder / "steps").glob("*/*") if path.is_dir())
    for artifact in lab.random.sample(artifacts, min(kills, len(artifacts))):
        files = sorted(path for path in (artifact / "out").rglob("*") if path.is_file())
        victim = lab.random.choice([path for path in files if path.stat().st_size])
        content = bytearray(victim.read_bytes())
        content[lab.random.randrange(len(content))] ^= 0xFF
        victim.write_bytes(content)
    return lab.verdict("a byte of an artifact flipped", kills, "flipped-byte", "made again")


def truncated_manifest(lab: Lab, kills: int) -> Result:
    """Manifests cut in the middle."""
    folder = lab.copy("truncated")
    manifests = sorted((folder / "steps").glob("*/*/manifest.json"))
    chosen = lab.random.sample(manifests, min(kills, len(manifests)))
    for path in chosen:
        path.write_bytes(path.read_bytes()[: lab.random.randrange(path.stat().st_size)])
    return lab.verdict("a manifest truncated", len(chosen), "truncated", "made again")


def clock_back(lab: Lab, kills: int) -> Result:
    """Every file a year in the future, as after a clock that was set back."""
    folder, later = lab.copy("clock"), time.time() + 365 * 86400
    for path in folder.rglob("*"):
        os.utime(path, (later, later))
    lab.end(lab.start("clock"))
    ran = [e for e in read_events(folder / "events.jsonl") if e["event"] == "end"][-1]["ran"]
    return lab.verdict("clock set back a year", 1, "clock", f"{ran} steps ran again")


def two_drivers(lab: Lab, kills: int) -> Result:
    """A second driver while the first works."""
    first = lab.start("two")
    while not (lab.place / "two" / "events.jsonl").exists():
        time.sleep(0.1)
    status, said = lab.end(lab.start("two"))
    lab.end(first)
    return lab.verdict(
        "two drivers at once", 1, "two", f"the second refused, status {status}: {said}"
    )


def full_disk(lab: Lab, kills: int) -> Result:
    """A file system of 12 MB, then a larger one."""
    small = lab.place / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(small)]).returncode:
        return Result("a full disk", 0, "not tried: needs the right to mount", "")
    try:
        status, said = lab.end(lab.start("small/run"))
        shutil.copytree(small / "run", lab.place / "full-disk")
    finally:
        subprocess.run(["umount", str(small)], check=True)
    last = said.splitlines()[-1]
    return lab.verdict("a full disk", 1, "full-disk", f"status {status}: {last}")


def read_only(lab: Lab, kills: int) -> Result:
    """An output folder that must not be written."""
    folder = lab.place / "read-only"
    folder.mkdir()
    mounted = os.geteuid() == 0
    if mounted:
        mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)]
        if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
            return Result("read-only output", 0, "not tried: needs the right to mount", "")
    else:
        folder.chmod(0o555)
    try:
        status, said = lab.end(lab.start("read-only"))
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
        else:
            folder.chmod(0o755)
    return Result("read-only output", 1, f"refused, status {status}: {said}", "nothing written")


def node_removed(lab: Lab, kills: int) -> Result:
    """A Ray cluster of two nodes loses one in mid-step, and gets another."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    events = lab.place / "node" / "events.jsonl"
    engine = ["--engine", "ray", "--address", cluster.address]
    try:
        process = lab.start("node", *engine)
        while process.poll() is None and _count(events, "done") < 3:
            time.sleep(0.2)
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        status, said = lab.end(process)
        lost = _count(events, "lost")
    finally:
        cluster.shutdown()
    if status:
        return Result("a Ray node removed", 1, f"status {status}: {said[-300:]}", "not compared")
    return lab.verdict(
        "a Ray node removed", 1, "node", f"{lost} steps lost and run again, finished"
    )


def _count(events: Path, name: str) -> int:
    return sum(event["event"] == name for event in read_events(events))


SCENARIOS: dict[str, Callable[[Lab, int], Result]] = {
    "driver-killed": driver_killed,
    "worker-killed": worker_killed,
    "step-raises": step_raises,
    "step-hangs": step_hangs,
    "flipped-byte": flipped_byte,
    "truncated-manifest": truncated_manifest,
    "clock-back": clock_back,
    "two-drivers": two_drivers,
    "full-disk": full_disk,
    "read-only": read_only,
    "node-removed": node_removed,
}


def main() -> None:
    """Run the scenarios and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="*", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        began = time.monotonic()
        lab = Lab(Path(place), STUDY)
        print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
        for name in arguments.only:
            began = time.monotonic()
            result = SCENARIOS[name](lab, arguments.kills)
            rows.append(f"| {result.fault} | {result.times} | {result.ending} | {result.equal} |")
            print(f"{rows[-1]} {time.monotonic() - began:.0f} s", flush=True)
    head = ["| fault | times | what happens | tables |", "|---|---|---|---|"]
    if arguments.markdown:
        command = " ".join(["kdscope run", *STUDY])
        text = [
            f"# What a run survives\n\nBy `python scripts/faults.py` on `{command}`.\n",
            *head,
            *rows,
        ]
        arguments.markdown.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
