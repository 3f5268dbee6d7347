"""Verbs that clean up and give away."""

from pathlib import Path
from typing import Annotated

import typer

from kdscope.cli.base import SHARE, Folder, Json, app, emit, say


@app.command("export", rich_help_panel=SHARE)
def export_verb(
    run: Folder,
    model: Annotated[
        str | None, typer.Argument(help="A system of the run, or a part of its name.")
    ] = None,
    form: Annotated[str, typer.Option("--as", help="hub, dataset, lm-eval or inspect.")] = "hub",
    out: Annotated[Path | None, typer.Option(help="A new folder (RUN/exports/...).")] = None,
    as_json: Json = False,
) -> None:
    """Write a model as a hub folder, or answers as a data set, lm-eval's folder or Inspect logs.

    Sends nothing. A hub folder holds weights, a model card and `.eval_results/`.

    Example: `kdscope export runs/quickstart tiny-student/gkd/tiny-teacher/s0 --out gkd-adapter`
    """
    from kdscope.study.export import export

    place = out or run / "exports" / "-".join([form, *((model or "").split("/") if model else [])])
    files = export(run, model, form, place)
    if as_json:
        emit({"folder": str(place), "files": [str(path) for path in files]})
    else:
        say(f"{len(files)} files in {place}")


@app.command(rich_help_panel=SHARE)
def push(
    folder: Annotated[Path, typer.Argument(help="What `kdscope export` wrote (hub or dataset).")],
    repo: Annotated[str, typer.Argument(help="Owner and name on the hub, as in me/my-student.")],
    public: Annotated[bool, typer.Option("--public", help="Private without it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Upload an exported folder to the Hugging Face hub, private unless told otherwise.

    The only verb that sends anything. The token comes from `HF_TOKEN` or `hf auth login`, the
    hub's address from `HF_ENDPOINT`.

    Example: `kdscope push gkd-adapter me/tiny-student-gkd`
    """
    from kdscope.report import hub

    kind, files = hub.kind_of(folder), hub.files_of(folder)
    sight = "public" if public else "private"
    say(f"{'would send' if dry_run else 'sending'} {len(files)} files to {repo} ({kind}, {sight})")
    address = None if dry_run else hub.push(folder, repo, public=public)
    if as_json:
        emit({"address": address, "kind": kind, "private": not public, "files": files})
    else:
        print("\n".join(files) if address is None else address)


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
