"""Trackers: who is told of every training besides its own files, and nobody unless the study names them.

The Trainer's own callbacks do the telling. Where they keep things and how a run is called is said by the
environment variables that they read; a variable that the user has set is left as it is.
"""

import fcntl
import importlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kdscope.errors import missing_extra

FOLDER = "trackers"  # in the run's folder: what trackers keep on this machine


def absent(names: tuple[str, ...]) -> list[str]:
    """Trackers whose library (of the same name) is not installed; so is the extra called."""
    return [name for name in names if not _installed(name)]


def require(names: tuple[str, ...], study: str) -> None:
    """See that the trackers that a study names are installed.

    Raises:
        MissingExtraError: one is not; it names the extra.
    """
    for name in absent(names):
        raise missing_extra(name, name, f"`trackers: [{name}]` of the study {study!r}")


def _installed(name: str) -> bool:
    """Whether there is such a package: a mere folder of the name (W&B makes one) is none."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


@contextmanager
def tracked(job: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """While a step runs: the environment of its trackers; yields arguments for the Trainer.

    Args:
        job: with ``trackers, study, step, kind, key, fields, run_dir`` (of an engine's job).
    """
    names = list(job.get("trackers", ()))
    if not names:
        yield {}
        return
    before = dict(os.environ)
    own, offered = _variables(job)
    os.environ.update({**offered, **before, **own})
    try:
        if "mlflow" in names:
            _make_experiment(Path(offered["WANDB_DIR"]), os.environ["MLFLOW_EXPERIMENT_NAME"])
        yield {
            "report_to": names, "run_name": job["step"], "project": job["study"],
            "trackio_space_id": None, "trackio_static_space_id": False,
        }  # fmt: skip
    finally:
        _finish()
        os.environ.clear()
        os.environ.update(before)


def _variables(job: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """What names this training, and where things go unless the user says something else."""
    place = (Path(job["run_dir"]) / FOLDER).absolute()
    model = job["fields"].get("student") or job["fields"].get("model") or {}
    group = str(model.get("name", job["kind"]))
    own = {
        "TENSORBOARD_LOGGING_DIR": str(place / "tensorboard" / job["step"]),
        "WANDB_RUN_ID": job["key"][:32],  # a resumed step goes on with its run
        "WANDB_RESUME": "allow",
        "WANDB_RUN_GROUP": group,
        "WANDB_JOB_TYPE": job["kind"],
        "MLFLOW_TAGS": json.dumps({"group": group, "kind": job["kind"], "key": job["key"]}),
    }
    offered = {
        "WANDB_PROJECT": job["study"],
        "WANDB_DIR": str(place),
        "MLFLOW_EXPERIMENT_NAME": job["study"],
        "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}",
        "TRACKIO_DIR": str(place / "trackio"),
    }
    place.mkdir(parents=True, exist_ok=True)
    return own, offered


def _make_experiment(place: Path, name: str) -> None:
    """Make MLflow's database and experiment, one worker at a time: two at once fail on its tables."""
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        importlib.import_module("mlflow").set_experiment(name)


def _finish() -> None:
    """End what a failed training has left open: the next step of this worker is another run."""
    for name, end in (("wandb", "finish"), ("trackio", "finish"), ("mlflow", "end_run")):
        if name in sys.modules:
            with suppress(Exception):  # nothing was open
                getattr(importlib.import_module(name), end)()
