"""p-values of a whole family of tests: adjusted, and written."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def adjust(p: Sequence[float | None], method: Literal["holm", "bh"] = "holm") -> list[float | None]:
    """Adjusted p-values of one family, in the order given; None (nothing tested) stays None.

    ``holm`` holds the chance of a single false alarm in the family at 5 % (confirmatory questions),
    ``bh`` (Benjamini-Hochberg) the share of false alarms among the findings (exploratory tables).
    """
    present = [i for i, value in enumerate(p) if value is not None and not np.isnan(value)]
    adjusted: list[float | None] = [None] * len(p)
    if present:
        family = np.array([p[i] for i in present], dtype=np.float64)
        values = _holm(family) if method == "holm" else stats.false_discovery_control(family)
        for i, value in zip(present, values, strict=True):
            adjusted[i] = float(value)
    return adjusted


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's step-down adjustment.

    Here because statsmodels' multipletests collects garbage at every call, a tenth of a second
    each; the tests hold it equal to that function.
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def write_p(p: float | None) -> str:
    """A p-value as it is printed everywhere: three digits, ``< .001``, or an en dash for None."""
    if p is None or np.isnan(p):
        return "–"
    if p < 0.001:
        return "< .001"
    return f"{p:.3f}".removeprefix("0")
