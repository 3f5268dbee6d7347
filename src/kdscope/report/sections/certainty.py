"""How small a difference a study of this size can see: items, seeds, families of tests."""

from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from kdscope.report.frames import Frame
from kdscope.report.parts import Section, note, quantity, signatures
from kdscope.report.results import Results
from kdscope.report.tabulate import Probability, Quantity, Table, number, p_value
from kdscope.stats.power import Needed, what_it_takes

_POINT = 0.01
_NEEDS = {
    "mcnemar": "Exact McNemar tests need a distilled and an SFT run of one student on graded items.",
    "levels": "Errors from items and seeds need accuracy differences to an SFT student.",
    "power": "Power needs a distilled and an SFT run of one student on graded items.",
    "families": "Counts of corrected p-values need two or more cells that are compared with SFT.",
}


def section(results: Results) -> Section:
    """McNemar run by run, errors from items and seeds with equivalence, power, families."""
    made = {
        "mcnemar": _mcnemar(results),
        "levels": _levels(results),
        "power": _power(results),
        "families": _families(results),
    }
    missing = [_NEEDS[name] for name, table in made.items() if table is None]
    if made["levels"] is not None and results.level("standard_error_seeds", main=False).empty:
        missing.append(
            "Every cell has one seed: the error from training again is unknown, intervals cover the "
            "items alone, and no claim about a method can rest on them."
        )
    return Section(
        "certainty",
        "How small a difference can this study see?",
        _answer(results),
        tables=[table for table in made.values() if table],
        missing=missing,
    )


def _mcnemar(results: Results) -> Table | None:
    """One row for each student, method and task; one column for each seed."""
    rows = results["comparisons"]
    rows = rows[(rows["scope"] == "run") & (rows["test"] == "mcnemar")]
    if rows.empty:
        return None
    rows = results.in_task_order(results.main(rows))
    seeds = sorted(rows["seed"].dropna().unique())
    keys = ["student", "teacher", "method", "settings", "task"]
    cells, methods = [], []
    for _, group in rows.groupby(keys, sort=False, dropna=False):
        first = next(group.itertuples())
        by_seed = {r.seed: _split(r) for r in group.itertuples()}
        who = results.label({name: getattr(first, name) for name in keys})
        cells.append([first.student, who, first.task, *(by_seed.get(s, "–") for s in seeds)])
        methods.append(first.method)
    heads = ["student", "method", "task", *(f"seed {int(s)}" for s in seeds)]
    return Table(
        "mcnemar", "Exact McNemar, each run with SFT of its seed: won to lost items, p", heads, cells,
        "two runs, not two methods, are compared; p is not adjusted", methods, signatures(rows)[:1],
    )  # fmt: skip


def _split(row: Any) -> str:
    """Won and lost items and the p of an even split."""
    won = round(row.statistic)
    lost = won - round(row.estimate * row.n)
    return f"{won} : {lost}, p {_equals(row.p)}"


def _levels(results: Results) -> Table | None:
    rows = results.level("difference_in_accuracy")
    rows = rows[rows["method"] != "base"]
    if rows.empty:
        return None
    sides = {
        name: {(r.who, r.label): r for r in results.level(name).itertuples()}
        for name in ("standard_error_items", "standard_error_seeds", "equivalence")
    }
    if not sides["equivalence"]:
        return None
    cells = []
    for r in rows.itertuples():
        items, seeds, equal = (found.get((r.who, r.label)) for found in sides.values())
        cells.append([
            r.who, r.label, quantity(r, signed=True), _error(items), _error(seeds),
            Probability(equal.p) if equal else None, Probability(equal.p_adjusted) if equal else None,
        ])  # fmt: skip
    heads = [
        "student", "method", "difference to SFT, points", "error from items", "error from seeds",
        "p of equivalence with SFT", "the same, Holm",
    ]  # fmt: skip
    return Table(
        "items-and-seeds", "Where the uncertainty comes from, and whether accuracy is still SFT's",
        heads, cells, note(results.level("equivalence")), list(rows["method"]),
        signatures(results.level("equivalence")),
    )  # fmt: skip


def _error(row: Any | None) -> Quantity | None:
    return None if row is None else Quantity(100 * float(row.estimate), digits=2)


def _power(results: Results) -> Table | None:
    found = _by_task(results)
    if not found:
        return None
    cells = [
        [
            "all tasks" if task == "all" else task,
            int(next(iter(own.values())).n),
            Quantity(_percent(own.get("smallest_difference"))),
            _whole(own.get("items_needed")),
            _whole(own.get("seeds_needed")),
        ]
        for task, own in found.items()
    ]
    heads = [
        "task", "items", "smallest difference seen, points", "items to see 1 point",
        "seeds to see 1 point",
    ]  # fmt: skip
    how = [own.signature for rows in found.values() for own in rows.values()]
    remark = "with a power of 80 % at the 5 % level, from this study's own discord and seeds"
    return Table("power", "What it would take", heads, cells, remark, signatures=sorted(set(how)))


def _by_task(results: Results) -> dict[str, dict[str, Any]]:
    rows = results.tests
    found: dict[str, dict[str, Any]] = {}
    for row in rows[rows["test"] == "power"].itertuples():
        found.setdefault(row.task, {})[row.measure] = row
    return found


def _families(results: Results) -> Table | None:
    rows = results.tests
    rows = rows[rows["test"].astype(str).str.startswith("family_")]
    if rows.empty:
        return None
    wide = _wide(rows)
    cells = [
        [
            measure.replace("_", " "), "all tasks" if task == "all" else task, n,
            *(int(own[f"family_{kind}"]) for kind in ("unadjusted", "bh", "holm")),
        ]
        for (measure, task, n), own in wide.items()
    ]  # fmt: skip
    heads = ["measure", "task", "tests", "p < .05", "after BH", "after Holm"]
    remark = "Holm: confirmatory · BH (Benjamini-Hochberg): exploratory · a family is one row"
    return Table("families", "How many findings survive correction", heads, cells, remark)


def _wide(rows: Frame) -> dict[tuple[str, str, int], dict[str, float]]:
    found: dict[tuple[str, str, int], dict[str, float]] = {}
    for r in rows.itertuples():
        found.setdefault((r.measure, r.task, int(r.n)), {})[r.test] = r.statistic
    return found


def _answer(results: Results) -> Markup:
    found = _by_task(results)
    own = found.get("all") or next(iter(found.values()), {})
    if not own:
        return Markup("Without a distilled run beside SFT there is no difference to see.")
    least, items, seeds = (
        own.get(k) for k in ("smallest_difference", "items_needed", "seeds_needed")
    )
    n = next(iter(own.values())).n
    parts = []
    if least is not None:
        shown = number(100 * least.estimate)
        parts.append(
            f"On {int(n):,} questions two runs must differ by {shown} points or more so that an exact "
            "test sees it four times in five"
        )
    if items is not None:
        needs = Needed(int(items.estimate), None if seeds is None else int(seeds.estimate))
        parts.append(what_it_takes(_POINT, needs))
    return escape("; ".join(parts) + ".")


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def _percent(row: Any | None) -> float | None:
    return None if row is None else 100 * float(row.estimate)


def _whole(row: Any | None) -> int | None:
    return None if row is None or pd.isna(row.estimate) else int(row.estimate)
