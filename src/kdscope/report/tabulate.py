"""Tables as plain records, and their four forms: HTML, CSV, Markdown, LaTeX."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from kdscope.errors import UserError


class Quantity(NamedTuple):
    """A number with its interval, as a table cell.

    Attributes:
        value, low, high: in the unit that is shown; None where absent.
        digits: decimals shown.
        signed: whether a plus sign is shown (differences).
        strong: whether the number is emphasised (the best of its column).
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 1
    signed: bool = False
    strong: bool = False


class Probability(NamedTuple):
    """A p-value as a table cell: shown with three decimals, sorted and exported as it is."""

    value: float | None


@dataclass(frozen=True)
class Table:
    """A table as it is shown and exported.

    Attributes:
        name: short file name without suffix.
        caption: one line above the table.
        columns: headings.
        rows: cells: text, whole numbers, :class:`Quantity` or None.
        note: n and how the intervals were made, below the table.
        methods: for each row the method whose colour marks it, or None.
        signatures: how the numbers were obtained, in full.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    methods: Sequence[str | None] = ()
    signatures: Sequence[str] = ()

    @cached_property
    def numeric(self) -> list[bool]:
        """For each column whether it holds numbers only, absent cells aside.

        A column in which all is absent stands among the numbers, unless it is the first.
        """
        columns = [
            [row[i] for row in self.rows if not _absent(row[i])] for i in range(len(self.columns))
        ]
        return [
            all(is_number(cell) for cell in cells) if cells else i > 0 and bool(self.rows)
            for i, cells in enumerate(columns)
        ]

    @cached_property
    def bounds(self) -> list[int]:
        """For each column the width in digits of its widest interval, so that numbers line up."""
        texts = [
            [interval(row[i]) for row in self.rows if isinstance(row[i], Quantity)]
            for i in range(len(self.columns))
        ]
        return [max(map(bounds_width, column), default=0) for column in texts]


def bounds_width(text: str) -> int:
    """Width of an interval's text in digits, rounded up; punctuation is half as wide."""
    return math.ceil(sum(1.0 if mark.isdigit() or mark in "+−" else 0.5 for mark in text))


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """A number as text with a true minus sign; a dash where it is absent."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.replace("-", "").replace("+", "")
    return text.replace("-", "−")


def p_value(p: float | None) -> str:
    """A p-value with three decimals, ``.012`` to ``1.000``, or ``< .001``."""
    if p is None or math.isnan(p):
        return "–"
    return "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def interval(cell: Quantity) -> str:
    """The interval as ``[low, high]``, or an empty text."""
    if cell.low is None or cell.high is None or math.isnan(cell.low):
        return ""
    bounds = (number(bound, cell.digits, signed=cell.signed) for bound in (cell.low, cell.high))
    return f"[{', '.join(bounds)}]"


def html_cell(cell: Any) -> Markup:
    """One cell as safe HTML."""
    if isinstance(cell, Quantity):
        shown = number(cell.value, cell.digits, signed=cell.signed)
        tag = "strong" if cell.strong else "span"
        return Markup("<{0}>{1}</{0}><small>{2}</small>").format(Markup(tag), shown, interval(cell))
    return escape(_plain(cell))


def sort_key(cell: Any) -> str:
    """What a click on the heading sorts by."""
    value = cell.value if isinstance(cell, Quantity | Probability) else cell
    return "" if _absent(value) else str(value)


def is_number(cell: Any) -> bool:
    """Whether the cell is set flush right."""
    return isinstance(cell, Quantity | Probability | int | float) and not isinstance(cell, bool)


def to_csv(table: Table) -> str:
    """CSV with separate columns for the bounds; texts that a spreadsheet would run are quoted."""
    wide = [
        any(isinstance(row[i], Quantity) and row[i].low is not None for row in table.rows)
        for i in range(len(table.columns))
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads: list[str] = []
    for name, is_wide in zip(table.columns, wide, strict=True):
        heads += [name, f"{name} low", f"{name} high"] if is_wide else [name]
    writer.writerow([_no_formula(head) for head in heads])
    for row in table.rows:
        cells: list[Any] = []
        for cell, is_wide in zip(row, wide, strict=True):
            cells += _csv_cells(cell, is_wide)
        writer.writerow(cells)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """A Markdown table; pipes, line ends and markup in texts are escaped."""
    lines = [
        _markdown_row(table.columns),
        _markdown_rule(table.numeric),
        *(_markdown_row(row) for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    r"""A ``tabular`` with booktabs rules, every special character escaped."""
    layout = "".join("r" if numeric else "l" for numeric in table.numeric)
    body = [_latex_row(row) for row in table.rows]
    lines = [
        *(f"% {_latex(line)}" for line in (table.caption, table.note, *table.signatures) if line),
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        _latex_row(table.columns),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, tuple[str, Callable[[Table], str]]] = {
    "csv": (".csv", to_csv),
    "markdown": (".md", to_markdown),
    "latex": (".tex", to_latex),
}


def export(tables: Iterable[Table], folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write every table in every format to ``folder``.

    Raises:
        UserError: a format that does not exist.
    """
    wanted = list(formats)
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown:
        raise UserError(
            f"there is no table format {unknown[0]!r}; choose among {', '.join(FORMATS)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for name in wanted:
            suffix, write = FORMATS[name]
            path = folder / f"{table.name}{suffix}"
            path.write_text(write(table), encoding="utf-8")
            written.append(path)
    return written


def _absent(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _plain(cell: Any) -> str:
    if isinstance(cell, Probability):
        return p_value(cell.value)
    if isinstance(cell, Quantity):
        return f"{number(cell.value, cell.digits, signed=cell.signed)} {interval(cell)}".strip()
    return "–" if _absent(cell) else f"{cell:,}" if is_number(cell) else str(cell)


def _csv_cells(cell: Any, wide: bool) -> list[Any]:
    if isinstance(cell, Quantity):
        values = [cell.value, cell.low, cell.high] if wide else [cell.value]
        return ["" if _absent(value) else round(float(value), 6) for value in values]  # type: ignore[arg-type]
    if isinstance(cell, Probability):
        return ["" if _absent(cell.value) else float(f"{cell.value:.6g}")]
    value = "" if _absent(cell) else cell
    return [_no_formula(value) if isinstance(value, str) else value] + ["", ""] * wide


def _no_formula(text: str) -> str:
    return "'" + text if text[:1] in set("=+-@\t\r") else text


def _markdown_row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(_markdown(cell) for cell in cells) + " |"


def _markdown_rule(right: Iterable[bool]) -> str:
    return "|" + "|".join("---:" if flush else "---" for flush in right) + "|"


def _markdown(cell: Any) -> str:
    text = " ".join(_plain(cell).split())
    for mark in "\\|<>`*_":
        text = text.replace(mark, {"<": "&lt;", ">": "&gt;"}.get(mark, "\\" + mark))
    return f"**{text}**" if isinstance(cell, Quantity) and cell.strong else text


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
}


def _latex(cell: Any) -> str:
    text = " ".join("".join(_LATEX.get(mark, mark) for mark in _plain(cell)).split())
    return rf"\textbf{{{text}}}" if isinstance(cell, Quantity) and cell.strong else text


def _latex_row(cells: Iterable[Any]) -> str:
    return " & ".join(_latex(cell) for cell in cells) + r" \\"
