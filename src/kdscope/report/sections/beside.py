"""Another run of the same kind beside this one."""

import math

from markupsafe import Markup, escape

from kdscope.report.parts import Section, count, quantity
from kdscope.report.results import Results
from kdscope.report.tabulate import Quantity, Table

_MEASURES = {"accuracy": "accuracy, %", "agreement": "agreement, %"}


def section(results: Results, other: Results) -> Section:
    """Cells of both runs with the difference of this run to the other."""
    question = f"How does it compare with {other.name}?"
    made = [_table(results, other, measure) for measure in _MEASURES]
    tables = [table for table in made if table.rows]
    if not tables:
        return Section(
            "beside",
            question,
            Markup("The two runs have no cell in common."),
            missing=["Cells match by student, method, settings and task; none did."],
        )
    apart = [
        row
        for row in tables[0].rows
        if row[3] == "all tasks" and (row[6].low > 0 or row[6].high < 0)
    ]
    whole = [row for row in tables[0].rows if row[3] == "all tasks"]
    shared = count(len(whole), "cell")
    text = f"Over all tasks, {len(apart)} of {shared} in common differ beyond their intervals."
    return Section("beside", question, escape(text), tables=tables)


def _table(results: Results, other: Results, measure: str) -> Table:
    keys = ["student", "method", "settings", "task"]
    mine, theirs = (r.level(measure, None, main=False) for r in (results, other))
    known = {tuple(str(getattr(row, key)) for key in keys): row for row in theirs.itertuples()}
    cells, methods = [], []
    for row in mine.itertuples():
        match = known.get(tuple(str(getattr(row, key)) for key in keys))
        if match is None:
            continue
        task = "all tasks" if row.task == "all" else row.task
        cells.append(
            [
                row.who,
                row.label,
                measure,
                task,
                quantity(row),
                quantity(match),
                difference(row, match),
            ]
        )
        methods.append(row.method)
    unit = _MEASURES[measure]
    heads = [
        "system",
        "method",
        "measure",
        "task",
        f"{results.name}: {unit}",
        f"{other.name}: {unit}",
        "difference, points",
    ]
    note = "the interval takes the runs as independent: cautious where they share questions"
    return Table(
        f"beside-{measure}", f"{measure.capitalize()} in both runs", heads, cells, note, methods
    )


def difference(first: object, second: object) -> Quantity:
    """First less second in points; half-widths add in quadrature."""
    a, b = quantity(first), quantity(second)
    if a.value is None or b.value is None:
        return Quantity(None)
    delta = a.value - b.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Quantity(delta, signed=True)
    low = delta - math.hypot(a.value - a.low, b.high - b.value)
    high = delta + math.hypot(a.high - a.value, b.value - b.low)
    return Quantity(delta, low, high, signed=True)
