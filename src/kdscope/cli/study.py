"""Verbs that run a study and look into it."""

from typing import Annotated

import typer

from kdscope.cli.base import START, STUDY, Folder, Json, app, emit, say
from kdscope.errors import ConfigError
from kdscope.study.place import is_url, working_folder

Study = Annotated[str, typer.Argument(help="A YAML file or a preset's name.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Dotted, as in seeds=[0].")
]
Out = Annotated[
    str | None,
    typer.Option("--out", help="The run's folder (runs/<name>), or a URL as s3://b/run."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Items per task.")]
Many = Annotated[bool, typer.Option("--many", help="Allow more than 20,000 cells.")]
StepName = Annotated[str, typer.Argument(help="A step: its path, its key, or a part of them.")]


@app.command(rich_help_panel=START)
def run(  # noqa: PLR0913, PLR0917 -- the options of a verb
    study: Study,
    overrides: Overrides = None,
    out: Out = None,
    limit: Limit = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Local workers (one per GPU or core).")
    ] = None,
    display: Annotated[str, typer.Option(help="auto, live, plain or none.")] = "auto",
    verify: Annotated[bool, typer.Option(help="Check every reused file by its checksum.")] = False,
    stall_minutes: Annotated[float, typer.Option(help="A silent step is killed then.")] = 60,
    step_minutes: Annotated[float | None, typer.Option(help="Longest time of one attempt.")] = None,
    max_hours: Annotated[
        float | None, typer.Option(min=0, help="The run ends cleanly after so many hours.")
    ] = None,
    max_disk: Annotated[
        float | None, typer.Option(min=0, help="GB that the run's folder may hold.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KIND=RESOURCE", help="Ray resource of a kind.")
    ] = None,
    many: Many = False,
    json: Json = False,
) -> None:
    """Run what is missing of a study; the same command resumes.

    Example: `kdscope run quickstart seeds=[0] --limit 40`
    """
    from kdscope.study.budget import Limits
    from kdscope.study.display import watch
    from kdscope.study.launch import Options, outcome_lines, run_study
    from kdscope.study.overview import overview

    limits = Limits(
        stall_seconds=60 * stall_minutes,
        step_seconds=None if step_minutes is None else 60 * step_minutes,
        run_seconds=None if max_hours is None else 3600 * max_hours,
        disk_bytes=None if max_disk is None else int(1e9 * max_disk),
    )
    folder = working_folder(out)
    found = overview(study, overrides or (), out=folder, limit=limit, many=many, look=False)
    labels = dict(_label(entry) for entry in label or ())
    mirror = out if out is not None and is_url(out) else None
    options = Options(engine, workers, verify, address, labels, limits, mirror)
    outcome = run_study(found, watch(display), options)
    for line in outcome_lines(found, outcome):
        say(line)
    if json:
        emit({"folder": str(found.folder), **outcome.document()})
    raise typer.Exit(outcome.status)


def _label(text: str) -> tuple[str, str]:
    """One ``--label``, a kind of step and the resource that it needs."""
    from kdscope.study.source import nearest
    from kdscope.study.steps import KINDS

    kind, equals, resource = text.partition("=")
    if not (equals and resource):
        raise ConfigError(f"--label {text!r} is not of the form KIND=RESOURCE, as distill=big")
    if kind not in KINDS:
        raise ConfigError(f"--label: there is no kind of step {kind!r}{nearest(kind, KINDS)}")
    return kind, resource


@app.command(rich_help_panel=STUDY)
def validate(
    study: Study, overrides: Overrides = None, many: Many = False, json: Json = False
) -> None:
    """Check a study: every mistake at once, with its YAML path and line; data files of your own are read.

    Example: `kdscope validate study.yaml`
    """
    from kdscope.study.display import counted
    from kdscope.study.overview import overview
    from kdscope.study.tracking import require

    found = overview(study, overrides or (), many=many, look=False)
    require(found.plan.trackers, found.plan.name)
    if found.resolved.own_files():
        from kdscope.study.preflight import check_own_files  # loads what reads data

        check_own_files(found.resolved)
    say(f"{found.plan.name}: no mistake, {counted(len(found.plan.cells), 'cell')}")
    if json:
        emit({"name": found.plan.name, "cells": len(found.plan.cells), "mistakes": []})


@app.command(rich_help_panel=STUDY)
def plan(
    study: Study,
    overrides: Overrides = None,
    out: Out = None,
    limit: Limit = None,
    steps: Annotated[bool, typer.Option("--steps", help="A line for every step.")] = False,
    many: Many = False,
    json: Json = False,
) -> None:
    """Show the steps of a study: what is cached, predicted time, memory and disk.

    Needs neither data, weights, extras nor network. Example: `kdscope plan quickstart --steps`
    """
    from kdscope.study.overview import overview

    found = overview(study, overrides or (), out=working_folder(out), limit=limit, many=many)
    if json:
        emit(found.document())
    else:
        print("\n".join(found.lines(every=steps)))


@app.command(rich_help_panel=STUDY)
def status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Again every few seconds.")] = False,
    json: Json = False,
) -> None:
    """Show where a run stands, what runs now and what failed.

    Example: `kdscope status runs/quickstart`
    """
    from kdscope.study.live import watcher
    from kdscope.study.status import follow, status_lines
    from kdscope.study.status import status as ask

    if watch:
        look = watcher(folder)
        follow(lambda: {**look(), "folder": str(folder)})
    state = ask(folder)
    if json:
        emit(state)
    else:
        print("\n".join(status_lines(state)))


@app.command(rich_help_panel=STUDY)
def why(folder: Folder, step: StepName, json: Json = False) -> None:
    """Say which field made a step run again, and what befell it.

    Example: `kdscope why runs/quickstart teacher_cache`
    """
    from kdscope.study import inspection

    lines = inspection.why(folder, step)
    emit({"step": lines[0], "why": lines[1:]}) if json else print("\n".join(lines))


@app.command(rich_help_panel=STUDY)
def logs(folder: Folder, step: StepName) -> None:
    """Print the log of a step.

    Example: `kdscope logs runs/quickstart teacher_cache`
    """
    from kdscope.study import inspection

    print(inspection.log_text(folder, step), end="")
