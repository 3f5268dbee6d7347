"""The pieces that a page is put together from."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import altair as alt
import pandas as pd
from markupsafe import Markup

from kdscope.report.captions import in_words
from kdscope.report.frames import Frame
from kdscope.report.tabulate import Quantity, Table, number


@dataclass(frozen=True)
class Figure:
    """A chart with everything that belongs under it.

    Attributes:
        name: short, unique in the page; becomes the file name of exports.
        title: one line above the chart.
        chart: the Vega-Lite specification.
        note: what is drawn, with n and how the intervals were made.
        table: the numbers of the chart, with their signatures.
    """

    name: str
    title: str
    chart: alt.TopLevelMixin
    note: str
    table: Table


@dataclass(frozen=True)
class Section:
    """A question, its answer in words, and the evidence.

    Attributes:
        name: anchor in the page.
        question: the heading.
        answer: the answer in words.
        figures, tables: the evidence.
        missing: one sentence for each thing that this study cannot show.
        paper: figures and tables of the paper that this section answers, e.g. ``Figure 3``.
    """

    name: str
    question: str
    answer: Markup
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    missing: Sequence[str] = ()
    paper: Sequence[str] = field(default=())


def percent(rows: Frame) -> Frame:
    """The same rows with estimate and bounds in percent."""
    rows = rows.copy()
    rows[["estimate", "low", "high"]] = rows[["estimate", "low", "high"]].astype(float) * 100
    return rows


def quantity(
    row: object, *, scale: float = 100, digits: int = 1, signed: bool = False, strong: bool = False
) -> Quantity:
    """A table cell from a row of ``comparisons``."""
    values = [getattr(row, name) for name in ("estimate", "low", "high")]
    kept = [None if pd.isna(value) else float(value) * scale for value in values]
    return Quantity(*kept, digits=digits, signed=signed, strong=strong)


def spoken(row: object, *, digits: int = 1, signed: bool = False, unit: str = "\u00a0%") -> str:
    """A number with its interval for a sentence, e.g. ``75.5 % (73.6 to 77.3)``.

    Number and percent sign do not part at a line's end.
    """
    cell = quantity(row, digits=digits, signed=signed)
    text = number(cell.value, digits, signed=signed) + unit
    if cell.low is None:
        return text
    low, high = (number(bound, digits, signed=signed) for bound in (cell.low, cell.high))
    return f"{text} ({low} to {high})"


def spoken_html(
    row: object, *, digits: int = 1, signed: bool = False, unit: str = "\u00a0%"
) -> Markup:
    """The same as :func:`spoken`, the interval set smaller."""
    whole = spoken(row, digits=digits, signed=signed, unit=unit)
    level, _, bounds = whole.partition(" (")
    return (
        Markup("{} <small>({}</small>").format(level, bounds)
        if bounds
        else Markup("{}").format(level)
    )


def note(rows: Frame, what: str = "items") -> str:
    """n, seeds and how the intervals were made, of some rows of ``comparisons``, in plain words."""
    parts = []
    for column, unit in (("n", what), ("seeds", "seeds")):
        values = sorted({int(value) for value in rows[column].dropna()})
        if values:
            spread = f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"
            parts.append(f"{spread} {_singular(unit) if values == [1] else unit}")
    how = in_words(rows["signature"])
    return " · ".join([*parts, how] if how else parts)


def _singular(units: str) -> str:
    """One of some units: ``seed``, ``family``."""
    return f"{units[:-3]}y" if units.endswith("ies") else units[:-1]


def signatures(rows: Frame) -> list[str]:
    """The signatures of some rows of ``comparisons``, each once, the commonest first."""
    return [str(text) for text in rows["signature"].dropna().value_counts().index]


def listing(names: Iterable[str]) -> str:
    """Names as a phrase: ``a``, ``a and b``, ``a, b and c``."""
    names = list(names)
    return (
        names[0]
        if len(names) == 1
        else f"{', '.join(names[:-1])} and {names[-1]}"
        if names
        else "none"
    )


def count(n: int, thing: str, things: str = "") -> str:
    """A number with its noun: ``1 student``, ``2 students``, ``24,750 answers``."""
    return f"{n:,} {thing if n == 1 else things or thing + 's'}"
