"""Vega-Lite specifications of the report's charts.

Every chart is drawn 356 pixels wide, so that it reads the same on a phone and in a column of a wide
page; students become panels below each other. Values arrive as percent, intervals are always drawn,
and each mark carries a description for tooltips.
"""

from kdscope.report.charts._base import EVERYONE
from kdscope.report.charts._heat import heat
from kdscope.report.charts._intervals import Reference, intervals
from kdscope.report.charts._kinds import kinds
from kdscope.report.charts._lines import lines
from kdscope.report.charts._scatter import scatter

__all__ = ["EVERYONE", "Reference", "heat", "intervals", "kinds", "lines", "scatter"]
