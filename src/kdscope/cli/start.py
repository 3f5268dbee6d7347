"""Verbs that start: presets, what this machine can do, the paper re-examined."""

from pathlib import Path
from typing import Annotated

import typer

from kdscope.cli.base import START, Json, Margin, app, emit, say


@app.command(rich_help_panel=START)
def presets(json: Json = False) -> None:
    """List the studies that come with the package.

    Example: `kdscope presets`
    """
    from kdscope.study.source import preset_list

    found = preset_list()
    if json:
        emit(found)
    else:
        print("\n".join(f"{entry['name']:<20} {entry['description']}" for entry in found))


@app.command(rich_help_panel=START)
def init(
    preset: Annotated[str, typer.Argument(help="A preset's name.")],
    path: Annotated[Path | None, typer.Argument(help="The file (<preset>.yaml).")] = None,
) -> None:
    """Copy a preset to a file, as a study of your own.

    Example: `kdscope init quickstart study.yaml`
    """
    from kdscope.study.source import copy_preset

    say(f"wrote {copy_preset(preset, path)}; run it with: kdscope run {path or preset + '.yaml'}")


@app.command(rich_help_panel=START)
def doctor(json: Json = False) -> None:
    """Say what this machine can do, and measure it for `plan`.

    Example: `kdscope doctor`
    """
    from kdscope.study.doctor import examine, examine_lines

    found = examine()
    if json:
        emit(found)
    else:
        print("\n".join(examine_lines(found)))


@app.command(rich_help_panel=START)
def paper(
    results: Annotated[
        Path | None, typer.Option(help="Folder of the paper's released result files.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write; runs/paper unless --json.")
    ] = None,
    margin: Margin = 1.0,
    as_json: Json = False,
) -> None:
    """Re-examine the paper's statistics: printed, reproduced and corrected, side by side.

    Needs no model and no files; with its released files also the exact reproduction.

    Example: `kdscope paper --results "$(kdscope data fetch paper-results)"`
    """
    from kdscope.paper.claims import check_claims
    from kdscope.paper.document import as_document, in_words, write_files
    from kdscope.paper.examination import examine

    x = examine(results, margin)
    claims = check_claims(x)
    folder = out or (None if as_json else Path("runs/paper"))
    if folder:
        from kdscope.report.paper_page import write_page

        write_files(x, claims, folder)
        say(f"page: {write_page(x, claims, folder)}")
    emit(as_document(x, claims)) if as_json else print(in_words(x, claims))


@app.command(rich_help_panel=START)
def distill(
    teacher: Annotated[str, typer.Option(help="Embedded name, hub id or checkpoint folder.")],
    student: Annotated[str, typer.Option(help="The same.")],
    method: Annotated[str, typer.Option(help="sft, seqkd, fkl, revkd or gkd.")],
    data: Annotated[str, typer.Option(help="Training set of the catalogue, or a data file.")],
    out: Annotated[Path, typer.Option(help="The run's folder; the student goes to its model/.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="As in epochs=1 temperature=2 limit=100."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="0 is a seed.")] = 0,
    display: Annotated[str, typer.Option(help="auto, live, plain or none.")] = "auto",
    json: Json = False,
) -> None:
    """Train one student without a study; the same command resumes, nothing is overwritten.

    Example: `kdscope distill --teacher tiny-teacher --student tiny-student --method fkl --data tiny-train
    --out runs/mine epochs=1`
    """
    from kdscope.study import single

    given = single.parse_settings(settings or ())
    done = single.distill(teacher, student, method, data, out, seed=seed, display=display, **given)
    say(
        f"{done.steps_run} steps ran, {done.steps_reused} were complete already; student: {done.model}"
    )
    if json:
        emit(done.document())
