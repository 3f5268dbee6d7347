"""Charts of the paper's re-examination: gain by size, methods, agreement against accuracy."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from kdscope.paper.alignment import with_kappa
from kdscope.paper.examination import Reexamination
from kdscope.paper.gains import GAIN, gain_of
from kdscope.paper.grid import Grid
from kdscope.paper.printed import BENCHMARKS, METHODS
from kdscope.paper.records import AVERAGE, Comparison
from kdscope.report import theme
from kdscope.report.tabulate import number

WIDTH = 330
TITLES = {"math": "Math", "commonsense": "Commonsense"}


def gains(x: Reexamination) -> alt.TopLevelMixin:
    """The mean gain over students, of all methods and of each, with its interval."""
    rows = []
    for name in BENCHMARKS:
        for label, test in (("all methods", GAIN), *((m, gain_of(m)) for m in METHODS)):
            c = x.find("corrected", name, test, AVERAGE)
            rows.append(_row(TITLES[name], label, c))
    return _intervals(rows, "points over SFT, mean of students")


def differences(x: Reexamination) -> alt.TopLevelMixin:
    """Each difference between two methods within pairs, with its interval and the margin."""
    rows = []
    for name in BENCHMARKS:
        for i, a in enumerate(METHODS):
            for b in METHODS[i + 1 :]:
                c = x.find("corrected", name, f"methods: {a} - {b}", AVERAGE)
                rows.append(_row(TITLES[name], f"{a} − {b}", c))
    return _intervals(rows, "points, within the same pair", x.margin)


def by_size(grid: Grid) -> alt.TopLevelMixin:
    """Gain of every run over student size, and what its baseline alone predicts for each student.

    The hollow marks are a least-squares line of the gain on the SFT score: they fall with size
    because bigger students start higher, whatever distillation does.
    """
    runs = grid.of(AVERAGE).dropna(subset=["size", "gain"])
    line = np.polynomial.Polynomial.fit(runs["sft"], runs["gain"], 1)
    students = runs.groupby("student")[["size", "sft"]].first().reset_index()
    students["gain"] = line(students["sft"].to_numpy())
    expected = students.sort_values("size").assign(method="expected from SFT score alone")
    x = alt.X(
        "size:Q",
        title="student, billions of parameters",
        scale=alt.Scale(type="log", domain=[0.4, 8.5], nice=False),
        axis=alt.Axis(values=[0.5, 1, 1.5, 3, 7], format="~g", grid=False),
    )
    y = alt.Y("gain:Q", title="points over SFT", axis=_grid_axis())
    base = alt.Chart(_data(runs[["student", "teacher", "method", "size", "gain"]]))
    zero = alt.Chart(alt.Data(values=[{"gain": 0}])).mark_rule(color=theme.MUTED).encode(y="gain:Q")
    points = base.mark_point(filled=True, size=48, opacity=0.85).encode(
        x=x, y=y, color=_colour(), shape=_shape()
    )
    trend = alt.Chart(_data(expected[["student", "size", "gain", "method"]])).encode(x=x, y=y)
    path = trend.mark_line(color=theme.MUTED, strokeDash=[4, 3], strokeWidth=1.4)
    rings = trend.mark_point(filled=False, color=theme.INK, size=70, strokeWidth=1.5)
    layers = alt.layer(zero, path, points, rings)
    return _finish(layers.properties(width=WIDTH, height=230))


def agreement(grid: Grid) -> alt.TopLevelMixin:
    """Gain of agreement against gain of accuracy, one point per pair and task.

    The line is where agreement would rise by as much as accuracy.
    """
    used = with_kappa(grid.cells[grid.cells["task"] != AVERAGE])
    low = float(min(used["gain"].min(), used["agreement_gain"].min()))
    high = float(max(used["gain"].max(), used["agreement_gain"].max()))
    ends = alt.Data(values=[{"gain": v, "agreement_gain": v} for v in (low, high)])
    x = alt.X("gain:Q", title="accuracy, points over SFT", axis=_grid_axis())
    y = alt.Y("agreement_gain:Q", title="agreement, points over SFT", axis=_grid_axis())
    line = alt.Chart(ends).mark_line(color=theme.MUTED, strokeDash=[4, 3], strokeWidth=1.2)
    colour = theme.METHOD_STYLES["revkd"].light
    points = alt.Chart(_data(used[["task", "student", "gain", "agreement_gain"]])).mark_point(
        filled=True, size=42, opacity=0.75, color=colour
    )
    layers = alt.layer(line.encode(x=x, y=y), points.encode(x=x, y=y))
    return _finish(layers.properties(width=WIDTH, height=230))


def _row(who: str, label: str, c: Comparison | None) -> dict[str, Any]:
    if c is None or c.estimate is None:
        return {"who": who, "label": label, "estimate": None, "low": None, "high": None}
    return {"who": who, "label": label, "estimate": c.estimate, "low": c.low, "high": c.high}


def _intervals(
    rows: list[dict[str, Any]], title: str, margin: float | None = None
) -> alt.TopLevelMixin:
    """One panel per benchmark, each with its own axis: their spreads differ tenfold."""
    panels = []
    for who in dict.fromkeys(row["who"] for row in rows):
        own = [row for row in rows if row["who"] == who and row["estimate"] is not None]
        shown = [row | {"text": number(row["estimate"], 1, signed=True)} for row in own]
        labels = [row["label"] for row in own]
        base = alt.Chart(alt.Data(values=shown)).encode(
            y=alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(minExtent=96, maxExtent=96))
        )
        x = alt.X("estimate:Q", title=title, axis=alt.Axis(tickCount=5))
        layers: list[Any] = []
        if margin is not None:
            band = alt.Chart(alt.Data(values=[{"from": -margin, "to": margin}]))
            layers.append(band.mark_rect(color=theme.BAND).encode(x="from:Q", x2="to:Q"))
        zero = alt.Chart(alt.Data(values=[{"zero": 0}]))
        layers.append(zero.mark_rule(color=theme.MUTED).encode(x="zero:Q"))
        layers.append(base.mark_rule(color=theme.INK, strokeWidth=2).encode(x="low:Q", x2="high:Q"))
        layers.append(base.mark_point(filled=True, color=theme.INK, size=60, opacity=1).encode(x=x))
        layers.append(
            base.mark_text(align="right", color=theme.INK, fontSize=12).encode(
                x=alt.value(250), text="text:N"
            )
        )
        panels.append(
            alt.layer(*layers).properties(width=210, height=26 * len(own), title=alt.Title(who))
        )
    return _finish(alt.vconcat(*panels, spacing=14))


def _grid_axis() -> alt.Axis:
    return alt.Axis(grid=True, tickCount=5, labelColor=theme.MUTED, labelFontSize=11)


def _styles() -> dict[str, theme.Style]:
    return {name: theme.METHOD_STYLES[name.lower()] for name in METHODS}


def _colour() -> alt.Color:
    scale = alt.Scale(domain=list(METHODS), range=[s.light for s in _styles().values()])
    return alt.Color("method:N", scale=scale, legend=alt.Legend(columns=3))


def _shape() -> alt.Shape:
    scale = alt.Scale(domain=list(METHODS), range=[s.shape for s in _styles().values()])
    return alt.Shape("method:N", scale=scale, legend=alt.Legend(columns=3))


def _data(frame: pd.DataFrame) -> alt.Data:
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return alt.Data(values=[{str(k): v for k, v in row.items()} for row in rows])


def _finish(chart: Any) -> alt.TopLevelMixin:
    return chart.configure(**theme.chart_config())
