"""A comparison as JSON, as text for the terminal, and as a page."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from kdscope.fidelity.bleu_conventions import CONVENTIONS, measure_name
from kdscope.report import theme
from kdscope.report.captions import in_words, kind_in_words
from kdscope.report.compare.records import Comparison, Pair
from kdscope.report.compare.statement import Statement, known, quantity, statements
from kdscope.report.html import render, write_text
from kdscope.report.tabulate import Quantity, Table, interval, number, p_value
from kdscope.stats.records import Estimate

_SHOWN = (
    ("agreement", "same answer, %", 100),
    ("agreement_when_right", "reference right, %", 100),
    ("agreement_when_wrong", "reference wrong, %", 100),
    ("expected_agreement", "by accuracy alone, %", 100),
    ("kappa", "kappa", 1),
    ("direction", "direction", 1),
    ("bleu", "BLEU", 1),
    ("bleu_floor", "its floor", 1),
    ("rouge_l", "ROUGE-L", 1),
    ("equation_f1", "equation F1", 1),
)
_GAINS = {
    "accuracy": "accuracy, points",
    "agreement": "same answer, points",
    "agreement_when_wrong": "same answer where the reference is wrong, points",
    "kappa": "kappa",
    "bleu": "BLEU",
    "equation_f1": "equation F1",
}
_ENCODED = (
    ("embedding_cosine", "embedding cosine", 1),
    ("embedding_cosine_floor", "its floor", 1),
    ("bertscore", "BERTScore", 1),
    ("bertscore_floor", "its floor", 1),
)
_OPTIONS = (
    ("capa", "CAPA", 1),
    ("confidence_pearson", "correlation of confidence", 1),
    ("option_agreement", "same likeliest option, %", 100),
    ("option_kl", "KL over options, nats", 1),
)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as one JSON document.

    ``systems`` and ``pairs`` hold each measure as ``{estimate, low, high, signature}``; what cannot
    be computed is null, and its signature says why. BLEU and chrF++ run from 0 to 100, all else are
    fractions.
    """
    return {
        "systems": [
            {"name": own.name, "n": own.n, **_measures(own.measures)} for own in comparison.systems
        ],
        "pairs": [_pair(pair) for pair in comparison.pairs],
        "gains": [_pair(pair) for pair in comparison.gains],
        "statements": [
            {"title": s.title, "paragraph": s.paragraph} for s in statements(comparison)
        ],
        "tasks": {task: int(count) for task, count in comparison.tasks.items()},
        "notes": comparison.notes,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "reference": pair.reference,
        "other": pair.other,
        "n": pair.n,
        **_measures(pair.measures),
    }


def _measures(measures: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: _measure(estimate) for name, estimate in measures.items()}


def _measure(estimate: Estimate) -> dict[str, Any]:
    return {
        "estimate": estimate.estimate if math.isfinite(estimate.estimate) else None,
        "low": estimate.low,
        "high": estimate.high,
        "signature": estimate.signature,
    }


# -- tables ----------------------------------------------------------------------------------------


def tables(comparison: Comparison) -> list[Table]:
    """The tables that terminal and page show."""
    systems = Table(
        "systems",
        "Systems",
        ["system", "n", "accuracy, %", "no answer read, %"],
        [
            [
                own.name,
                own.n,
                *(quantity(own.measures[name], 100) for name in ("accuracy", "invalid")),
            ]
            for own in comparison.systems
        ],
        note=_note(
            ("accuracy by the flexible extractor",),
            [own.measures[name] for own in comparison.systems for name in ("accuracy", "invalid")],
        ),
        signatures=_signatures(
            comparison.systems[0].measures,
            (("accuracy", "accuracy", 0), ("invalid", "no answer read", 0)),
        ),
    )
    found = [systems]
    if comparison.pairs:
        reference = comparison.pairs[0].reference
        scored = any(known(pair.measures["option_agreement"]) for pair in comparison.pairs)
        others = [
            (measure_name(name), f"BLEU, {name}", 1)
            for name in CONVENTIONS
            if measure_name(name) in comparison.pairs[0].measures
        ]
        others += [one for one in _ENCODED if one[0] in comparison.pairs[0].measures]
        shown = (*_SHOWN, *others, *(_OPTIONS if scored else ()))
        rows = [
            [
                pair.other,
                pair.n,
                *(quantity(pair.measures[name], scale) for name, _, scale in shown),
                p_value(pair.measures["mcnemar_p"].estimate),
            ]
            for pair in comparison.pairs
        ]
        heads = ["system", "n", *(label for _, label, _ in shown), "McNemar p"]
        made = [pair.measures[name] for pair in comparison.pairs for name, _, _ in shown]
        floors = any(name.endswith("_floor") and known(made[0]) for name, _, _ in shown)
        words = ("floor: against the reference's answer to another question",) if floors else ()
        found.append(
            Table(
                "pairs",
                f"Compared with {reference}",
                heads,
                rows,
                note=_note(words, made),
                signatures=_signatures(
                    comparison.pairs[0].measures, (*shown, ("mcnemar_p", "McNemar p", 1))
                ),
            )
        )
    if comparison.gains:
        found.append(_gains(comparison))
    return found


def _note(words: Sequence[str], estimates: Iterable[Estimate]) -> str:
    """The line under a table: what to know of its columns, and how the intervals were made."""
    how = in_words(one.signature for one in estimates if known(one) and one.low is not None)
    return "; ".join(filter(None, (*words, how)))


def _signatures(
    measures: Mapping[str, Estimate], shown: Iterable[tuple[str, str, float]]
) -> list[str]:
    """What stands under "How it was computed": each column in words, then its signature."""
    found = []
    for name, label, _ in shown:
        signature = measures[name].signature
        kind = kind_in_words(signature)
        found.append(f"{label}: {kind + '; ' if kind else ''}{signature}")
    return found


def _gains(comparison: Comparison) -> Table:
    names = list(dict.fromkeys(name for pair in comparison.gains for name in pair.measures))
    rows = []
    for pair in comparison.gains:
        for name in names:
            measure = pair.measures.get(name)
            if measure is not None and known(measure):
                scale = 1 if name.endswith(("kappa", "bleu", "f1")) else 100
                cell = quantity(measure, scale)._replace(signed=True)
                label = _GAINS.get(name.removeprefix("gain_in_"), name.replace("_", " "))
                rows.append([pair.other, label, cell, p_value(measure.p)])
    base = comparison.gains[0].reference
    return Table(
        "gains",
        f"Gains over {base}, in accuracy and in what is shared with the reference",
        ["system", "measure", "gain", "p"],
        rows,
        note=_note(
            ("paired by item", "p by bootstrap, two-sided, not adjusted"),
            comparison.gains[0].measures.values(),
        ),
        signatures=_signatures(
            comparison.gains[0].measures,
            [
                (f"gain_in_{name}", label, 1)
                for name, label in _GAINS.items()
                if f"gain_in_{name}" in comparison.gains[0].measures
            ],
        ),
    )


def as_text(comparison: Comparison, *, width: int | None = None) -> str:
    """The comparison as a person reads it in a terminal."""
    shown = Console(file=io.StringIO(), width=width or 100, record=True, force_terminal=False)
    for table in tables(comparison):
        shown.print(_grid(table) if table.name != "pairs" else _turned(table))
    for note in comparison.notes:
        shown.print(f"note: {note}", markup=False, highlight=False)
    for statement in statements(comparison):
        shown.print()
        shown.print(statement.title, markup=False, highlight=False)
        shown.print(statement.paragraph, markup=False, highlight=False)
    return shown.export_text().rstrip()


def _grid(table: Table) -> Grid:
    grid = Grid(
        title=table.caption, title_justify="left", caption=table.note, caption_justify="left"
    )
    for name, numeric in zip(table.columns, table.numeric, strict=True):
        grid.add_column(name, justify="right" if numeric else "left")
    for row in table.rows:
        grid.add_row(*(_text(value) for value in row))
    return grid


def _turned(table: Table) -> Grid:
    """One column per system where they are few; the most important columns where they are many."""
    if len(table.rows) > 4:
        few = [0, 2, 3, 4, 6, 8, 11, len(table.columns) - 1]
        rows = [[_short(row[i]) for i in few] for row in table.rows]
        return _grid(
            Table(table.name, table.caption, [table.columns[i] for i in few], rows, table.note)
        )
    heads = ["", *(str(row[0]) for row in table.rows)]
    rows = [
        [name, *(row[place] for row in table.rows)]
        for place, name in enumerate(table.columns)
        if place
    ]
    return _grid(Table(table.name, table.caption, heads, rows, table.note))


def _short(value: Any) -> Any:
    return value._replace(low=None, high=None) if isinstance(value, Quantity) else value


def _text(value: Any) -> str:
    if isinstance(value, Quantity):
        return (
            f"{number(value.value, value.digits, signed=value.signed)} {interval(value)}".rstrip()
        )
    return "–" if value is None else str(value)


def write_html(comparison: Comparison, path: Path) -> Path:
    """Write the comparison as one self-contained page."""
    found: list[Statement] = statements(comparison)
    page = render(
        "compare.html.j2",
        theme.stylesheet([]),
        ("style.css",),
        (),
        title="Comparison",
        tables=tables(comparison),
        statements=found,
        notes=comparison.notes,
    )
    return write_text(path, page)
