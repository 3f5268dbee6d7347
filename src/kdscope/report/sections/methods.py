"""Do the methods differ from each other, are any two as good, and is a setting's choice paid for?"""

import json
from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from kdscope.report.frames import Frame
from kdscope.report.parts import Section, listing, note, quantity, signatures
from kdscope.report.results import Results
from kdscope.report.tabulate import Probability, Quantity, Table, p_value

_OVERALL = {
    "friedman": "Friedman, chi-square",
    "friedman_permutation": "Friedman, permutations within blocks",
    "mixed_model": "mixed model, likelihood ratio",
}
_NEEDS = {
    "ranks": "Friedman's test and its post-hoc pairs need three methods in three student-task "
    "blocks; this study has fewer.",
    "overall": "A test of all methods at once needs two in three student-task blocks.",
    "pairs": "Differences and equivalence of methods need two methods in three student-task blocks.",
    "over_sft": "The probability of improvement over SFT needs an SFT student beside the distilled "
    "ones in three student-task blocks.",
    "model": "The logistic model of being right needs graded answers of two methods on three items.",
    "chosen": "No method was run at several settings, so none had to be chosen.",
}


def section(results: Results) -> Section:
    """Tests of all methods at once, of every two, each against SFT, and the choice of settings."""
    made = {
        "overall": _overall(results),
        "pairs": _pairs(results),
        "over_sft": _over_sft(results),
        "model": _model(results),
        "chosen": _chosen(results),
    }
    missing = [_NEEDS[name] for name, table in made.items() if table is None]
    if _rows(results, "accuracy", "friedman").empty:
        missing.insert(0, _NEEDS["ranks"])
    return Section(
        "methods-compared",
        "Do the methods differ, or are some as good as each other?",
        _answer(results),
        tables=[table for table in made.values() if table],
        missing=missing,
        paper=("Table 1",),
    )


def _rows(results: Results, measure: str | None = None, test: str | None = None) -> Frame:
    rows = results.tests
    if measure is not None:
        rows = rows[rows["measure"] == measure]
    return rows if test is None else rows[rows["test"] == test]


def _overall(results: Results) -> Table | None:
    rows = _rows(results, "accuracy")
    rows = rows[rows["test"].isin(list(_OVERALL))]
    if rows.empty:
        return None
    cells = [
        [
            _OVERALL[r.test], _task(r), quantity(r), Quantity(r.statistic, digits=1),
            Probability(r.p), int(r.n),
        ]
        for r in rows.itertuples()
    ]  # fmt: skip
    heads = ["test", "task", "largest difference, points", "chi-square", "p", "blocks"]
    reach = _rows(results, "critical_difference")
    remark = "".join(
        f"critical difference of mean ranks {r.estimate:.2f} · " for r in _first(reach)
    )
    return Table(
        "methods-overall", "All methods at once: is there any difference?", heads, cells,
        remark + "blocks share students and tasks, so p is somewhat too small",
        signatures=signatures(rows),
    )  # fmt: skip


def _pairs(results: Results) -> Table | None:
    rows = _rows(results, "difference_in_accuracy", "mixed_contrast")
    rows = rows[rows["task"] == "all"]
    if rows.empty:
        return None
    others = {
        name: {(_label(r), r.reference): r for r in _rows(results, *name).query("task == 'all'").itertuples()}
        for name in (("difference_in_rank", "nemenyi"), ("equivalence", "tost"))
    }  # fmt: skip
    cells = []
    for r in rows.itertuples():
        rank, equal = (found.get((_label(r), r.reference)) for found in others.values())
        cells.append([
            _label(r), r.reference, quantity(r, signed=True), Probability(r.p), Probability(r.p_adjusted),
            Quantity(rank.estimate, digits=2, signed=True) if rank else None,
            Probability(rank.p) if rank else None,
            Probability(equal.p_adjusted) if equal else None,
        ])  # fmt: skip
    heads = [
        "method", "against", "difference, points", "p", "p, Holm", "difference of ranks",
        "p, Nemenyi", f"p of equivalence, ±{_margin(results)} points, Holm",
    ]  # fmt: skip
    return Table(
        "methods-pairs", "Every two methods over all student-task blocks", heads, cells,
        note(rows, "blocks"), signatures=signatures(rows),
    )  # fmt: skip


def _over_sft(results: Results) -> Table | None:
    wins = _rows(results, "probability_of_improvement").query("task == 'all'")
    if wins.empty:
        return None
    size, gone, odds = (
        {_label(r): r for r in rows.itertuples()}
        for rows in (
            _rows(results, "effect_size").query("task == 'all'"),
            _rows(results, "collapse_rate"),
            _rows(results, "log_odds_of_right", "gee_by_item"),
        )
    )
    cells = [
        [
            _label(r), quantity(r), _cell(size.get(_label(r)), 1, 2), _cell(odds.get(_label(r)), 1, 2),
            _cell(gone.get(r.method)), int(r.n),
        ]
        for r in wins.itertuples()
    ]  # fmt: skip
    heads = [
        "method", "a run beats SFT's, %", "effect size d_z", "log odds ratio of right",
        "collapsed runs, %", "blocks",
    ]  # fmt: skip
    return Table(
        "methods-over-sft", "Each method against SFT", heads, cells, note(wins, "blocks"),
        list(wins["method"]), signatures(wins),
    )  # fmt: skip


def _model(results: Results) -> Table | None:
    rows = _rows(results, "log_odds_of_right")
    if rows.empty:
        return None
    cells = [
        [
            f"{_label(r)} rather than {r.reference}" if isinstance(r.method, str) else _term(r.reference),
            str(r.test).removeprefix("gee_by_"), quantity(r, scale=1, digits=2, signed=True),
            Probability(r.p), Probability(r.p_adjusted), int(r.n),
        ]
        for r in rows.itertuples()
    ]  # fmt: skip
    heads = ["term", "cluster", "log odds ratio", "p", "p, Holm", "answers"]
    return Table(
        "answer-model", "Being right across all configurations, one logistic model", heads, cells,
        f"tasks and students against the first by name · {note(rows, 'answers')}",
        signatures=signatures(rows),
    )  # fmt: skip


def _chosen(results: Results) -> Table | None:
    rows = _rows(results, "accuracy_of_chosen")
    if rows.empty:
        return None
    keys = ["teacher", "student", "method"]
    cells = []
    for r in rows.itertuples():
        own = results.tests
        who = ["" if pd.isna(getattr(r, k)) else getattr(r, k) for k in keys]  # SFT has no teacher
        own = own[(own[keys].fillna("") == who).all(axis=1)]
        stable, cost = (
            own[own["measure"] == name]["estimate"].iloc[0]
            for name in ("selection_stability", "selection_optimism")
        )
        cells.append([
            r.student, r.method, _settings(r), quantity(r), Quantity(100 * stable),
            Quantity(100 * cost, signed=True),
        ])  # fmt: skip
    heads = [
        "student", "method", "chosen on half of the items", "accuracy on the other half, %",
        "chosen again, %", "flattery of choosing on the test, points",
    ]  # fmt: skip
    return Table(
        "settings-chosen", "Settings chosen on other items than they are judged on", heads, cells,
        note(rows), list(rows["method"]), signatures(rows),
    )  # fmt: skip


# -- words -----------------------------------------------------------------------------------------


def _answer(results: Results) -> Markup:
    overall = _rows(results, "accuracy", "friedman_permutation").query("task == 'all'")
    pairs = _rows(results, "difference_in_accuracy", "mixed_contrast").query("task == 'all'")
    if overall.empty and pairs.empty:
        return Markup(
            "This study has too few methods or blocks to compare methods with each other."
        )
    parts = [
        f"Over {int(r.n)} student-task blocks {_verdict(r.p)} (Friedman, permutation p {_equals(r.p)})."
        for r in _first(overall)
    ]
    apart = [f"{_label(r)} and {r.reference}" for r in pairs.itertuples() if r.p_adjusted < 0.05]
    equal = _rows(results, "equivalence", "tost").query("task == 'all'")
    same = [f"{_label(r)} and {r.reference}" for r in equal.itertuples() if r.p_adjusted < 0.05]
    if not pairs.empty:
        parts.append(
            f"Two by two, {_some(apart, len(pairs))} are told apart after Holm's correction, and "
            f"{_some(same, len(equal))} are equivalent within {_margin(results)} points; what is "
            "neither is undecided, not equal."
        )
    return escape(" ".join(parts))


def _verdict(p: float) -> str:
    return "the methods differ" if p < 0.05 else "no difference between the methods is established"


def _equals(p: float) -> str:
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"


def _some(names: list[str], of: int) -> str:
    told = f" ({listing(names)})" if 0 < len(names) <= 3 else ""
    return f"{len(names) or 'none'} of {of} pairs{told}"


def _margin(results: Results) -> str:
    """The margin of equivalence in points, as the signatures state it."""
    for text in _rows(results, "equivalence", "tost")["signature"]:
        for part in str(text).split("|"):
            if part.startswith("margin:"):
                return f"{100 * float(part.removeprefix('margin:')):g}"
    return "–"


def _task(row: Any) -> str:
    return "all tasks" if row.task == "all" else str(row.task)


def _term(name: str) -> str:
    for kind in ("task", "student"):
        if name.startswith(f"{kind}_"):
            return f"{kind} {name.removeprefix(f'{kind}_')}"
    return "doubling of the student's parameters" if name == "log2_parameters" else name


def _label(row: Any) -> str:
    return " · ".join([str(row.method), *_settings(row).split(", ")]).removesuffix(" · ")


def _settings(row: Any) -> str:
    found = json.loads(row.settings) if isinstance(row.settings, str) else {}
    return ", ".join(f"{name} {value}" for name, value in found.items())


def _cell(row: Any | None, scale: float = 100, digits: int = 1) -> Quantity | None:
    return None if row is None else quantity(row, scale=scale, digits=digits)


def _first(rows: Frame) -> list[Any]:
    return list(rows.head(1).itertuples())
