"""The page of a study, from its tables alone."""

from pathlib import Path
from typing import Any

from kdscope.report import build
from kdscope.study.context import StepContext


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Build ``index.html``; the driver publishes it as ``report/index.html``.

    It leads to the viewer of every answer, which is built beside it when the run has ended.
    """
    study, tables = fields["study"], context.run_dir / "tables"
    viewer = "viewer/index.html" if (tables / "generations.parquet").is_file() else None
    page = build(tables, study, out, command=f"kdscope run {study['name']}", viewer=viewer)
    return {"bytes": page.stat().st_size}
