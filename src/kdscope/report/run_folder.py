"""The report of a run's folder: page, viewer, and tables or charts as files."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from kdscope.errors import StoreError, UserError
from kdscope.report import svg, tabulate
from kdscope.report.page import build, report_figures, report_tables
from kdscope.report.results import load
from kdscope.report.viewer import refresh_viewer


def report_run(run: Path, *, viewer: bool = True, other: Path | None = None) -> Path:
    """Rebuild ``report/index.html`` of a run (and its viewer) from the tables alone.

    ``other`` is another run that is set beside it.

    Raises:
        StoreError: a run has no folder ``tables``.
    """
    tables, resolved = tables_of(run), resolved_study(run)
    out = run / "report"
    address = None
    if viewer and refresh_viewer(run, str(resolved.get("name", run.name))) is not None:
        address = "viewer/index.html"
    beside = load(tables_of(other), resolved_study(other)) if other else None
    return build(tables, resolved, out, command=command_of(run), viewer=address, other=beside)


def export_run(
    run: Path, out: Path, *, tables: Sequence[str] = (), charts: Sequence[str] = ()
) -> list[Path]:
    """Write the report's tables and charts to ``out``.

    Tables come as ``csv``, ``markdown``, ``latex``, charts as ``svg``, ``pdf``, ``png``.

    Raises:
        UserError: a format that does not exist.
    """
    results = load(tables_of(run), resolved_study(run), command_of(run))
    unknown = [name for name in charts if name not in ("svg", "pdf", "png")]
    if unknown:
        raise UserError(f"there is no chart format {unknown[0]!r}; choose among svg, pdf, png")
    written = tabulate.export(report_tables(results), out, tables) if tables else []
    for figure in report_figures(results) if charts else ():
        written += [svg.save(figure.chart, out / f"{figure.name}.{suffix}") for suffix in charts]
    return written


def tables_of(run: Path) -> Path:
    """The folder of a run's tables. Raises StoreError where ``run`` is no run."""
    folder = run / "tables"
    if not folder.is_dir():
        raise StoreError(
            f"{run} has no folder tables, so there is nothing to report. "
            "Give the folder of a run, for example runs/quickstart, after kdscope run."
        )
    return folder


def resolved_study(run: Path) -> dict[str, Any]:
    """The resolved study of a run; where the file is missing, its folder's name alone."""
    path = run / "resolved.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found if isinstance(found, dict) else {"name": run.name}


def command_of(run: Path) -> str:
    """How a run is repeated."""
    return f"kdscope run {run / 'study.yaml'} --out {run}"


def copy_study(run: Path, out: Path) -> list[Path]:
    """Put the run's ``study.yaml`` beside what is given away, so that its command runs anywhere."""
    if not (run / "study.yaml").is_file():
        return []
    shutil.copyfile(run / "study.yaml", out / "study.yaml")
    return [out / "study.yaml"]
