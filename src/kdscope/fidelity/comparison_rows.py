"""How a number becomes a row of ``comparisons``: its range, its fields, its family."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdscope.errors import NotEstimableError
from kdscope.stats.multiplicity import adjust
from kdscope.stats.records import Estimate

Row = dict[str, Any]

_CELL = ("teacher", "student", "method", "settings")
_SIGNED = ("gain", "difference", "equivalence")
_UNBOUNDED = ("nll", "brier", "forward_kl", "reverse_kl", "option_kl", "option_reverse_kl")


def cell_row(
    measure: str,
    system: Mapping[str, Any],
    task: str,
    estimate: Estimate,
    seeds: int,
    **fields: Any,
) -> Row:
    """A row on one cell over its seeds; its interval does not leave the measure's range."""
    floor, ceiling = value_range(measure)
    low, high = (x and min(max(x, floor), ceiling) for x in (estimate.low, estimate.high))
    return {
        "scope": "cell",
        "measure": measure,
        "test": None,
        "task": task,
        **{name: system[name] for name in _CELL},
        "seed": None,
        "reference": None,
        **_numbers(estimate),
        "low": low,
        "high": high,
        "seeds": seeds,
        **fields,
    }


def study_row(scope: str, measure: str, test: str, estimate: Estimate, **fields: Any) -> Row:
    """A row on the whole study or on one method: the fields name what is not null."""
    absent = dict.fromkeys((*_CELL, "seed", "reference", "seeds"))
    numbers = {"task": "all", **absent, **_numbers(estimate)}
    return {"scope": scope, "measure": measure, "test": test, **numbers, **fields}


def _numbers(estimate: Estimate) -> Row:
    return {
        "estimate": estimate.estimate,
        "low": estimate.low,
        "high": estimate.high,
        "statistic": estimate.statistic,
        "p": estimate.p,
        "p_adjusted": None,
        "n": estimate.n,
        "signature": estimate.signature,
    }


def value_range(measure: str) -> tuple[float, float]:
    """The values that a measure can take: no interval leaves them."""
    if measure == "exposure_bias":
        return (-math.inf, math.inf)
    if measure.startswith(_UNBOUNDED) or measure == "agreement_normalised":
        return (0.0, math.inf)
    if measure.endswith(("kappa", "consistency", "capa", "pearson")):
        return (-2.0, 2.0) if measure.startswith("gain") else (-1.0, 1.0)
    return (-1.0, 1.0) if measure.startswith(_SIGNED) else (0.0, 1.0)


def where_estimable(make: Callable[[], list[Row]]) -> list[Row]:
    """The rows of a test, or none where the study does not permit it."""
    try:
        return make()
    except NotEstimableError:
        return []


def adjust_family(rows: Sequence[Row]) -> None:
    """Set Holm's p of rows that form one family, and say so in their signatures."""
    for row, value in zip(rows, adjust([row["p"] for row in rows]), strict=True):
        row["p_adjusted"] = value
        row["signature"] += f"|adjust:holm({len(rows)})"
