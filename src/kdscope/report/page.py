"""The study's page: one self-contained HTML file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kdscope.report import svg, theme
from kdscope.report.answer import Choice, choices, headline
from kdscope.report.html import render, script_json, write_text
from kdscope.report.parts import Figure, Section, spoken_html
from kdscope.report.results import Results, load
from kdscope.report.sections import (
    ablations,
    accuracy,
    answers,
    beside,
    certainty,
    contrasts,
    extractors,
    fidelity,
    index,
    inheritance,
    likeness,
    methods,
    overview,
    paper_beside,
    process,
    trust,
)
from kdscope.report.sections import tests as tests_section
from kdscope.report.tabulate import FORMATS, Table


def build(
    tables: Path,
    resolved: dict[str, Any],
    out: Path,
    *,
    command: str,
    viewer: str | None = None,
    other: Results | None = None,
) -> Path:
    """Write ``out/index.html`` from a study's result tables and return its path.

    The page needs nothing but itself: no script, style, font or data from elsewhere, and its
    content security policy allows none.

    Args:
        tables: folder with the Parquet tables of :mod:`kdscope.tables`; the page names absent ones.
        resolved: the resolved study.
        out: folder of the page.
        command: how the study is run again.
        viewer: relative address of the viewer (:mod:`kdscope.report.viewer`), where one was built.
        other: the results of another run, to set beside these.

    Raises:
        TableError: there is no table at all, or one lacks a column.
    """
    results = load(tables, resolved, command)
    return write_text(out / "index.html", page(results, viewer, other))


def page(results: Results, viewer: str | None = None, other: Results | None = None) -> str:
    """The page as text."""
    found = choices(results)
    first, sections = accuracy.figures(results), study_sections(results, found, other)
    picked = answers.pairs(results)
    made = tests_section.tests_made(results)
    places = index.places(first, sections, pairs=bool(picked), tests=made)
    paper = index.table(places)
    every = [*all_tables(first, sections), paper]
    return render(
        "page.html.j2",
        theme.stylesheet(results.methods),
        ("style.css",),
        ("page.js",),
        title=f"{results.name} · kdscope",
        results=results,
        sentence=overview.sentence(results),
        over=" over questions and training seeds" if several_seeds(results) else " over questions",
        headline=headline(found),
        choices=found,
        first=[drawn(figure) for figure in first],
        sections=[(section, [drawn(figure) for figure in section.figures]) for section in sections],
        pairs=picked,
        viewer=viewer,
        paper=paper,
        paper_links=index.links(places),
        exports=exports(every),
        spoken_html=spoken_html,
        style_index={name: i for i, name in enumerate(results.methods)},
    )


def several_seeds(results: Results) -> bool:
    """Whether any cell's interval covers more than one training."""
    seeds = results.level("accuracy")["seeds"].dropna()
    return bool(len(seeds)) and float(seeds.max()) > 1


def study_sections(
    results: Results, found: list[Choice], other: Results | None = None
) -> list[Section]:
    """The sections in their order; the side-by-side answers follow in the template."""
    return [
        overview.section(results),
        accuracy.section(results, found),
        contrasts.section(results),
        fidelity.section(results, found),
        *likeness.sections(results, found),
        inheritance.section(results, found),
        tests_section.section(results),
        methods.section(results),
        certainty.section(results),
        *([beside.section(results, other)] if other else []),
        paper_beside.section(results),
        ablations.section(results),
        extractors.section(results),
        trust.contamination(results),
        trust.collapse(results),
        process.curves(results),
        process.cost(results),
        overview.rerun(results),
    ]


def report_tables(results: Results) -> list[Table]:
    """Every table of the page, for export to files."""
    found = choices(results)
    return all_tables(accuracy.figures(results), study_sections(results, found))


def report_figures(results: Results) -> list[Figure]:
    """Every figure of the page, for export to files."""
    found = choices(results)
    sections = study_sections(results, found)
    return [
        *accuracy.figures(results),
        *(figure for section in sections for figure in section.figures),
    ]


def all_tables(first: Iterable[Figure], sections: Iterable[Section]) -> list[Table]:
    """The tables of figures and sections, each name once."""
    named: dict[str, Table] = {figure.table.name: figure.table for figure in first}
    for section in sections:
        named |= {figure.table.name: figure.table for figure in section.figures}
        named |= {table.name: table for table in section.tables}
    return list(named.values())


def drawn(figure: Figure) -> tuple[Figure, Markup]:
    """A figure with its chart as SVG; that was rebuilt from allowed elements, so it is safe."""
    label = f"Chart: {figure.title}. The numbers are in the table below it."
    return figure, Markup(svg.inline(figure.chart, figure.name, label))


def exports(every: Iterable[Table]) -> Markup:
    """All forms of all tables as one JSON document that is safe inside a script element."""
    forms = {
        table.name: {name: write(table) for name, (_, write) in FORMATS.items()} for table in every
    }
    return script_json(forms)
