"""The paper's own tables, as printed: facts, transcribed once, shipped with the package."""

import csv
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from kdscope.paper.records import AVERAGE, Printed

SOURCE = "Ramesh, Sengupta and Chakraborty, Findings of ACL 2025; arXiv:2505.15442"
BENCHMARKS = ("math", "commonsense")
METHODS = ("GKD", "RevKD", "SeqKD")


class TaskFacts(NamedTuple):
    """What the re-examination knows about a task.

    Attributes:
        column: its name in the released result files.
        n: items in the test set.
        options: how many answers a multiple-choice item offers; None for open answers.
        leaked: whether its test questions stand in the training set (MAWPS, in Math10K).
    """

    task: str
    benchmark: str
    column: str
    n: int
    options: int | None
    leaked: bool


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one of the tables that ship with the package."""
    text = files("kdscope.paper").joinpath("tables", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def tasks() -> dict[str, TaskFacts]:
    """The paper's 14 tasks by name, in the order of its Table 1."""
    return {
        row["task"]: TaskFacts(
            row["task"],
            row["benchmark"],
            row["column"],
            int(row["n"]),
            int(row["options"]) if row["options"] else None,
            row["leaked"] == "1",
        )
        for row in rows("tasks.csv")
    }


def tasks_of(benchmark: str) -> list[str]:
    """The names of a benchmark's tasks."""
    return [task for task, facts in tasks().items() if facts.benchmark == benchmark]


def known_task(name: str) -> str:
    """The paper's name of a task, whichever spelling is given; an unknown name stays as it is."""
    folded = name.strip().casefold()
    if folded in {"average", "avg", "mean"}:
        return AVERAGE
    return _spellings().get(folded, name.strip())


@cache
def _spellings() -> dict[str, str]:
    names = {}
    for task, facts in tasks().items():
        names |= {task.casefold(): task, facts.column.casefold(): task}
    return names


@cache
def statistics() -> tuple[Printed, ...]:
    """The 132 statistics of Tables 1 to 5 (126 in the first four)."""
    return tuple(
        Printed(
            int(row["table"]),
            row["benchmark"],
            row["test"],
            row["task"],
            float(row["statistic"]),
            float(row["p_printed"]),
            row["bold"] == "1",
        )
        for row in rows("tables_1_to_5.csv")
    )
