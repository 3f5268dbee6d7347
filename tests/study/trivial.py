"""Trivial kinds of step: what a driver must survive, without a model.

``start`` stands alone, ``work`` reads its inputs; a step's ``do`` field says how it behaves.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from kdscope import tables
from kdscope.errors import DataError, OutOfMemoryError
from kdscope.study.steps import KINDS, Kind

TRIVIAL = {
    "start": Kind(1, "trivial:run"),
    "work": Kind(1, "trivial:run"),
    "big": Kind(1, "trivial:run", transient=True),
    "page": Kind(1, "trivial:page", reads_tables=True),
}


def add_kinds() -> None:
    """Make the trivial kinds known in this process; workers import this module by name."""
    KINDS.update(TRIVIAL)


def run(fields, inputs, out, context):
    """Behave as told, then write a number that depends on fields and inputs alone."""
    tried = context.resume / "tried"  # one byte an attempt: whoever is killed leaves a whole number
    with tried.open("ab") as file:
        file.write(b"x")
    count = tried.stat().st_size
    print(f"this is {fields['name']}, attempt {context.attempt}")
    context.progress(0, 1)
    behaviour = BEHAVIOURS.get(fields.get("do", ""))
    if behaviour is not None:
        behaviour(fields, context, count)
    total = sum(
        json.loads((f / "number.json").read_text()) for role in inputs for f in inputs[role]
    )
    (out / "number.json").write_text(json.dumps(total + fields.get("number", 1)))
    if fields.get("table"):
        row = {
            "model": fields["name"],
            "task": "t",
            "item": "0",
            "sample": 0,
            "score": float(total),
        }
        tables.write("generations", [row], out / "generations.parquet")
    context.progress(1, 1, loss=0.5)
    return {"number": total + fields.get("number", 1), "tokens": 7}


def page(fields, inputs, out, context):
    """Show how many rows the tables have."""
    rows = tables.read("generations", context.run_dir / "tables" / "generations.parquet").num_rows
    (out / "index.html").write_text(f"{rows} rows")


def _raise(fields, context, count):
    raise RuntimeError("as it was told")


def _user(fields, context, count):
    raise DataError("the file of the user is not there")


def _kill_self(fields, context, count):
    if count <= fields.get("times", 1):
        os.kill(os.getpid(), signal.SIGKILL)


def _memory(fields, context, count):
    if (context.micro_batch or 16) > 4:
        raise OutOfMemoryError("16 is too many")


def _hang(fields, context, count):
    if count <= fields.get("times", 1):
        time.sleep(1000)


def _slow(fields, context, count):
    time.sleep(fields["seconds"])


def _disk(fields, context, count):
    if count == 1:
        raise OSError(28, "No space left on device")


def _network(fields, context, count):
    if count == 1:
        raise ConnectionError("the server went away")


BEHAVIOURS = {
    "raise": _raise, "user": _user, "kill": _kill_self, "memory": _memory, "hang": _hang,
    "slow": _slow, "disk": _disk, "network": _network,
}  # fmt: skip


if __name__ == "__main__":  # a driver of its own, for tests that kill it
    from kdscope.study.display import watch
    from kdscope.study.graph import plan_from_document
    from kdscope.study.launch import Options, run_plan
    from kdscope.study.store import Run

    add_kinds()
    place = Run(Path(sys.argv[1]))
    made = plan_from_document(json.loads(Path(sys.argv[2]).read_text()))
    place.claim(made.name)
    with place.locked() as lock:
        place.save_study("", {"name": made.name}, made)
        result = run_plan(place, made, watch("none"), Options(workers=int(sys.argv[3])), lock)
    print(json.dumps(result.document()))
    sys.exit(result.status)
