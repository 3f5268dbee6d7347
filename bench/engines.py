"""The same study on one slot, on two, and on a Ray cluster of two nodes: seconds, and whether tables are equal.

    python bench/engines.py [quickstart 'seeds=[0]' --limit 40] [--only one two ray] [--out DIR]

`one` and `two` are processes of one thread each, held on so many cores (Linux). The nodes of `ray` are
two raylets of one core each on this machine. A run that is complete in DIR is compared, not run again.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from kdscope.study.measured import last_run
from kdscope.study.results import open_results

STUDY = ["quickstart", "seeds=[0]", "--limit", "40"]


def cluster():
    """A Ray cluster of two nodes with a core each; its address."""
    from ray.cluster_utils import Cluster

    class Nodes(Cluster):
        def __enter__(self):
            self.add_node(num_cpus=1)
            return self

        def __exit__(self, *_):
            self.shutdown()

    return Nodes(initialize_head=True, head_node_args={"num_cpus": 1})


def run(name: str, study: list[str], folder: Path) -> None:
    """One engine, and what it says of itself."""
    cores = sorted(os.sched_getaffinity(0))
    held = cores[:1] if name == "one" else cores[:2]
    with cluster() if name == "ray" else nullcontext() as nodes:
        engine = ["--engine", "ray", "--address", nodes.address] if nodes else []
        began, load = time.monotonic(), os.getloadavg()[0]
        done = subprocess.run(
            [sys.executable, "-m", "kdscope", "run", *study, *engine, "--out", str(folder),
             "--display", "none"],
            check=False, capture_output=True, text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, held),
        )  # fmt: skip
        spent = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{name}: status {done.returncode}: {done.stderr[-2000:]}")
    print(f"{name}: {spent:.1f} s at a load of {load:.1f} when it began", flush=True)


def main() -> None:
    """Run what is asked for and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=["one", "two", "ray"])
    parser.add_argument("--out", type=Path)
    arguments, study = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.out or Path(temporary)
        for name in arguments.only:
            run(name, study or STUDY, place / name)
        found = {
            n: open_results(place / n)
            for n in ("one", "two", "ray")
            if (place / n / "tables").is_dir()
        }
        (first, calm), *others = found.items()
        for name, tables in others:
            differing = [t for t in calm if t != "steps" and not calm[t].equals(tables[t])]
            print(f"{first} and {name}: {'differ in ' + str(differing) if differing else 'equal'}")
        one, two = last_run(place / "one"), last_run(place / "two")
        if one and two and one.steps == two.steps:
            print(f"two slots are {one.seconds / two.seconds:.2f} times as fast as one")


if __name__ == "__main__":
    main()
