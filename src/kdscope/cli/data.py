"""Verbs of the data: the catalogue, pinned downloads, contamination."""

from typing import Annotated

import typer

from kdscope.cli.base import DATA, Json, app, emit, say

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
