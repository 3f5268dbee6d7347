"""Lines over steps, settings or thresholds."""

from collections.abc import Sequence

import altair as alt

from kdscope.report import theme
from kdscope.report.charts._base import (
    EVERYONE,
    WIDTH,
    colour,
    data,
    finish,
    title,
)
from kdscope.report.frames import Frame


def lines(
    rows: Frame,
    x: str,
    y: str,
    *,
    methods: Sequence[str],
    log: bool = False,
    points: bool = False,
    band: bool = False,
    diagonal: bool = False,
) -> alt.TopLevelMixin:
    """Lines over ``x`` by method, one panel a student; ``line`` tells the runs of one method apart.

    ``points`` draws a point with its interval (``low``, ``high``) at every value, ``band`` a band;
    ``diagonal`` a dashed line where both axes are equal.
    """
    panels, groups = [], list(rows.groupby("who", sort=False))
    low = rows["low"].min() if points or band else rows["y"].min()
    high = rows["high"].max() if points or band else rows["y"].max()
    ends = [min(low, rows["x"].min()), max(high, rows["x"].max())]
    if diagonal:
        low, high = ends
    across = alt.Scale(domain=ends, nice=False) if diagonal else alt.Scale(nice=False)
    scale = alt.Scale(type="log") if log else alt.Scale(domain=[low, high], zero=False, nice=True)
    for i, (who, group) in enumerate(groups):
        last = i == len(groups) - 1
        base = alt.Chart().encode(
            x=alt.X(
                "x:Q",
                title=x if last else None,
                scale=across,
                axis=alt.Axis(labels=last, tickCount=5),
            ),
            y=alt.Y(
                "y:Q",
                title=y,
                scale=scale,
                axis=alt.Axis(
                    grid=True,
                    tickCount=4,
                    labelColor=theme.MUTED,
                    labelFontSize=11,
                    minExtent=34,
                    maxExtent=34,
                ),
            ),
            color=colour(methods, legend=i == 0),
            detail="line:N",
            description="tip:N",
        )
        layers = [base.mark_line(strokeWidth=1.6, opacity=0.85, interpolate="linear")]
        if band:
            faint = 0.16 if len(methods) < 3 else 0.07  # many bands lie over each other
            layers.insert(0, base.mark_area(opacity=faint).encode(y="low:Q", y2="high:Q"))
        if points:
            layers.append(base.mark_rule(strokeWidth=1.6).encode(y="low:Q", y2="high:Q"))
            layers.append(base.mark_point(filled=True, size=50, opacity=1))
        if diagonal:
            layers.insert(0, _diagonal(ends, base))
        panels.append(
            alt.layer(*layers, data=data(group)).properties(
                width=WIDTH - 60, height=130, title=title("" if who == EVERYONE else str(who))
            )
        )
    return finish(alt.vconcat(*panels, spacing=12))


def _diagonal(ends: list[float], base: alt.Chart) -> alt.Chart:
    """A dashed line from corner to corner, on the axes of the other layers."""
    values = alt.Data(values=[{"x": end, "y": end} for end in ends])
    line = alt.Chart(values).mark_line(color=theme.MUTED, strokeDash=[3, 3], strokeWidth=1)
    return line.encode(x=base.encoding.x, y=base.encoding.y)
