"""Which method is the most accurate, on which task, and how much it gains."""

import pandas as pd
from markupsafe import Markup, escape

from kdscope.report import charts, theme
from kdscope.report.answer import Choice
from kdscope.report.frames import Frame
from kdscope.report.parts import (
    Figure,
    Section,
    listing,
    note,
    percent,
    quantity,
    signatures,
    spoken,
)
from kdscope.report.results import Results
from kdscope.report.tabulate import Table


def section(results: Results, found: list[Choice]) -> Section:
    """Accuracy by method and task with intervals; gain over SFT by task."""
    rows = results.level("accuracy", None)
    if rows.empty:
        return Section(
            "accuracy",
            "Which method is the most accurate?",
            Markup("This study holds no accuracies."),
            missing=[
                "The table comparisons has no row of measure accuracy: run predict and stats."
            ],
        )
    tables = [by_task(results, "accuracy", "Accuracy by method and task, %")]
    gains = results.level("difference_in_accuracy", None)
    missing = []
    if gains.empty:
        missing.append(
            "Gains over SFT need an SFT student beside the distilled ones; this study has none."
        )
    else:
        tables.append(
            by_task(
                results,
                "difference_in_accuracy",
                "Gain over SFT by method and task, points",
                signed=True,
            )
        )
    return Section(
        "accuracy",
        "Which method is the most accurate, and on which task?",
        _answer(results, found),
        figures=[figure] if (figure := task_figure(results)) else [],
        tables=tables,
        missing=missing,
        paper=("Figure 1", "Figure 7", "Table 7", "Table 8"),
    )


def figures(results: Results) -> list[Figure]:
    """The three charts of the first screen, as far as the study has their data."""
    made = [accuracy_figure(results), scatter_figure(results), gain_figure(results)]
    return [figure for figure in made if figure is not None]


def accuracy_figure(results: Results) -> Figure | None:
    """Accuracy by method and student, the teacher as a dashed line."""
    rows = results.level("accuracy")
    own, teachers = rows[rows["student"].notna()], rows[rows["student"].isna()]
    teachers = teachers[teachers["method"] == "sft"]
    if own.empty:
        return None
    reference = None
    if len(teachers) == 1:
        level = float(teachers["estimate"].iloc[0]) * 100
        reference = charts.Reference(level, f"teacher {level:.1f}")
    chart = charts.intervals(
        percent(own), "accuracy, %", reference=reference, methods=results.methods
    )
    table = listed("accuracy", "Accuracy over all tasks, %", rows)
    return Figure("accuracy", "Accuracy", chart, note(own), table)


def scatter_figure(results: Results) -> Figure | None:
    """Agreement with the teacher against accuracy, intervals both ways."""
    accuracy, agreement = percent(results.level("accuracy")), percent(results.level("agreement"))
    keys = ["student", "method", "settings"]
    both = accuracy.merge(
        agreement[[*keys, "teacher", "label", "estimate", "low", "high"]],
        on=keys,
        suffixes=("", "_y"),
    )
    same = (both["teacher"] == both["teacher_y"]) | both["teacher"].isna()
    both = both[same & both["student"].notna() & (both["method"] != "base")].assign(
        label=both["label_y"]
    )
    if both.empty:
        return None
    names = {
        "estimate": "x",
        "low": "x_low",
        "high": "x_high",
        "estimate_y": "y",
        "low_y": "y_low",
        "high_y": "y_high",
    }
    both = both.rename(columns=names)
    chart = charts.scatter(both, "accuracy, %", "agreement with teacher, %")
    cells = [
        [r.student, r.label, quantity_of(r, "x"), quantity_of(r, "y")] for r in both.itertuples()
    ]
    table = Table(
        "agreement-and-accuracy",
        "Accuracy and agreement with the teacher, %",
        ["student", "method", "accuracy", "agreement"],
        cells,
        methods=list(both["method"]),
        signatures=signatures(results.level("agreement")),
    )
    return Figure(
        "agreement-and-accuracy",
        "Agreement against accuracy",
        chart,
        note(results.level("agreement")),
        table,
    )


def gain_figure(results: Results) -> Figure | None:
    """Gain over SFT per student and method."""
    rows = results.level("difference_in_accuracy")
    rows = rows[rows["method"] != "base"]
    if rows.empty:
        return None
    chart = charts.intervals(
        percent(rows), "gain over SFT, points", zero=True, methods=results.methods
    )
    table = listed("gain", "Gain in accuracy over SFT, points", rows, signed=True)
    return Figure("gain", "Gain over SFT", chart, note(rows), table)


def task_figure(results: Results) -> Figure | None:
    """Accuracy by task, every method of a student beside the others."""
    rows = results.in_task_order(percent(results.level("accuracy", None)))
    rows = rows[(rows["task"] != "all") & rows["student"].notna()]
    rows = rows.sort_values("place", kind="stable")
    if rows["task"].nunique() < 2:
        return None
    styles = theme.styles(results.methods)
    labels = rows.drop_duplicates("label").sort_values("order", kind="stable")
    colours = {
        r.label: (styles[r.method].light, styles[r.method].shape) for r in labels.itertuples()
    }
    cells = [[r.who, r.label, r.task, quantity(r, scale=1), int(r.n)] for r in rows.itertuples()]
    table = Table(
        "accuracy-of-tasks",
        "Accuracy by task, %",
        ["student", "method", "task", "accuracy", "n"],
        cells,
        note(rows),
        list(rows["method"]),
        signatures(rows),
    )
    chart = charts.kinds(
        rows.assign(kind=rows["label"]),
        "accuracy, %",
        colours,
        height=14 * len(colours) + 8,
        columns=3,
    )
    return Figure("accuracy-of-tasks", "Accuracy by task", chart, note(rows), table)


def quantity_of(row: object, axis: str):
    """A table cell from a scatter row (already in percent)."""
    pick = pd.Series(
        {
            "estimate": getattr(row, axis),
            "low": getattr(row, f"{axis}_low"),
            "high": getattr(row, f"{axis}_high"),
        }
    )
    return quantity(pick, scale=1)


def listed(name: str, caption: str, rows: Frame, *, signed: bool = False, digits: int = 1) -> Table:
    """Rows of one measure as a table: who, method, number, n."""
    cells = [
        [
            r.who,
            r.label,
            quantity(r, signed=signed, digits=digits),
            int(r.n) if r.n == r.n else None,
        ]
        for r in rows.itertuples()
    ]
    return Table(
        name,
        caption,
        ["system", "method", caption.split(",")[0].lower(), "n"],
        cells,
        note(rows),
        list(rows["method"]),
        signatures(rows),
    )


def by_task(
    results: Results, measure: str, caption: str, *, signed: bool = False, digits: int = 1
) -> Table:
    """One measure with a column per task, the best of each student emphasised.

    Its name ends in ``by-task``, or in ``over-tasks`` where only the mean over all of them is known.
    """
    rows = results.level(measure, None)
    if signed:  # how far an untuned model is below SFT is no gain
        rows = rows[rows["method"] != "base"]
    tasks = [task for task in ["all", *results.tasks] if task in set(rows["task"])]
    best = rows[rows["student"].notna()].groupby(["student", "task"])["estimate"].max().to_dict()
    cells, methods = [], []
    for (who, label), group in rows.groupby(["who", "label"], sort=False):
        by = {row.task: row for row in group.itertuples()}
        line: list = [who, label]
        for task in tasks:
            row = by.get(task)
            strong = row is not None and best.get((row.student, task)) == row.estimate
            line.append(
                None if row is None else quantity(row, signed=signed, digits=digits, strong=strong)
            )
        cells.append(line)
        methods.append(next(iter(by.values())).method)
    heads = ["system", "method", *("all tasks" if task == "all" else task for task in tasks)]
    extent = "by-task" if set(tasks) - {"all"} else "over-tasks"
    name = f"{measure.replace('_', '-')}-{extent}"
    text = f"bold: the best of each student · {note(rows)}"
    return Table(name, caption, heads, cells, text, methods, signatures(rows))


def _answer(results: Results, found: list[Choice]) -> Markup:
    sentences = []
    for choice in found:
        name = Markup("<b>{}</b>").format(choice.student)
        sentences.append(
            Markup("For {}, {} is the most accurate with {}").format(
                name, choice.winner.label, spoken(choice.winner)
            )
            + (
                escape(f", {spoken(choice.gain, signed=True, unit=' points')} over SFT.")
                if choice.gain is not None
                else "."
            )
        )
    gains = results.level("difference_in_accuracy")
    losers = [
        r for r in gains[gains["method"] != "base"].itertuples() if r.high == r.high and r.high < 0
    ]
    if losers:
        sentences.append(
            escape(f"Worse than SFT: {listing(f'{r.label} on {r.student}' for r in losers)}.")
        )
    return Markup(" ").join(sentences)
