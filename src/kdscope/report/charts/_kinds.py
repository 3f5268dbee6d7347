"""Several kinds of one measure side by side."""

import altair as alt

from kdscope.report.charts._base import (
    WIDTH,
    data,
    describe,
    domain,
    extent,
    finish,
    rows_axis,
    same,
    title,
)
from kdscope.report.frames import Frame


def kinds(
    rows: Frame,
    heading: str,
    colours: dict[str, tuple[str, str]],
    *,
    height: int = 42,
    digits: int = 1,
    columns: int = 2,
) -> alt.TopLevelMixin:
    """Several kinds of one measure: rows are tasks, panels are students, colour is the kind.

    ``rows`` has ``who``, ``task``, ``kind``, ``estimate``, ``low``, ``high``, ``n``; ``colours``
    gives each kind its colour and shape; ``columns`` is how many stand in a row of the legend.
    """
    wide = extent(rows["task"])
    limits = domain(rows, [])
    panels, groups = [], list(rows.groupby("who", sort=False))
    names = list(colours)
    for i, (who, group) in enumerate(groups):
        last = i == len(groups) - 1
        frame = describe(
            group.assign(label=group["kind"] + ", " + group["task"]), heading, digits, False
        )
        x = alt.X(
            "estimate:Q",
            title=heading if last else None,
            scale=alt.Scale(domain=limits, nice=False),
            axis=alt.Axis(labels=last, tickCount=5),
        )
        base = alt.Chart().encode(
            y=rows_axis(list(dict.fromkeys(group["task"])), "task", wide),
            yOffset=alt.YOffset(
                "kind:N", sort=names, scale=alt.Scale(domain=names, paddingOuter=0.6)
            ),
            x=x,
            color=alt.Color(
                "kind:N",
                scale=alt.Scale(domain=names, range=[c for c, _ in colours.values()]),
                legend=alt.Legend(columns=columns) if i == 0 else None,
            ),
            description="tip:N",
        )
        rule = base.mark_rule(strokeWidth=2).encode(x=same(x, "low:Q"), x2="high:Q")
        shape = alt.Shape(
            "kind:N",
            scale=alt.Scale(domain=names, range=[s for _, s in colours.values()]),
            legend=alt.Legend(columns=columns) if i == 0 else None,
        )
        points = base.mark_point(filled=True, size=55, opacity=1).encode(shape=shape)
        panels.append(
            alt.layer(rule, points, data=data(frame)).properties(
                width=WIDTH - wide - 16,
                height=height * group["task"].nunique(),
                title=title(str(who)),
            )
        )
    return finish(alt.vconcat(*panels, spacing=12))
