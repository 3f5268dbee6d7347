"""The command line: Typer verbs in panels, no logic.

Each verb parses its arguments, calls one function of the room that does the work, and prints. Imports of
those rooms are deferred to the verb, so that ``kdscope --help`` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kdscope.errors import KdscopeError, UserError

app = typer.Typer(
    name="kdscope",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for knowledge distillation of language models.",
)

START, STUDY, COMPARE, DATA, SHARE = "Start", "Study", "Compare", "Data", "Share"

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def say(message: str) -> None:
    """Print a message for people: always to standard error, so that ``--json`` output stays clean."""
    print(message, file=sys.stderr, flush=True)


def emit(document: Any) -> None:
    """Print one JSON document to standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


Study = Annotated[str, typer.Argument(help="A YAML file or a preset's name.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Dotted, as in seeds=[0].")
]
Out = Annotated[Path | None, typer.Option("--out", help="The run's folder (runs/<name>).")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Items per task.")]
Many = Annotated[bool, typer.Option("--many", help="Allow more than 20,000 cells.")]
Folder = Annotated[Path, typer.Argument(help="A run's folder.")]
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
    from kdscope.study.display import watch
    from kdscope.study.driver import Limits
    from kdscope.study.launch import Options, outcome_lines, run_study
    from kdscope.study.overview import overview

    limits = Limits(
        stall_seconds=60 * stall_minutes,
        step_seconds=None if step_minutes is None else 60 * step_minutes,
    )
    found = overview(study, overrides or (), out=out, limit=limit, many=many, look=False)
    labels = dict(entry.split("=", 1) for entry in label or () if "=" in entry)
    options = Options(engine, workers, verify, address, labels, limits)
    outcome = run_study(found, watch(display), options)
    for line in outcome_lines(found, outcome):
        say(line)
    if json:
        emit({"folder": str(found.folder), **outcome.document()})
    raise typer.Exit(outcome.status)


@app.command(rich_help_panel=STUDY)
def validate(
    study: Study, overrides: Overrides = None, many: Many = False, json: Json = False
) -> None:
    """Check a study: every mistake at once, with its YAML path and line.

    Example: `kdscope validate study.yaml`
    """
    from kdscope.study.overview import overview

    found = overview(study, overrides or (), many=many, look=False)
    say(f"{found.plan.name}: no mistake, {len(found.plan.cells)} cells")
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

    found = overview(study, overrides or (), out=out, limit=limit, many=many)
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
    import time

    from kdscope.study import inspection

    state = inspection.status(folder)
    while watch and state["active"]:
        say("\n".join(inspection.status_lines(state)))
        time.sleep(5)
        state = inspection.status(folder)
    if json:
        emit(state)
    else:
        print("\n".join(inspection.status_lines(state)))


@app.command(rich_help_panel=STUDY)
def why(folder: Folder, step: StepName, json: Json = False) -> None:
    """Say which field made a step run again, and what befell it.

    Example: `kdscope why runs/quickstart gkd`
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


@app.command(rich_help_panel=SHARE)
def gc(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only say what.")] = False,
    caches: Annotated[bool, typer.Option(help="Also caches whose users are complete.")] = False,
    json: Json = False,
) -> None:
    """Remove what the study of a folder does not need.

    Example: `kdscope gc runs/quickstart --yes`
    """
    from kdscope.study import inspection

    act = inspection.collect if yes else inspection.garbage
    found = act(folder, caches=caches)
    if json:
        emit([{"path": str(path), "bytes": amount, "removed": yes} for path, amount in found])
    else:
        print("\n".join(inspection.garbage_lines(found, deleted=yes)))


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


# --- data --------------------------------------------------------------------------------------

data_app = typer.Typer(no_args_is_help=True, help="The catalogue, pinned downloads, contamination.")
app.add_typer(data_app, name="data", rich_help_panel=DATA)


@data_app.command("ls")
def data_ls(as_json: Json = False) -> None:
    """List tests and training sets: size, form of the answer, chance level, licence, known faults.

    Example: `kdscope data ls --json`
    """
    from kdscope.data.catalogue import as_text, catalogue

    rows = catalogue()
    emit(rows) if as_json else print(as_text(rows))


@data_app.command("fetch")
def data_fetch(
    names: Annotated[
        list[str], typer.Argument(help="Tasks, training sets, suites, or paper-results.")
    ],
    as_json: Json = False,
) -> None:
    """Download pinned data sets into the cache; what is here already is checked, not fetched.

    Example: `kdscope data fetch clean-math math7k`
    """
    from kdscope.data.catalogue import fetch_all

    found: dict[str, list[str]] = {}
    if "paper-results" in names:
        from kdscope.data.downloads import offline
        from kdscope.data.sources import cache_folder
        from kdscope.paper.sources import fetch_paper_results

        folder = cache_folder() / "paper" / "results"
        found["paper-results"] = [str(fetch_paper_results(folder, offline=offline()))]
    others = [name for name in names if name != "paper-results"]
    if others:
        fetched = fetch_all(others, say)
        found |= {id: [str(path) for path in paths] for id, paths in fetched.items()}
    emit(found) if as_json else print("\n".join(p for paths in found.values() for p in paths))


@data_app.command("audit")
def data_audit(
    train: Annotated[list[str], typer.Option(help="A training file or set; repeat the flag.")],
    test: Annotated[list[str], typer.Option(help="A test file or task; repeat the flag.")],
    as_json: Json = False,
) -> None:
    """Count the test questions that stand in the training sets, by four comparisons.

    Example: `kdscope data audit --train mawps_train.json --test MultiArith.json --test AddSub.json`
    """
    from kdscope.data.audit_files import as_text, audit_files

    found = audit_files(train, test)
    emit(found.audit.rows) if as_json else print(as_text(found))


# --- the paper ---------------------------------------------------------------------------------

Margin = Annotated[float, typer.Option(min=0.01, help="Equivalence margin, points.")]


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


@app.command(rich_help_panel=COMPARE)
def analyze(
    table: Annotated[Path, typer.Argument(help="CSV file of scores, long or wide.")],
    out: Annotated[Path | None, typer.Option(help="Folder for JSON and CSV files.")] = None,
    margin: Margin = 1.0,
    as_json: Json = False,
) -> None:
    """Run the paper's statistics and the corrected ones on any table of scores.

    Says which tests the table permits and which it does not.

    Example: `kdscope analyze scores.csv --json`
    """
    from kdscope.paper.user_table import analyze as analyze_table
    from kdscope.paper.user_table import as_document, in_words, write_files

    x = analyze_table(table, margin)
    if out:
        say(f"written: {', '.join(str(path) for path in write_files(x, out))}")
    emit(as_document(x)) if as_json else print(in_words(x))


# --- compare -----------------------------------------------------------------------------------


@app.command("compare", rich_help_panel=COMPARE)
def compare(
    files: Annotated[
        list[Path], typer.Argument(help="Prediction files; the first is the reference (teacher).")
    ],
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained page.")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples; 0 is a seed.")] = 0,
    text_rows: Annotated[
        int, typer.Option(help="Texts compared at most, by an even sample of items; -1 for all.")
    ] = 30_000,
) -> None:
    """Compare prediction files of any origin: agreement, imitation, reasoning, wording, paired tests.

    Example: `kdscope compare teacher.parquet sft.parquet revkd.parquet --html compare.html`
    """
    from kdscope.report.compare import as_json as document
    from kdscope.report.compare import as_text, compare_files, write_html

    last = [-1]

    def progress(done: int, total: int) -> None:
        tenth = 10 * done // total
        if total >= 5_000 and tenth > last[0]:
            last[0] = tenth
            say(f"texts compared: {done:,} of {total:,}")

    found = compare_files(
        files,
        resamples=resamples,
        seed=seed,
        text_rows=None if text_rows < 0 else text_rows,
        progress=progress,
    )
    if html is not None:
        say(f"wrote {write_html(found, html)}")
    emit(document(found)) if as_json else print(as_text(found))


@app.command(rich_help_panel=COMPARE)
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    compare: Annotated[
        Path | None, typer.Option(help="Another run, to set beside this one.")
    ] = None,
    viewer: Annotated[bool, typer.Option(help="Also build the viewer of every answer.")] = True,
    tables: Annotated[str, typer.Option(help="Also write tables as: csv,markdown,latex.")] = "",
    charts: Annotated[str, typer.Option(help="Also write charts as: svg,pdf,png.")] = "",
    as_json: Json = False,
) -> None:
    """Rebuild a run's report from its tables alone.

    Example: `kdscope report runs/quickstart --tables csv,latex --charts pdf`
    """
    from kdscope.report import export_run, report_run

    page = report_run(run, viewer=viewer, other=compare)
    wanted = {
        "tables": tables.split(",") if tables else [],
        "charts": charts.split(",") if charts else [],
    }
    files = export_run(run, run / "report" / "exports", **wanted)
    if as_json:
        emit({"report": str(page), "files": [str(path) for path in files]})
    else:
        say(
            f"report: {page}"
            + (f" and {len(files)} files in {run / 'report' / 'exports'}" if files else "")
        )


@app.command(rich_help_panel=COMPARE)
def view(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of a report.")],
    port: Annotated[int, typer.Option(help="0 takes a free port.")] = 0,
) -> None:
    """Serve a run's report and viewer to this machine's browser, on 127.0.0.1 only.

    Example: `kdscope view runs/quickstart`
    """
    from kdscope.report.serve import serve

    folder = run / "report" if (run / "report").is_dir() else run
    serve(
        folder, port, ready=lambda address: say(f"serving {folder} at {address} (Ctrl-C ends it)")
    )


def main() -> None:
    """Entry point: a user's mistake is one message and exit status 2, without a traceback."""
    try:
        app()
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)
    except KdscopeError as error:
        say(f"failed: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
