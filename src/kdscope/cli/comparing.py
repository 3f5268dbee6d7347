"""Verbs that compare: prediction files, tables of scores, whole runs."""

from pathlib import Path
from typing import Annotated

import typer

from kdscope.cli.base import COMPARE, Json, Margin, app, emit, say


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
    bleu: Annotated[
        list[str] | None,
        typer.Option(help="Also BLEU as others compute it: nltk, nltk-bleu1, nltk-characters."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Also embedding cosine and BERTScore: minilm, or an encoder's folder."),
    ] = None,
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
        bleu=[name for given in bleu or () for name in given.split(",")],
        encoder=encoder,
        progress=progress,
    )
    if html is not None:
        say(f"wrote {write_html(found, html)}")
    emit(document(found)) if as_json else print(as_text(found))


@app.command("evaluate", rich_help_panel=COMPARE)
def evaluate_model(  # noqa: PLR0913, PLR0917 -- the options of a verb
    model: Annotated[
        str, typer.Argument(help="A name, hub id, checkpoint or adapter folder, or training step.")
    ],
    tasks: Annotated[
        list[str],
        typer.Option(help="Tasks, suites, YAML files of own tasks; repeat, or commas."),
    ],
    out: Annotated[Path, typer.Option(help="The prediction file, .parquet.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Items per task.")] = None,
    prompt: Annotated[str, typer.Option(help="clean, paper or chat.")] = "clean",
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    samples: Annotated[int, typer.Option(min=0, help="More answers, at temperature 1.")] = 0,
    sample_limit: Annotated[
        int | None, typer.Option(min=1, help="Items per task that are sampled.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="The task's own.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per batch.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws; 0 is a seed.")] = 0,
    choices: Annotated[bool, typer.Option("--choices", help="Also score the options.")] = False,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    engine: Annotated[str, typer.Option(help="transformers, or vllm (extra).")] = "transformers",
    as_json: Json = False,
) -> None:
    """Answer tasks with one model, into one prediction file; the same command resumes.

    Example: `kdscope evaluate tiny-teacher --tasks tiny-math,tiny-choice --out teacher.parquet`
    """
    from importlib.util import find_spec

    from kdscope.errors import missing_extra

    if find_spec("torch") is None:
        raise missing_extra("train", "torch", "answering with a model")
    from kdscope.study.evaluate import as_text, evaluate

    found = evaluate(
        model, ",".join(tasks), out, dtype=dtype, say=say, limit=limit, prompt=prompt,
        temperature=temperature, samples=samples, sample_limit=sample_limit,
        max_new_tokens=max_new_tokens, batch_size=batch_size, seed=seed, choices=choices, engine=engine,
    )  # fmt: skip
    if found["complete_before"]:
        say(f"{out} was complete: nothing to do")
    emit(found) if as_json else print(as_text(found))


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
        from kdscope.study.launch import page_lines

        for line in page_lines(run):
            say(line)
        if files:
            say(f"{len(files)} files in {run / 'report' / 'exports'}")


@app.command(rich_help_panel=COMPARE)
def view(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or of a report.")],
    port: Annotated[int, typer.Option(help="0 takes a free port.")] = 0,
) -> None:
    """Serve a run's report and viewer to this machine's browser, on 127.0.0.1 only.

    While the run is going on, a page says where it stands.

    Example: `kdscope view runs/quickstart`
    """
    from kdscope.report.serve import serve
    from kdscope.study.live import watcher

    is_run = (run / "plan.json").is_file()
    folder = run / "report" if is_run or (run / "report").is_dir() else run
    serve(
        folder,
        port,
        live=watcher(run) if is_run else None,
        ready=lambda address: say(f"serving {folder} at {address} (Ctrl-C ends it)"),
    )
