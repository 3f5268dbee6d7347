"""Points with intervals."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt

from kdscope.report import theme
from kdscope.report.charts._base import (
    EVERYONE,
    WIDTH,
    colour,
    data,
    describe,
    domain,
    extent,
    finish,
    rows_axis,
    same,
    shape,
    title,
)
from kdscope.report.frames import Frame

_ROW = 23
_VALUES = 40  # the column of printed values at the right


class Reference(NamedTuple):
    """A dashed line that the points are compared with."""

    value: float
    label: str


def intervals(
    rows: Frame,
    heading: str,
    *,
    zero: bool = False,
    digits: int = 1,
    reference: Reference | None = None,
    methods: Sequence[str] = (),
) -> alt.TopLevelMixin:
    """Points with intervals: one row a system, one panel a student.

    ``rows`` has ``who`` (panel), ``label``, ``method``, ``estimate``, ``low``, ``high``, ``n`` in
    the unit shown. ``zero`` draws a line at 0 and signs the values.
    """
    wide = extent(rows["label"])
    limits = domain(rows, [0.0] if zero else [reference.value] if reference else [])
    panels, groups = [], list(rows.groupby("who", sort=False))
    for i, (who, group) in enumerate(groups):
        last = i == len(groups) - 1
        panels.append(
            _interval_panel(
                describe(group, heading, digits, zero),
                str(who) if len(groups) > 1 or who != EVERYONE else "",
                x=alt.X(
                    "estimate:Q",
                    title=heading if last else None,
                    scale=alt.Scale(domain=limits, nice=False),
                    axis=alt.Axis(labels=last, tickCount=5),
                ),
                wide=wide,
                zero=zero,
                reference=reference,
                name_reference=i == 0,
                methods=methods or rows["method"].unique(),
            )
        )
    return finish(alt.vconcat(*panels, spacing=12))


def _interval_panel(
    frame: Frame,
    who: str,
    *,
    x: alt.X,
    wide: int,
    zero: bool,
    reference: Reference | None,
    name_reference: bool,
    methods: Sequence[str],
) -> Any:
    width = WIDTH - wide - _VALUES - 10
    base = alt.Chart().encode(y=rows_axis(list(frame["label"]), "label", wide), description="tip:N")
    marks = base.encode(color=colour(methods))
    layers: list[Any] = []
    line = Reference(0.0, "") if zero else reference
    if line is not None:
        rule = alt.Chart(alt.Data(values=[{"value": line.value, "name": line.label}]))
        layers.append(
            rule.mark_rule(
                color=theme.MUTED, strokeDash=[] if zero else [3, 3], strokeWidth=1
            ).encode(x=same(x, "value:Q"))
        )
        if name_reference and line.label:
            layers.append(
                rule.mark_text(
                    color=theme.MUTED, align="right", dx=-2, fontSize=11, baseline="bottom"
                ).encode(x=same(x, "value:Q"), y=alt.value(-4), text="name:N")
            )
    layers.append(marks.mark_rule(strokeWidth=2.2).encode(x=same(x, "low:Q"), x2="high:Q"))
    layers.append(
        marks.mark_point(filled=True, size=70, opacity=1).encode(x=x, shape=shape(methods))
    )
    layers.append(
        base.mark_text(align="right", color=theme.INK, fontSize=12).encode(
            x=alt.value(width + _VALUES), text="shown:N"
        )
    )
    return alt.layer(*layers, data=data(frame)).properties(
        width=width, height=_ROW * len(frame), title=title(who)
    )
