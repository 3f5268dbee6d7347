"""Whether the differences are real: paired intervals, and the paper's tests by their own names."""

from typing import Any

import pandas as pd
from markupsafe import Markup, escape

from kdscope.report.captions import in_words
from kdscope.report.parts import Section, count, listing, note, quantity, signatures
from kdscope.report.results import Results
from kdscope.report.tabulate import Probability, Quantity, Table
from kdscope.stats.multiplicity import adjust

PAPER_TESTS = {
    "one_sided_t": "one-sided t",
    "one_way_anova": "one-way ANOVA",
    "spearman": "Spearman",
}


def section(results: Results) -> Section:
    """Paired differences to SFT with p-values, then the tests that the paper used."""
    rows = results.level("difference_in_accuracy", main=False)
    paper, detailed = paper_tests(results), paper_tests(results, by_task=True)
    tables, missing = [], []
    if not rows.empty:
        tables.append(_differences(results))
    else:
        missing.append(
            "Paired differences need an SFT student of the same seed; this study has none."
        )
    if paper is not None:
        tables += [table for table in (paper, detailed) if table is not None]
    else:
        missing.append(
            "The paper's tests (one-sided t, one-way ANOVA, Spearman) need several distilled "
            "students; the table comparisons holds none of them."
        )
    return Section(
        "tests",
        "Are the differences real?",
        _answer(results),
        tables=tables,
        missing=missing,
        paper=("Table 1", "Table 2", "Table 3", "Table 4", "Table 5"),
    )


def paper_tests(results: Results, *, by_task: bool = False) -> Table | None:
    """The paper's own tests as they came out here: over all tasks, or task by task."""
    rows = results["comparisons"]
    name = rows["test"].where(rows["test"].isin(list(PAPER_TESTS)), rows["measure"])
    rows = rows.assign(name=name)
    rows = rows[rows["name"].isin(list(PAPER_TESTS)) & ((rows["task"] != "all") == by_task)]
    if rows.empty:
        return None
    cells = [
        [
            PAPER_TESTS[r.name],
            _subject(r),
            r.task if r.task != "all" else "all tasks",
            _statistic(r),
            Probability(r.p),
            Probability(r.p_adjusted),
            int(r.n) if r.n == r.n else None,
        ]
        for r in rows.itertuples(index=False)
    ]
    heads = ["test", "on", "task", "statistic", "p", "p, adjusted", "n"]
    what = "task by task" if by_task else "over all tasks"
    line = "n counts (teacher, student, method) triples; the paper takes them as independent"
    line += f" · {in_words(rows['signature'])}"
    return Table(
        "paper-tests-by-task" if by_task else "paper-tests",
        f"The paper's tests on this study, {what}",
        heads,
        cells,
        line,
        signatures=signatures(rows),
    )


# The tests of the paper's Tables 1 to 5: name, and what gains are correlated with.
_TABLES = {
    "gain-tests": {("one_sided_t", None), ("one_way_anova", None)},
    "teacher-test": {("spearman", "teacher_accuracy")},
    "size-test": {("spearman", "student_size")},
    "agreement-test": {("spearman", "agreement")},
    "fidelity-test": {("spearman", "bleu")},
}


def tests_made(results: Results) -> list[str]:
    """Which of the tests of the paper's Tables 1 to 5 this study has over all tasks."""
    rows = results["comparisons"]
    rows = rows[rows["task"] == "all"]
    pairs = zip(rows["test"], rows["reference"], strict=True)
    made = {(test, other if isinstance(other, str) else None) for test, other in pairs}
    return [name for name, wanted in _TABLES.items() if wanted <= made]


def _differences(results: Results) -> Table:
    rows = results.level("difference_in_accuracy", None, main=False)
    rows = rows[rows["method"] != "base"]
    rows = rows.assign(bh=rows.groupby("task")["p"].transform(_bh))
    cells = [
        [
            r.who,
            r.label,
            r.reference if isinstance(r.reference, str) else "sft",
            "all tasks" if r.task == "all" else r.task,
            quantity(r, signed=True),
            Probability(r.p),
            Probability(r.p_adjusted),
            Probability(r.bh),
        ]
        for r in rows.itertuples()
    ]
    heads = ["student", "method", "against", "task", "difference, points", "p", "p, Holm", "p, BH"]
    return Table(
        "differences",
        "Differences in accuracy, paired by item",
        heads,
        cells,
        note(rows),
        list(rows["method"]),
        signatures(rows),
    )


def _bh(p: pd.Series) -> pd.Series:
    """Benjamini-Hochberg's p of the family that one task's cells form."""
    values = [None if pd.isna(value) else float(value) for value in p]
    return pd.Series(adjust(values, "bh"), index=p.index, dtype=float)


def _subject(row: Any) -> str:
    measure = str(row.measure).replace("_", " ")
    subject = measure if row.measure not in PAPER_TESTS else "gain over SFT"
    parts = [
        subject,
        f"with {row.reference.replace('_', ' ')}" if isinstance(row.reference, str) else "",
    ]
    parts.append(f"({row.method})" if isinstance(row.method, str) else "")
    return " ".join(part for part in parts if part)


def _statistic(row: Any) -> Quantity:
    value = row.statistic if row.statistic == row.statistic else row.estimate
    return Quantity(None if pd.isna(value) else float(value), digits=2)


def _answer(results: Results) -> Markup:
    rows = results.level("difference_in_accuracy")
    rows = rows[~rows["method"].isin(["base", "sft"])]
    if rows.empty:
        return Markup("There is nothing to compare with SFT in this study.")
    up = [f"{r.label} on {r.who}" for r in rows.itertuples() if r.low == r.low and r.low > 0]
    down = [f"{r.label} on {r.who}" for r in rows.itertuples() if r.high == r.high and r.high < 0]
    whole = count(len(rows), "distilled student")
    text = f"{len(up)} of {whole} are better than SFT with a 95 % interval above 0"
    text += f" ({listing(up)})" if 0 < len(up) <= 3 else ""
    text += f"; worse: {listing(down)}" if down else "; none is worse"
    return escape(
        text + ". Intervals are paired by item; p\u2011values are adjusted where a column says so."
    )
