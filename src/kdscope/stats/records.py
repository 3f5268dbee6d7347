"""The small record that every statistic returns."""

from typing import NamedTuple


class Estimate(NamedTuple):
    """A number with its uncertainty and the way it was obtained.

    Attributes:
        estimate: the point estimate, in the unit that the measure's docstring gives.
        low, high: bounds of the 95 % interval; None where no interval is defined.
        p: p-value of the test that the signature names; None where nothing was tested.
        n: number of independent units (items, pairs, runs) behind the number.
        statistic: the test's own statistic (t, F, rho, chi-square); None for a plain estimate.
        signature: short string that says how the number was obtained,
            e.g. ``bootstrap:paired|R:10000|cluster:item|seed:0|ci:percentile95``.
    """

    estimate: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None
    statistic: float | None = None
    signature: str = ""
