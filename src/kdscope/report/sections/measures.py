"""Measures of ``comparisons`` as tables: a row for each system, a column for each measure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup, escape

from kdscope.report.answer import Choice
from kdscope.report.parts import note, quantity, signatures
from kdscope.report.results import Results
from kdscope.report.tabulate import Table


class Column(NamedTuple):
    """How a measure is shown: heading, factor from the table's unit, decimals."""

    heading: str
    scale: float = 100
    digits: int = 1
    signed: bool = False


class Line(NamedTuple):
    """A system and its cells, one for each measure asked for."""

    who: str
    label: str
    method: str
    cells: list[Any]


def lines(results: Results, columns: Mapping[str, Column]) -> list[Line]:
    """The systems that have any of these measures over all tasks, in the order of the page."""
    found: dict[tuple[str, str], Line] = {}
    for i, (name, column) in enumerate(columns.items()):
        for row in results.level(name).itertuples():
            if name.startswith("gain") and row.method == "base":
                continue  # how far an untuned model is below SFT is no gain
            key = str(row.who), str(row.label)
            line = found.setdefault(key, Line(*key, str(row.method), [None] * len(columns)))
            line.cells[i] = quantity(
                row, scale=column.scale, digits=column.digits, signed=column.signed
            )
    return list(found.values())


def table(
    results: Results,
    name: str,
    caption: str,
    columns: Mapping[str, Column],
    remark: str = "",
    what: str = "items",
) -> Table | None:
    """The measures that the study has, or None where it has none of them; n counts ``what``."""
    present = {key: shown for key, shown in columns.items() if not results.level(key).empty}
    if not present:
        return None
    rows = lines(results, present)
    heads = ["student", "method", *(shown.heading for shown in present.values())]
    every = pd.concat([results.level(key) for key in present])
    line = note(every, what)
    return Table(
        name,
        caption,
        heads,
        [[row.who, row.label, *row.cells] for row in rows],
        f"{remark} · {line}" if remark else line,
        [row.method for row in rows],
        signatures(every),
    )


def pick(results: Results, measure: str, choice: Choice) -> Any | None:
    """The measure of the recommended system over all tasks, where it has one."""
    rows = results.level(measure, main=False)
    mask = (rows["student"] == choice.student) & (rows["label"] == choice.winner.label)
    return next(iter(rows[mask & rows["estimate"].notna()].itertuples()), None)


def by_student(
    found: Iterable[Choice], sentence: Callable[[Choice], str | None], otherwise: str
) -> Markup:
    """A sentence on the recommended system of each student, or ``otherwise`` where none has one."""
    said = [(choice.student, sentence(choice)) for choice in found]
    parts = [Markup("<b>{}</b>: ").format(who) + escape(text) for who, text in said if text]
    return Markup(" ").join(parts) or Markup("{}").format(otherwise)
