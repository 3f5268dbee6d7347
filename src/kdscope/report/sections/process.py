"""How the training went and what it cost."""

import re

import pandas as pd
from markupsafe import Markup, escape

from kdscope.report import charts
from kdscope.report.frames import Frame
from kdscope.report.frames import frame as make_frame
from kdscope.report.parts import Figure, Section, count, note, percent, quantity, signatures
from kdscope.report.results import Results
from kdscope.report.tabulate import Quantity, Table

_TITLES = {
    "loss": "Training loss",
    "eval_loss": "Validation loss",
    "top1_match": "Top-1 match with the teacher",
    "student_entropy": "Student entropy, nats",
    "teacher_entropy": "Teacher entropy, nats",
    "grad_norm": "Gradient norm",
}
_POINTS = 60


def curves(results: Results) -> Section:
    """Training curves by method, one line a run."""
    rows, question = results["curves"], "How did the training go?"
    rows = rows[rows["student"].notna() & rows["value"].notna()] if not rows.empty else rows
    if rows.empty:
        return Section(
            "training",
            question,
            Markup("This study kept no training curves."),
            missing=[
                "Training curves need the table curves, which the steps sft and distill write."
            ],
        )
    made = [
        _curve(results, rows, measure) for measure in _TITLES if (rows["measure"] == measure).any()
    ]
    last = rows[rows["measure"] == "loss"].sort_values("optimizer_step").groupby("model").tail(1)
    steps = int(rows["optimizer_step"].max())
    text = f"{count(rows['model'].nunique(), 'student run')} of up to {steps} optimizer steps."
    broken = last[~last["value"].between(-1e6, 1e6)]
    text += (
        f" {count(len(broken), 'run')} ended with a loss that is not finite."
        if len(broken)
        else (" Losses of different objectives have different units: compare shapes, not heights.")
    )
    return Section(
        "training", question, escape(text), [made_one for made_one in made[:3] if made_one]
    )


def _curve(results: Results, rows: Frame, measure: str) -> Figure:
    rows = rows[rows["measure"] == measure]
    rows = results.main(rows)
    thin = pd.concat(
        [
            group.iloc[:: max(1, len(group) // _POINTS)]
            for _, group in rows.groupby("model", sort=False)
        ]
    )
    frame = make_frame(
        {
            "who": thin["student"],
            "method": thin["method"],
            "line": thin["model"],
            "x": thin["optimizer_step"],
            "y": thin["value"],
            "tip": thin["model"],
        }
    )
    title = _TITLES[measure]
    chart = charts.lines(
        frame,
        "optimizer step",
        title.split(",")[0].lower(),
        methods=[name for name in results.methods if name in set(frame["method"])],
    )
    last = rows.sort_values("optimizer_step").groupby("model", sort=False).tail(1)
    cells = [
        [
            r.student,
            r.method,
            int(r.seed),
            int(r.optimizer_step),
            Quantity(float(r.value), digits=3),
        ]
        for r in last.itertuples()
    ]
    table = Table(
        f"curve-{measure.replace('_', '-')}",
        f"{title} at the last step",
        ["student", "method", "seed", "step", title.lower()],
        cells,
        methods=list(last["method"]),
    )
    return Figure(
        f"curve-{measure.replace('_', '-')}",
        title,
        chart,
        "one line a run; every seed is drawn",
        table,
    )


def cost(results: Results) -> Section:
    """Time, tokens and memory by kind of step; training time by method."""
    rows, question = results["steps"], "What did it cost?"
    rows = rows[rows["seconds"].notna()] if not rows.empty else rows
    if rows.empty:
        return Section(
            "cost",
            question,
            Markup("This study kept no record of its steps."),
            missing=["Cost needs the table steps, which the driver writes."],
        )
    total = float(rows["seconds"].sum())
    text = f"{count(len(rows), 'step')} took {duration(total)} of work on this machine."
    by_method = _by_method(results, rows)
    tables = [_by_kind(rows), *([by_method] if by_method else [])]
    if by_method and len(by_method.rows) > 1:
        dear = max(by_method.rows, key=lambda row: row[2].value or 0)
        spent = duration(float(dear[2].value or 0))
        name = "the teacher's" if dear[0] == "teacher" else dear[0]
        text += f" The dearest training is {name}, {spent} a run at the median."
    return Section(
        "cost",
        question,
        escape(text),
        figures=[figure] if (figure := _gain_and_cost(results, rows)) else [],
        tables=tables,
        missing=["Energy is not measured on this machine, so it is not shown."],
    )


def _by_kind(rows: Frame) -> Table:
    cells = []
    for kind, group in rows.groupby("kind", sort=False):
        memory, tokens = group["peak_memory"].max(), group["tokens"].sum()
        cells.append(
            [
                str(kind),
                len(group),
                Quantity(float(group["seconds"].sum()), digits=0),
                Quantity(float(group["seconds"].median())),
                Quantity(float(memory) / 2**30 if pd.notna(memory) else None, digits=2),
                int(tokens) if pd.notna(tokens) else None,
            ]
        )
    return Table(
        "cost-by-kind",
        "Cost by kind of step",
        ["kind", "steps", "seconds", "median seconds", "peak memory, GiB", "tokens"],
        cells,
    )


def _training_seconds(results: Results, rows: Frame) -> dict[tuple[str, str], list[float]]:
    """Seconds of every training by (student, method); a teacher's own stands under ``teacher``."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows[rows["kind"].isin(["sft", "distill"])].itertuples():
        found.setdefault(_trained(results, str(row.step)), []).append(float(row.seconds))
    return found


def _by_method(results: Results, rows: Frame) -> Table | None:
    found: dict[str, list[float]] = {}
    for (_, method), seconds in _training_seconds(results, rows).items():
        found.setdefault(method, []).extend(seconds)
    if not found:
        return None
    gains = results.level("difference_in_accuracy").groupby("method")["estimate"].mean().to_dict()
    names = [name for name in results.methods if name in found]
    names += [name for name in found if name not in results.methods]
    cells = []
    for name in names:
        seconds = pd.Series(found[name])
        gain = gains.get(name)
        cells.append(
            [
                name,
                len(seconds),
                Quantity(float(seconds.median()), float(seconds.min()), float(seconds.max())),
                None if gain is None else Quantity(gain * 100, signed=True),
            ]
        )
    heads = ["method", "trainings", "median seconds [least, most]", "mean gain over SFT, points"]
    note = "brackets are the range over trainings, not an interval"
    return Table("cost-by-method", "Training time and gain by method", heads, cells, note, names)


def _gain_and_cost(results: Results, rows: Frame) -> Figure | None:
    seconds = _training_seconds(results, rows)
    gains = percent(results.level("difference_in_accuracy"))
    gains = gains[~gains["method"].isin(["base", "sft"])]
    parts = []
    for row in gains.to_dict("records"):
        spent = seconds.get((row["student"], row["method"]))
        if spent:
            span = {
                "x": float(pd.Series(spent).median()),
                "x_low": min(spent),
                "x_high": max(spent),
            }
            parts.append(
                {**row, **span, "y": row["estimate"], "y_low": row["low"], "y_high": row["high"]}
            )
    if not parts:
        return None
    frame = make_frame(parts)
    cells = [
        [r.who, r.label, Quantity(r.x, r.x_low, r.x_high), quantity(r, scale=1, signed=True)]
        for r in frame.itertuples()
    ]
    heads = ["student", "method", "seconds [least, most]", "gain, points"]
    text = f"vertical: 95 % interval · horizontal: range over trainings · {note(gains)}"
    table = Table(
        "gain-and-cost",
        "Gain over SFT against training time",
        heads,
        cells,
        text,
        list(frame["method"]),
        signatures(gains),
    )
    chart = charts.scatter(frame, "seconds a training", "gain over SFT, points")
    return Figure("gain-and-cost", "Gain against training time", chart, text, table)


def _trained(results: Results, step: str) -> tuple[str, str]:
    """The student and method that a training step is named after; ``teacher`` for a teacher."""
    label = step.split("/", 1)[-1]
    for student in sorted(results.students, key=len, reverse=True):
        name = re.sub(r"[^A-Za-z0-9._=-]", "-", student) + "-"
        if label.startswith(name):
            rest = label.removeprefix(name)
            named = [m for m in results.methods if rest.startswith(f"{m}-")]
            return student, max(named, key=len) if named else "other"
    return "teacher", "teacher"


def duration(seconds: float) -> str:
    """Seconds as a phrase: ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
