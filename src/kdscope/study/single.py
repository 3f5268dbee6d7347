"""One student without a study: a plan of training steps only, run by the driver in a folder of its own.

Everything that a study's run has holds here: the same command resumes, memory that runs out halves the
micro-batch, a teacher runs once, and a folder that holds something else is left alone.
"""

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from kdscope.errors import ConfigError, KdscopeError, StoreError, UserError
from kdscope.study.cost import costs, this_machine
from kdscope.study.display import watch
from kdscope.study.graph import Graph, Plan
from kdscope.study.grid import cells
from kdscope.study.identity import SHORT, digest
from kdscope.study.launch import run_plan
from kdscope.study.outcome import Outcome
from kdscope.study.overview import Overview, parameters
from kdscope.study.preflight import check
from kdscope.study.resolve import Resolved, resolve_source
from kdscope.study.source import Source
from kdscope.study.store import Run, read_manifest
from kdscope.study.survey import missing, survey
from kdscope.study.training import Training, cell_system

_TRAIN = ("limit", "validation", "epochs", "batch_size", "learning_rate", "schedule", "warmup_steps",
          "weight_decay", "max_grad_norm", "max_length", "reduction", "select", "lora",
          "gradient_checkpointing", "precision", "rollouts")  # fmt: skip
_FLAGS = ("teacher", "student", "method", "data", "out", "seed", "display")
_STUDY = ("teacher_signal", "top_k", "server", "cache_dtype", "prompt", "teacher_adapted")


@dataclass(frozen=True)
class Distilled:
    """A trained student and where it lies.

    Attributes:
        folder: of the run.
        model: folder of the adapter or of the whole weights.
        curves: Parquet file of the training curves.
        teacher, student, method, data: what was asked for.
        measures: tokens, optimizer steps, examples that were cut or dropped.
        steps_run, steps_reused: how much had to be done.
    """

    folder: Path
    model: Path
    curves: Path
    teacher: str
    student: str
    method: str
    data: str
    measures: Mapping[str, Any]
    steps_run: int
    steps_reused: int

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        plain = {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}
        return plain | {"measures": dict(self.measures)}


def distill(
    teacher: str,
    student: str,
    method: str,
    data: str,
    out: str | Path,
    *,
    seed: int = 0,
    display: str = "none",
    **settings: Any,
) -> Distilled:
    """Train one student under a method with a teacher, which is taken as it is.

    Example:
        >>> done = kdscope.distill("tiny-teacher", "tiny-student", "fkl", "tiny-train", "runs/mine",
        ...                        epochs=1, temperature=2.0)
        >>> done.model
        PosixPath('runs/mine/model')

    Args:
        teacher: an embedded name, a hub id, or a checkpoint folder.
        student: the same.
        method: ``sft``, ``seqkd``, ``fkl``, ``revkd`` or ``gkd``.
        data: a training set of the catalogue, or a JSON, JSON Lines, CSV or Parquet file.
        out: the run's folder; its ``model`` holds the student. The same call resumes.
        seed: of adapters, data order, dropout and rollouts.
        display: ``auto``, ``live``, ``plain`` or ``none``.
        settings: of the method (``temperature``, ``beta``, ...), of training (``epochs``, ``lora``,
            ...), or ``teacher_signal``, ``top_k``, ``server``, ``cache_dtype``, ``prompt``,
            ``teacher_adapted``.

    Raises:
        UserError: lists every mistake; nothing was started, nothing is overwritten.
        KdscopeError: a step failed; its log is under ``out``.
    """
    resolved = _resolved(teacher, student, method, data, seed, settings)
    plan, key = _planned(resolved)
    run = Run(Path(out))
    run.refuse_others(plan.name)
    found = survey(run, plan)
    todo = frozenset(missing(plan, found[0]))
    if todo:
        check(Overview(resolved, plan, {}, todo, run.folder))
    run.claim(plan.name)
    with run.locked() as lock:
        document = resolved.document()
        del document["evaluate"]  # nothing is evaluated here
        run.save_study(resolved.source.text, document, plan)
        outcome = run_plan(run, plan, watch(display), lock=lock, found=found)
    _raise_failure(outcome, run)
    artifact = run.artifacts({"sft", "distill"})[key[:SHORT]]
    _publish(artifact / "out", run.folder)
    measures = (read_manifest(artifact) or {})["measures"]
    return Distilled(
        run.folder, run.folder / "model", run.folder / "curves.parquet", teacher, student, method,
        data, measures, outcome.ran, outcome.reused,
    )  # fmt: skip


def _resolved(
    teacher: str, student: str, method: str, data: str, seed: int, settings: Mapping[str, Any]
) -> Resolved:
    """The one-cell study that the arguments describe; its name tells it from every other."""
    train = {name: value for name, value in settings.items() if name in _TRAIN}
    own = {name: value for name, value in settings.items() if name in _STUDY}
    of_method = {name: v for name, v in settings.items() if name not in (*_TRAIN, *_STUDY)}
    study = {
        "seeds": [seed],
        "teachers": [teacher],
        "students": [student],
        "teacher_adapted": False,
        "train": {"data": data, **train},
        "methods": {method: of_method},
        **own,
    }
    named = {"name": f"distill-{digest(study)[:8]}", **study}
    text = yaml.safe_dump(named, sort_keys=False, allow_unicode=True)
    content = {
        **named,
        "evaluate": {"tasks": ["tiny-math"]},
    }  # a study must have one; it is not run
    return resolve_source(Source(content, {}, "the arguments of distill", Path.cwd(), text))


def _planned(resolved: Resolved) -> tuple[Plan, str]:
    """The training steps of the one cell, and the key of the last.

    Raises:
        ConfigError: a list opened an axis.
    """
    grid = cells(resolved)
    if len(grid) != 1:
        raise ConfigError(
            f"these settings describe {len(grid)} students, and distill trains one: give single values, "
            "or write a study for `kdscope run`"
        )
    (cell,) = grid
    graph = Graph()
    training = Training(resolved, graph)
    if cell.teacher is None:
        key = training.student_sft(cell.student, cell.seed, cell_system(cell), cell.settings)
    else:
        key = training.distill(cell)
    plan = Plan(resolved.study.name, graph.steps, tuple(grid), (), resolved.locations())
    found = costs(plan, this_machine(), parameters(resolved))
    return replace(plan, predicted={k: round(c.seconds, 2) for k, c in found.items()}), key


def _raise_failure(outcome: Outcome, run: Run) -> None:
    if outcome.status == 0:
        return
    reasons = [f"{step}: {message}" for step, message in outcome.failed.items()]
    text = "; ".join(reasons or [outcome.stopped])
    text += f". What is complete in {run.folder} stays, and the same command goes on from there"
    raise UserError(text) if outcome.status == 2 else KdscopeError(text)


def _publish(source: Path, folder: Path) -> None:
    """Put the student where people look for it, complete or not at all; what is there stays."""
    for name in ("curves.parquet", "model"):
        target = folder / name
        if target.exists():
            continue
        temporary = folder / f".{name}.{uuid.uuid4().hex[:8]}"
        try:
            if (source / name).is_dir():
                shutil.copytree(source / name, temporary)
            else:
                shutil.copyfile(source / name, temporary)
            os.replace(temporary, target)
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror}") from None


def parse_settings(arguments: Iterable[str]) -> dict[str, Any]:
    """``key=value`` arguments, each value read as YAML.

    Raises:
        ConfigError: one of them is of another form, or names what has a flag of its own.
    """
    given: dict[str, Any] = {}
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if not sign or not name.isidentifier() or name in _FLAGS:
            raise ConfigError(f"{argument!r}: a setting is written key=value, as in epochs=1")
        try:
            given[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"{argument!r}: the value is not valid YAML") from None
    return given
