"""The paper's printed accuracies beside this study's, where a cell of both is the same."""

import math
from typing import NamedTuple

from markupsafe import Markup, escape

from kdscope.paper.printed import BENCHMARKS, known_task, tasks, tasks_of
from kdscope.paper.records import AVERAGE
from kdscope.paper.results import printed_scores
from kdscope.report.parts import Section, count, quantity
from kdscope.report.results import Results
from kdscope.report.sections.beside import difference
from kdscope.report.tabulate import Table

# What the paper calls SeqKD is forward KL on the reference text, which is `fkl` here.
METHODS = {"SFT": "sft", "SeqKD": "fkl", "RevKD": "revkd", "GKD": "gkd"}
_QUESTION = "How does it compare with the paper?"
_Z = 1.96


class Printed(NamedTuple):
    """A printed accuracy in [0, 1] with the binomial noise of its one run."""

    estimate: float
    low: float
    high: float


def section(results: Results) -> Section:
    """Cells that match one of the paper's: its value, this study's, the difference."""
    table = matches(results)
    if table is None:
        return Section(
            "paper-beside",
            _QUESTION,
            Markup("No cell of this study is one of the paper's."),
            missing=[
                "It needs the paper's models (Qwen2.5 or Llama 3) with one of its methods on one of "
                "its 14 tasks; the presets paper-math and paper-commonsense have them."
            ],
        )
    deltas = [row[-1] for row in table.rows]
    apart = [d for d in deltas if d.low is not None and (d.low > 0 or d.high < 0)]
    mean = sum(d.value for d in deltas) / len(deltas)
    text = (
        f"{count(len(deltas), 'cell')} stand in both: this study is {abs(mean):.1f} points "
        f"{'above' if mean >= 0 else 'below'} the paper on average, and {len(apart)} of them differ "
        "beyond their intervals."
    )
    return Section("paper-beside", _QUESTION, escape(text), tables=[table])


def matches(results: Results) -> Table | None:
    """One row for each accuracy that both have, or None."""
    known = printed()
    cells, methods = [], []
    for row in results.level("accuracy", None).itertuples():
        teacher = row.teacher if isinstance(row.teacher, str) else ""
        key = (teacher, row.student) if isinstance(row.student, str) else ("", teacher)
        task = _average_of(results) if row.task == "all" else known_task(row.task)
        match = known.get((*key, row.method, task))
        if match is None:
            continue
        cells.append(
            [
                row.who,
                row.label,
                "all tasks" if row.task == "all" else row.task,
                quantity(match),
                quantity(row),
                difference(row, match),
            ]
        )
        methods.append(row.method)
    heads = ["system", "method", "task", "paper, %", "here, %", "difference, points"]
    note = (
        "the paper's intervals are the binomial noise of one run of its test set; what it calls "
        "SeqKD is forward KL on the reference text, fkl here"
    )
    caption = "The paper's Tables 7 and 8 beside this study"
    return Table("paper-beside-cells", caption, heads, cells, note, methods) if cells else None


def printed() -> dict[tuple[str, str, str, str], Printed]:
    """Tables 7 and 8 by (teacher, student, our method, task); averages as ``average:<benchmark>``."""
    found: dict[tuple[str, str, str, str], Printed] = {}
    for benchmark in BENCHMARKS:
        names = tasks_of(benchmark)
        for row in printed_scores(benchmark).frame.to_dict("records"):
            method = METHODS.get(row["method"])
            if method is None or row["score"] != row["score"]:
                continue
            task = f"{AVERAGE}:{benchmark}" if row["task"] == AVERAGE else row["task"]
            sizes = [tasks()[name].n for name in names] if row["task"] == AVERAGE else []
            key = (row["teacher"] or "", row["student"], method, task)
            found[key] = _with_noise(row["score"] / 100, sizes or [tasks()[row["task"]].n])
    return found


def _with_noise(share: float, sizes: list[int]) -> Printed:
    """A mean over tests of these sizes with its 95 % binomial half-width (normal approximation)."""
    variance = sum(share * (1 - share) / n for n in sizes) / len(sizes) ** 2
    half = _Z * math.sqrt(variance)
    return Printed(share, max(0.0, share - half), min(1.0, share + half))


def _average_of(results: Results) -> str:
    """The average that the study's tasks make, where they are all of a benchmark's."""
    names = {known_task(task) for task in results.tasks}
    same = [b for b in BENCHMARKS if set(tasks_of(b)) == names]
    return f"{AVERAGE}:{same[0]}" if same else "none"
