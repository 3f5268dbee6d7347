"""The paper re-examined as one self-contained HTML page."""

from pathlib import Path

from markupsafe import Markup

from kdscope.paper.examination import Reexamination
from kdscope.paper.printed import SOURCE
from kdscope.paper.records import Claim
from kdscope.report import svg, theme
from kdscope.report.html import render, write_text
from kdscope.report.paper_sections import Picture, sections
from kdscope.report.paper_words import headline, reproduction
from kdscope.report.tabulate import number
from kdscope.stats.multiplicity import write_p


def write_page(x: Reexamination, claims: list[Claim], folder: Path) -> Path:
    """Write ``folder/index.html`` and return its path."""
    text = render(
        "paper.html.j2",
        theme.stylesheet(("seqkd", "revkd", "gkd")),
        ("style.css", "paper.css"),
        (),
        x=x,
        claims=claims,
        source=SOURCE,
        title="The generalization vs fidelity paradox, re-examined",
        headline=headline(x),
        sections=sections(x),
        draw=_draw,
        number=number,
        p=write_p,
        reproduction=reproduction,
        counts=_counts(claims),
    )
    return write_text(folder / "index.html", text)


def _draw(picture: Picture) -> Markup:
    """A chart as SVG; the markup was rebuilt from allowed elements, so it is safe."""
    return Markup(svg.inline(picture.chart, picture.name, f"Chart: {picture.title}"))


def _counts(claims: list[Claim]) -> list[tuple[str, int]]:
    order = ("holds", "holds in part", "not supported", "fails", "cannot be checked")
    verdicts = [claim.verdict for claim in claims]
    return [(name, verdicts.count(name)) for name in order if name in verdicts]
