"""Which of the teacher's mistakes a student repeats, and whether it solves a reworded problem too."""

import re
from typing import Any

from markupsafe import Markup

from kdscope.report.answer import Choice
from kdscope.report.frames import Frame
from kdscope.report.parts import Section, note, quantity, signatures, spoken
from kdscope.report.results import Results
from kdscope.report.sections.measures import Column, by_student, pick, table
from kdscope.report.tabulate import Table

_MEASURES = {
    "teacher_errors": "teacher wrong, %",
    "repeated_errors": "of these: same wrong answer, %",
    "own_errors": "wrong where the teacher is right, %",
}
_FEWEST = 10  # teacher's errors from which a group is named in the sentence
_REWORDING = {
    "consistency_under_rewording": Column("both right or both wrong, %"),
    "consistency_by_chance": Column("by accuracy alone, %"),
}


def section(results: Results, found: list[Choice]) -> Section:
    """Errors by operation, steps and length, and consistency under rewording."""
    groups = _groups(results)
    rewording = table(
        results,
        "rewording",
        "Two wordings of one problem: answered alike?",
        _REWORDING,
        "families are questions that share most of their words, as SVAMP makes them",
        "families",
    )
    missing = []
    if groups is None:
        missing.append(
            "Errors by group of items need a teacher, graded answers and the table items with its "
            "questions."
        )
    if rewording is None:
        missing.append(
            "Consistency under rewording needs a task whose questions are rewordings of each other, "
            "such as SVAMP."
        )
    answer = by_student(
        found,
        lambda choice: _sentence(results, choice),
        "No recommended student has errors to count by group.",
    )
    tables = [made for made in (groups, rewording) if made]
    return Section(
        "inheritance",
        "Which of the teacher's mistakes does the student repeat, and on what kind of question?",
        answer if tables else Markup("This study did not count errors by kind of question."),
        tables=tables,
        missing=missing,
    )


def _rows(results: Results) -> Frame:
    rows = results["comparisons"]
    rows = results.main(rows[(rows["scope"] == "group") & (rows["method"] != "base")])
    return rows[rows["student"].notna()]


def _groups(results: Results) -> Table | None:
    rows = _rows(results)
    if rows.empty:
        return None
    cells, methods = [], []
    keys = ["student", "teacher", "method", "settings", "reference"]
    for _, group in rows.groupby(keys, sort=False, dropna=False):
        own = {row.measure: row for row in group.itertuples()}
        first = next(iter(own.values()))
        label = results.label({name: getattr(first, name) for name in keys[:4]})
        shown = [quantity(own[name]) if name in own else None for name in _MEASURES]
        cells.append([first.student, label, first.reference, *shown])
        methods.append(first.method)
    repeated = rows[rows["measure"] == "repeated_errors"]
    return Table(
        "inherited-errors",
        "Errors by kind of question, all tasks together",
        ["student", "method", "questions", *_MEASURES.values()],
        cells,
        note(repeated, "teacher's errors"),
        methods,
        signatures(repeated),
    )


def _sentence(results: Results, choice: Choice) -> str | None:
    rows = _rows(results)
    rows = rows[
        (rows["student"] == choice.student)
        & (rows["method"] == choice.winner.method)
        & (rows["measure"] == "repeated_errors")
        & (rows["n"] >= _FEWEST)
    ]
    parts = []
    if not rows.empty:
        most, least = (_row(rows, which) for which in ("idxmax", "idxmin"))
        if most.estimate == 0:
            parts.append(f"{choice.winner.label} repeats none of the teacher's errors")
        else:
            parts.append(
                f"{choice.winner.label} repeats most of the teacher's errors in “{_kind(most)}”, "
                f"{spoken(most)}"
            )
        if most.estimate and most.reference != least.reference:
            apart = "; the intervals are apart" if most.low > least.high else "; intervals overlap"
            parts[-1] += f", and fewest in “{_kind(least)}”, {spoken(least)}{apart}"
    alike, chance = (pick(results, name, choice) for name in _REWORDING)
    if alike is not None and chance is not None:
        parts.append(
            f"two wordings of one problem are both right or both wrong in {spoken(alike)}, where its "
            f"accuracy alone would give {100 * chance.estimate:.0f} %"
        )
    return "; ".join(parts) + "." if parts else None


def _row(rows: Frame, which: str) -> Any:
    place = getattr(rows["estimate"], which)()
    return next(rows.loc[[place]].itertuples())


def _kind(row: Any) -> str:
    return re.sub(r"^\w+: ", "", str(row.reference))
