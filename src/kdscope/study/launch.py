"""Running a study: claim the folder, lock it, run what is missing, rebuild the tables."""

import dataclasses
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kdscope import report
from kdscope.errors import ConfigError
from kdscope.study import measured
from kdscope.study.budget import Limits, check_room
from kdscope.study.cost import learn, own_seconds, save_machine, this_machine
from kdscope.study.display import duration, size
from kdscope.study.driver import Driver
from kdscope.study.engine import Engine
from kdscope.study.graph import Plan, Step
from kdscope.study.identity import SHORT
from kdscope.study.local import LocalEngine, machine_slots
from kdscope.study.mirror import Mirror
from kdscope.study.outcome import Outcome, Watch
from kdscope.study.overview import Overview, parameters
from kdscope.study.preflight import check
from kdscope.study.progress import Progress
from kdscope.study.provenance import code_state
from kdscope.study.ray import RayEngine, TablesHere
from kdscope.study.results import rebuild_tables
from kdscope.study.store import Run, read_manifest, write_text
from kdscope.study.survey import missing, survey


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run, none of which changes a result.

    Attributes:
        engine: ``local`` or ``ray``.
        address: of the Ray cluster; None for ``RAY_ADDRESS`` or the one on this machine.
        labels: custom resource of Ray that a kind of step needs, by kind.
        workers: number of local workers; None for one per GPU or core.
        thorough: verify every reused file by its checksum.
        limits: see Limits.
        mirror: URL of the object store that is the run's home; its folder is then but a working copy.
    """

    engine: str = "local"
    workers: int | None = None
    thorough: bool = False
    address: str | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limits: Limits = dataclasses.field(default_factory=Limits)
    mirror: str | None = None


def run_study(study: Overview, watch: Watch, options: Options | None = None) -> Outcome:
    """Run what is missing of a study in its folder; the same call resumes.

    Raises:
        StoreError: the folder holds another study, is in use, or cannot be written.
        UserError: data, weights or an extra are not at hand; nothing was started.
    """
    options = options or Options()
    if options.engine not in ENGINES:
        raise ConfigError(f"there is no engine {options.engine!r}; choose local or ray")
    run = Run(study.folder)
    mirror = _mirror(options, run)
    run.refuse_others(study.plan.name)
    if mirror is not None:
        mirror.pull(run, study.plan)
    found = survey(run, study.plan, thorough=options.thorough)
    study = dataclasses.replace(study, todo=frozenset(missing(study.plan, found[0])))
    if study.todo:
        check(study, here=options.engine == "local")
        check_room(run.folder, study.totals()["disk"], options.limits)
    run.claim(study.plan.name)
    with run.locked() as lock:
        run.save_study(study.resolved.source.text, study.resolved.document(), study.plan)
        finished = None if mirror is None else partial(mirror.push, run)
        outcome = run_plan(run, study.plan, watch, options, lock, found, finished, mirror)
        if not outcome.stopped:
            _viewer(run, study.plan.name)
    if mirror is not None:
        trouble = mirror.close(run, study.plan)
        if trouble:
            outcome.failed[str(options.mirror)] = f"{trouble}; the same command tries again"
    if outcome.ran:
        _learn(run, study)
    return outcome


def _viewer(run: Run, name: str) -> None:
    """Every answer as a page beside the report; a disk too full for it does not undo the run."""
    try:
        report.refresh_viewer(run.folder, name)
    except OSError:
        shutil.rmtree(run.folder / "report" / "viewer", ignore_errors=True)


def run_plan(
    run: Run,
    plan: Plan,
    watch: Watch,
    options: Options | None = None,
    lock: int | None = None,
    found: tuple[set[str], dict[str, str]] | None = None,
    finished: Callable[[Step], None] | None = None,
    mirror: Mirror | None = None,
) -> Outcome:
    """Run what is missing of a plan in a claimed and locked folder, and rebuild its tables.

    ``found`` is what :func:`kdscope.study.survey.survey` said of it, if it was asked already;
    ``finished`` is called with every step that has become complete; ``mirror`` is the place of the run on
    an object store, through which the nodes of a cluster exchange results.
    """
    options = options or Options()
    code, diff = code_state()
    if diff:
        (run.folder / "code").mkdir(exist_ok=True)
        write_text(run.folder / "code" / f"{code['changes']}.diff", diff)
    engine = ENGINES[options.engine](run, options, lock, mirror)
    driver = Driver(
        run, plan, engine, watch=Progress(run.folder, watch), limits=options.limits, code=code,
        finished=finished,
    )  # fmt: skip
    with _terminated_as_interrupted():
        outcome = driver.execute(found or survey(run, plan, thorough=options.thorough))
    rebuild_tables(run.folder, plan=plan)
    return outcome


def _mirror(options: Options, run: Run) -> Mirror | None:
    if options.mirror is None:
        return None
    mirror = Mirror(options.mirror)
    mirror.recall(run)
    return mirror


def _local(run: Run, options: Options, lock: int | None, mirror: Mirror | None) -> Engine:
    return LocalEngine(machine_slots(options.workers), lock)


def _ray(run: Run, options: Options, lock: int | None, mirror: Mirror | None) -> Engine:
    cluster = RayEngine(run.folder, options.address, options.labels, mirror)
    return cluster if mirror is None else TablesHere(cluster, LocalEngine(machine_slots(1), lock))


ENGINES: dict[str, Callable[[Run, Options, int | None, Mirror | None], Engine]] = {
    "local": _local,
    "ray": _ray,
}


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C; a second one of either ends the process at once."""

    def stop(number: int, frame: object) -> None:
        for kind in (signal.SIGINT, signal.SIGTERM):
            signal.signal(kind, lambda *_: os._exit(130))
        raise KeyboardInterrupt

    before = {kind: signal.signal(kind, stop) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _learn(run: Run, study: Overview) -> None:
    """Renew the cost model by what was measured of the steps that have just run."""
    artifacts = run.artifacts({step.kind for step in study.plan.steps.values()})
    found = []
    for key in study.todo:
        manifest = read_manifest(artifacts[key[:SHORT]]) if key[:SHORT] in artifacts else None
        if manifest is not None and manifest["machine"]["host"] == socket.gethostname():
            seconds = own_seconds(manifest)
            if seconds is not None:
                found.append((study.plan.steps[key], seconds))
    save_machine(learn(this_machine(), found, parameters(study.resolved)))


def outcome_lines(study: Overview, outcome: Outcome) -> list[str]:
    """What became of a run, for people."""
    folder = study.folder
    if not outcome.ran and outcome.status == 0:
        lines = [f"nothing to do: all {outcome.reused} steps of {study.plan.name} are complete"]
    else:
        lines = [
            f"{outcome.ran} steps ran, {outcome.reused} were complete already, "
            f"in {duration(outcome.seconds)}"
        ]
        lines += measured.lines(folder, study.plan)
    by_message: dict[str, list[str]] = {}
    for step, message in outcome.failed.items():
        by_message.setdefault(message, []).append(step)
    for message, steps in by_message.items():
        more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
        lines.append(f"failed {steps[0]}{more}: {message}")
    if outcome.failed:
        lines.append(f"{len(outcome.skipped)} steps need them and were skipped; "
                     f"see `kdscope logs {folder} STEP`")  # fmt: skip
    if outcome.interrupted:
        lines.append("interrupted; nothing is lost, the same command resumes")
    elif outcome.limited:
        lines.append(
            f"stopped: {outcome.stopped}; nothing is lost, the same command with a higher limit or "
            "none goes on"
        )
    elif outcome.stopped:
        lines.append(f"stopped: {outcome.stopped}")
    return [*lines, *page_lines(folder)]


def page_lines(folder: Path) -> list[str]:
    """Where the pages of a run are, the viewer's with its size."""
    page, viewer = folder / "report" / "index.html", folder / "report" / "viewer" / "index.html"
    lines = [f"report: {page}"] if page.is_file() else []
    if viewer.is_file():
        total = sum(path.stat().st_size for path in viewer.parent.rglob("*") if path.is_file())
        lines.append(f"every answer: {viewer} ({size(total)}, the whole folder)")
    return lines
