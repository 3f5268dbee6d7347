"""The page of a study, from its tables alone."""

from pathlib import Path
from typing import Any

from kdscope.report import build
from kdscope.study.context import StepContext


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Build ``index.html``; the driver publishes it as ``report/index.html``."""
    study = fields["study"]
    page = build(context.run_dir / "tables", study, out, command=f"kdscope run {study['name']}")
    return {"bytes": page.stat().st_size}
