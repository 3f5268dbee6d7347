"""What a comparison found: systems, pairs and gains, each measure an Estimate."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from kdscope.stats.bootstrap import Array
from kdscope.stats.records import Estimate


@dataclass
class Pair:
    """A system compared with the reference."""

    reference: str
    other: str
    n: int
    measures: dict[str, Estimate]


@dataclass
class SystemSummary:
    """A system on its own items."""

    name: str
    n: int
    measures: dict[str, Estimate]


@dataclass
class Comparison:
    """Everything that a comparison found.

    Attributes:
        systems: in the order of the files; the first is the reference.
        pairs: each further system with the reference.
        gains: each system after the second compared with the second, in what it shares with the
            reference (for a teacher, an SFT student, and distilled students).
        notes: what was wrong with the files and what could not be computed.
        tasks: task -> number of items of the reference.
    """

    systems: list[SystemSummary]
    pairs: list[Pair]
    gains: list[Pair]
    notes: list[str] = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)


class Kept(NamedTuple):
    """A measure that gains are taken of: its value, its resamples [R], and the items behind it."""

    point: float
    drawn: Array
    n: float


def absent(what: str, signature: str = "") -> Estimate:
    """The record of a measure that cannot be computed, saying why."""
    return Estimate(
        math.nan, signature=f"absent:needs {what}" + (f"|{signature}" if signature else "")
    )
