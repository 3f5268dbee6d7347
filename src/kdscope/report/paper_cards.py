"""The printed cells as cards: printed, reproduced and corrected values under each other."""

from typing import Any, NamedTuple

from kdscope.paper.corrected import primary
from kdscope.paper.printed import BENCHMARKS
from kdscope.paper.records import AVERAGE
from kdscope.report.tabulate import number
from kdscope.stats.multiplicity import write_p

NAMES = {"math": "Math", "commonsense": "Commonsense"}


class Card(NamedTuple):
    """One printed cell: its lines, whether the paper prints it bold, whether its verdict changes.

    ``changes`` is None where there is nothing to compare with.
    """

    task: str
    bold: bool
    lines: list[tuple[str, str, str]]
    changes: bool | None


class Block(NamedTuple):
    """The cells of one printed test; ``opened`` where a reader should see them at once."""

    title: str
    summary: str
    explained: str
    cards: list[Card]
    opened: bool


def equals_p(p: float | None) -> str:
    """A p-value after the letter p: ``= .020`` or ``< .001``."""
    text = write_p(p)
    return text if text.startswith("<") or text == "–" else f"=\u00a0{text}"


def blocks(rows: list[dict[str, Any]], table: int, *tests: str) -> list[Block]:
    """The printed cells of a table, one block per benchmark and test."""
    found = []
    for benchmark in BENCHMARKS:
        own = [r for r in rows if r["table"] == table and r["benchmark"] == benchmark]
        for test in dict.fromkeys(r["test"] for r in own):
            if tests and not test.startswith(tests):
                continue
            cards = [_card(r) for r in own if r["test"] == test]
            cards.sort(key=lambda card: card.task != AVERAGE)
            changed = sum(bool(card.changes) for card in cards)
            found.append(
                Block(
                    f"{NAMES[benchmark]}: {test}",
                    f"{changed} of {len(cards)} verdicts change",
                    f"Printed: {_symbol(test)}. Corrected: {primary(table, test)}, "
                    f"{_unit(table, test)}.",
                    cards,
                    opened=not test.startswith("t-test") or test == "t-test all methods",
                )
            )
    return found


_UNITS = {
    1: "points [95 % interval]",
    2: "points per point of the teacher [95 % interval]",
    3: "rho",
    4: "rho [95 % interval]",
    5: "rho [95 % interval]",
}


def _unit(table: int, test: str) -> str:
    return "largest difference of two means, points" if "ANOVA" in test else _UNITS[table]


def _symbol(test: str) -> str:
    return "t, one-sided" if test.startswith("t-test") else "F" if "ANOVA" in test else "rho"


def _card(row: dict[str, Any]) -> Card:
    lines = [("printed", number(row["printed"], 2), f"({row['p_printed']:.1f})")]
    for label, prefix in (
        ("reproduced", "paper_exact"),
        ("printed data", "printed_tables"),
        ("τ = 1", "tau_1"),
    ):
        if row[f"{prefix}_statistic"] is not None:
            value = number(row[f"{prefix}_statistic"], 2)
            lines.append((label, value, f"p {equals_p(row[f'{prefix}_p'])}"))
    if row["corrected_p"] is not None:
        value = number(row["corrected_estimate"], 2)
        if row["corrected_low"] is not None:
            value += f" [{number(row['corrected_low'], 2)}, {number(row['corrected_high'], 2)}]"
        lines.append(("corrected", value, f"p {equals_p(row['corrected_p'])}"))
        lines.append(("after Holm", "", f"p {equals_p(row['corrected_p_adjusted'])}"))
    return Card(row["task"], row["bold"], lines, row["verdict_changes"])
