"""The README's picture and accuracy table, made from a run."""

from pathlib import Path

from kdscope.errors import UserError
from kdscope.report import svg
from kdscope.report.html import write_text
from kdscope.report.parts import Figure
from kdscope.report.results import Results, load
from kdscope.report.run_folder import command_of, resolved_study, tables_of
from kdscope.report.sections import accuracy
from kdscope.report.tabulate import Quantity, Table, to_markdown

MARKER = "<!-- quickstart-table -->"


def readme_figures(run: Path, root: Path) -> list[Path]:
    """Write ``docs/images/quickstart.svg`` and ``.png`` and the README's table from a run.

    Raises:
        UserError: the run has no accuracies, or the README lacks its two markers.
    """
    results = load(tables_of(run), resolved_study(run), command_of(run))
    figures = accuracy.figures(results)
    if not figures:
        raise UserError(
            f"{run} holds no accuracies, so there is no picture to make: run the whole study first."
        )
    return [
        *picture(figures, root / "docs" / "images" / "quickstart"),
        replace_table(root / "README.md", results),
    ]


def picture(figures: list[Figure], stem: Path) -> list[Path]:
    """The charts of the first screen side by side, as SVG and PNG on white."""
    document = svg.beside([(figure.title, figure.chart) for figure in figures])
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".svg").write_text(document, encoding="utf-8")
    stem.with_suffix(".png").write_bytes(svg.png(document))
    return [stem.with_suffix(".svg"), stem.with_suffix(".png")]


def replace_table(readme: Path, results: Results) -> Path:
    """Put the accuracy table between the README's two markers."""
    text = readme.read_text(encoding="utf-8")
    if text.count(MARKER) != 2:
        raise UserError(
            f"{readme} holds {text.count(MARKER)} markers {MARKER}, and two are needed to know "
            "which lines are the table: put one before and one after it."
        )
    before, _, after = text.split(MARKER)
    return write_text(readme, f"{before}{MARKER}\n{accuracy_table(results)}{MARKER}{after}")


def accuracy_table(results: Results) -> str:
    """Accuracy by method and task, with the agreement over all tasks, as Markdown."""
    table = accuracy.by_task(results, "accuracy", "Accuracy by method and task, %")
    agreement = results.level("agreement")
    known = {
        (row.who, row.label): Quantity(row.estimate * 100, row.low * 100, row.high * 100)
        for row in agreement.itertuples()
    }
    rows = [[*row, known.get((row[0], row[1]))] for row in table.rows]
    wide = Table(
        table.name, table.caption, [*table.columns, "agreement with teacher"], rows, table.note
    )
    return f"{to_markdown(wide)}\nPercent, with 95 % intervals ({table.note.replace('|', ', ')}).\n"
