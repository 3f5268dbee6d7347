"""What the charts share: axes, colours, data, the common configuration."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from kdscope.report import theme
from kdscope.report.frames import Column, Frame
from kdscope.report.tabulate import number

WIDTH = 356
EVERYONE = "all students"  # a panel that needs no title
_LABEL = 6.4  # pixels per character of an axis label


def rows_axis(labels: list[str], field: str, extent: int) -> alt.Y:
    """A nominal vertical axis in the given order, its labels in a column of fixed width."""
    return alt.Y(
        f"{field}:N",
        sort=labels,
        title=None,
        axis=alt.Axis(minExtent=extent, maxExtent=extent, labelLimit=extent - 6, labelPadding=8),
    )


def colour(methods: Sequence[str], *, legend: bool = False) -> alt.Color:
    """The method's colour."""
    found = theme.styles(methods)
    scale = alt.Scale(domain=list(found), range=[style.light for style in found.values()])
    return alt.Color("method:N", scale=scale, legend=alt.Legend(columns=6) if legend else None)


def shape(methods: Sequence[str], *, legend: bool = False) -> alt.Shape:
    """The method's shape."""
    found = theme.styles(methods)
    scale = alt.Scale(domain=list(found), range=[style.shape for style in found.values()])
    return alt.Shape("method:N", scale=scale, legend=alt.Legend(columns=6) if legend else None)


def describe(frame: Frame, title: str, digits: int, signed: bool) -> Frame:
    """The rows with the printed value (``shown``) and the tooltip (``tip``) of each."""
    frame = frame.copy()
    frame["shown"] = [number(v, digits, signed=signed) for v in frame["estimate"]]
    frame["tip"] = [
        f"{r.who}, {r.label}: {title} {r.shown} [{number(r.low, digits, signed=signed)}, "
        f"{number(r.high, digits, signed=signed)}]"
        + (f", n = {int(r.n)}" if r.n == r.n and r.n else "")
        for r in frame.itertuples()
    ]
    return frame


def title(text: str) -> Any:
    """A panel title, or none."""
    return alt.TitleParams(text)


def extent(labels: Column) -> int:
    """Pixels for the column of labels."""
    return int(min(170, max(56, 12 + _LABEL * max(map(len, labels.astype(str)), default=0))))


def domain(rows: Frame, also: list[float], low: str = "low", high: str = "high") -> list[float]:
    """A range that holds all bounds, with a margin."""
    values = [*rows[low].dropna(), *rows[high].dropna(), *also]
    if low == "low":
        values += list(rows["estimate"].dropna())
    least, most = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.04 * (most - least) or 1.0
    return [least - margin, most + margin]


def data(frame: Frame) -> alt.Data:
    """Rows as inline data; absent values are null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return alt.Data(values=[{str(k): v for k, v in row.items()} for row in rows])


def finish(chart: Any) -> alt.TopLevelMixin:
    """The chart with the shared configuration."""
    return chart.configure(**theme.chart_config())


def same(channel: Any, field: str, **changes: Any) -> Any:
    """The same axis for another field, so that layers agree on title, scale and ticks."""
    kept = {
        key: value for key, value in channel._kwds.items() if key not in {"shorthand", *changes}
    }
    return type(channel)(field, **kept, **changes)
