"""Verbs that clean up and give away."""

from typing import Annotated

import typer

from kdscope.cli.base import SHARE, Folder, Json, app, emit


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
