"""Two measures against each other."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from kdscope.report import theme
from kdscope.report.charts._base import (
    WIDTH,
    colour,
    data,
    domain,
    finish,
    same,
    shape,
    title,
)
from kdscope.report.frames import Frame
from kdscope.report.tabulate import number


def scatter(rows: Frame, x: str, y: str) -> alt.TopLevelMixin:
    """Two measures against each other, with the intervals of both; colour and shape say the method.

    ``rows`` has ``who``, ``label``, ``method`` and, for both axes, ``x``, ``x_low``, ``x_high`` and
    so on. Where it has ``shift``, points are drawn so far to the right, and told as they are.
    """
    rows = rows.copy()
    rows["tip"] = [
        f"{r.who}, {r.label}: {x} {number(r.x)} [{number(r.x_low)}, {number(r.x_high)}], "
        f"{y} {number(r.y)} [{number(r.y_low)}, {number(r.y_high)}]"
        for r in rows.itertuples()
    ]
    if "shift" in rows:
        for name in ("x", "x_low", "x_high"):
            rows[name] += rows["shift"]
    axes = {
        "x": alt.X(
            "x:Q",
            title=x,
            scale=alt.Scale(domain=domain(rows, [], "x_low", "x_high"), nice=False),
            axis=alt.Axis(tickCount=5),
        ),
        "y": alt.Y(
            "y:Q",
            title=y,
            scale=alt.Scale(domain=domain(rows, [], "y_low", "y_high"), nice=False),
            axis=alt.Axis(
                grid=True,
                tickCount=4,
                labelColor=theme.MUTED,
                labelFontSize=11,
                minExtent=34,
                maxExtent=34,
            ),
        ),
    }
    groups = list(rows.groupby("who", sort=False))
    few = len(groups) <= 4
    panels = (
        [
            _scatter_panel(
                group,
                axes,
                rows["method"].unique(),
                str(who),
                150,
                legend=i == 0,
                last=i == len(groups) - 1,
            )
            for i, (who, group) in enumerate(groups)
        ]
        if few
        else [_scatter_panel(rows, axes, rows["method"].unique(), "", 300, legend=True)]
    )
    return finish(alt.vconcat(*panels, spacing=12))


def _scatter_panel(
    frame: Frame,
    axes: dict,
    methods: Sequence[str],
    who: str,
    height: int,
    *,
    legend: bool,
    last: bool = True,
) -> Any:
    x, y = axes["x"], axes["y"]
    if not last:
        x = same(x, "x:Q", title=None, axis=alt.Axis(labels=False, tickCount=5))
    base = alt.Chart().encode(color=colour(methods, legend=legend), description="tip:N")
    rules = base.mark_rule(strokeWidth=1.6)
    points = base.mark_point(filled=True, size=75, opacity=1)
    return alt.layer(
        rules.encode(y=y, x=same(x, "x_low:Q"), x2="x_high:Q"),
        rules.encode(x=x, y=same(y, "y_low:Q"), y2="y_high:Q"),
        points.encode(x=x, y=y, shape=shape(methods, legend=legend)),
        data=data(frame),
    ).properties(width=WIDTH - 60, height=height, title=title(who))
