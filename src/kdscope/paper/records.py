"""The small records that the re-examination is made of."""

import math
from typing import Any, Literal, NamedTuple

from kdscope.stats.records import Estimate

Analysis = Literal["paper-exact", "printed-tables", "tau-1", "corrected"]
AVERAGE = "average"


class Printed(NamedTuple):
    """One statistic as the paper prints it: number, p to one decimal, bold or not."""

    table: int
    benchmark: str
    test: str
    task: str
    statistic: float
    p: float
    bold: bool

    @property
    def key(self) -> tuple[int, str, str, str]:
        """What tells one printed cell from every other."""
        return self.table, self.benchmark, self.test, self.task


class Comparison(NamedTuple):
    """One recomputed number, in the shape of the JSON contract.

    Attributes:
        statistic: the test's own number (t, F, chi-square or rho).
        estimate: the effect, in points of accuracy (or of agreement); for a correlation, rho again.
        low, high: 95 % interval of the estimate.
        p_adjusted: Holm, over the family that docs/paper.md names.
        n: independent units behind the number.
        printed: the paper's number, where the paper prints one.
        matches: whether statistic and printed agree at two decimals; None where either is absent.
    """

    analysis: str
    table: int
    benchmark: str | None
    test: str
    task: str
    statistic: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    n: int | None = None
    printed: float | None = None
    matches: bool | None = None

    @property
    def key(self) -> tuple[int, str | None, str, str]:
        """The printed cell that this number belongs to, where its test is the paper's."""
        return self.table, self.benchmark, self.test, self.task

    def as_json(self) -> dict[str, Any]:
        """The fields by name; a number that does not exist is null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self._asdict().items()
        }


class Claim(NamedTuple):
    """A sentence of the paper or its poster, and what its data say.

    Attributes:
        presets: the studies whose runs test it anew; empty where no run can (a misprint, say).
        status: what these runs say: reproduced, contradicted, or not run and why.
    """

    claim: str
    where: str
    printed: str
    recomputed: str
    verdict: str  # holds | holds in part | fails | not supported | cannot be checked
    note: str
    presets: tuple[str, ...]
    status: str


class Refusal(NamedTuple):
    """A test that these numbers cannot carry, and why."""

    test: str
    task: str
    reason: str


class Permit(NamedTuple):
    """Whether a table of scores can carry a test, and if not, what it lacks."""

    test: str
    permitted: bool
    reason: str


def comparison(
    analysis: Analysis, table: int, benchmark: str | None, test: str, task: str, e: Estimate
) -> Comparison:
    """The record of one estimate."""
    return Comparison(
        analysis,
        table,
        benchmark,
        test,
        task,
        e.statistic,
        e.estimate,
        e.low,
        e.high,
        e.p,
        None,
        e.n,
    )


def equal_at_two_decimals(statistic: float, printed: float) -> bool:
    """Whether a number, rounded as printf does, is the printed one."""
    return f"{statistic:.2f}".replace("-0.00", "0.00") == f"{printed:.2f}".replace("-0.00", "0.00")


def comparison_of_printed(analysis: Analysis, cell: Printed) -> Comparison:
    """The empty record of a printed cell that nothing was recomputed for."""
    return Comparison(analysis, cell.table, cell.benchmark, cell.test, cell.task)
