"""Gains by method and task as a heat map."""

from typing import Any

import altair as alt

from kdscope.report import theme
from kdscope.report.charts._base import WIDTH, data, describe, extent, finish, rows_axis, title
from kdscope.report.frames import Frame

_ROW = 26


def heat(rows: Frame) -> alt.TopLevelMixin:
    """Gains in points: rows are methods, columns are tasks, panels are students.

    Colour says the sign, its strength the size; a value is bold where its interval excludes 0.
    ``rows`` has ``who``, ``label``, ``task``, ``estimate``, ``low``, ``high``, ``n``.
    """
    frame = describe(
        rows.assign(label=rows["label"] + ", " + rows["task"]), "gain, points", 1, True
    )
    frame = frame.assign(label=rows["label"], clear=(rows["low"] > 0) | (rows["high"] < 0))
    most = float(rows["estimate"].abs().max()) or 1.0
    frame["sign"] = ["up" if value >= 0 else "down" for value in frame["estimate"]]
    frame["strength"] = 0.08 + 0.42 * frame["estimate"].abs() / most
    tasks = list(dict.fromkeys(rows["task"]))
    wide = extent(rows["label"])
    groups = list(frame.groupby("who", sort=False))
    panels = [
        _panel(group, tasks, wide, str(who), last=i == len(groups) - 1)
        for i, (who, group) in enumerate(groups)
    ]
    return finish(alt.vconcat(*panels, spacing=12))


def _panel(frame: Frame, tasks: list[str], wide: int, who: str, *, last: bool) -> Any:
    labels = list(dict.fromkeys(frame["label"]))
    slant = max(map(len, tasks)) * 6.2 > (WIDTH - wide) / len(tasks)
    base = alt.Chart().encode(
        x=alt.X(
            "task:N",
            sort=tasks,
            title=None,
            axis=alt.Axis(labels=last, grid=False, labelAngle=-40 if slant else 0, labelLimit=120),
        ),
        y=rows_axis(labels, "label", wide),
        description="tip:N",
    )
    cell = base.mark_rect(stroke=theme.PAPER, strokeWidth=2).encode(
        color=alt.Color(
            "sign:N",
            legend=None,
            scale=alt.Scale(
                domain=["up", "down"],
                range=[theme.METHOD_STYLES["fkl"].light, theme.METHOD_STYLES["seqkd"].light],
            ),
        ),
        opacity=alt.Opacity("strength:Q", legend=None, scale=None),
    )
    text = base.mark_text(color=theme.INK, fontSize=11.5).encode(text="shown:N")
    layers = [
        cell,
        text.transform_filter("datum.clear").mark_text(
            color=theme.INK, fontSize=11.5, fontWeight="bold"
        ),
        text.transform_filter("!datum.clear"),
    ]
    height = _ROW * len(labels)
    return alt.layer(*layers, data=data(frame)).properties(
        width=WIDTH - wide - 6, height=height, title=title(who)
    )
