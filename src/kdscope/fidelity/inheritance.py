"""Inheritance: which of the teacher's errors the student repeats, and on what kind of item."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdscope.fidelity.equations import parse
from kdscope.fidelity.topics import topic_of
from kdscope.stats.bootstrap import Array

_OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication", "/": "division"}


class Description(NamedTuple):
    """Groups that an item belongs to."""

    operation: str
    steps: str
    length: str
    topic: str


def describe(question: str, solution: str | None = None, topic: str | None = None) -> Description:
    """Groups of a question: operation and steps of its solution, length of its text, its topic.

    The topic is the data's own where given, else that of its words (:mod:`kdscope.fidelity.topics`).
    Without a solution that states equations, operation and steps are ``unknown``, as is the topic
    of a question without words of any.
    """
    equations = parse(solution) if solution else ()
    used = [symbol for equation in equations for symbol in equation.operations]
    names = {_OPERATIONS[symbol] for symbol in used}
    operation = "unknown" if not used else names.pop() if len(names) == 1 else "mixed"
    count = len(equations)
    steps = "unknown" if not used else "1" if count == 1 else "2-3" if count <= 3 else "4 or more"
    words = len(question.split())
    length = "short" if words <= 25 else "medium" if words <= 50 else "long"
    return Description(
        operation,
        _counted(steps) if used else steps,
        f"{length} question",
        topic or topic_of(question) or "unknown",
    )


def _counted(steps: str) -> str:
    return f"{steps} step{'' if steps == '1' else 's'}"


def item_groups(
    questions: Sequence[str | None],
    solutions: Sequence[str | None],
    topics: Sequence[str | None] | None = None,
) -> dict[str, NDArray[np.bool_]]:
    """Members [I] of each group of items, by a name such as ``operation: addition``.

    Items whose solution states no equation belong to no group of operation or steps, and items
    without a topic (``topics`` are the data's own) to no group of topic.
    """
    described = [
        describe(question or "", solution, topic)
        for question, solution, topic in zip(
            questions, solutions, topics or [None] * len(questions), strict=True
        )
    ]
    found: dict[str, NDArray[np.bool_]] = {}
    for place, kind in enumerate(Description._fields):
        values = np.array([one[place] for one in described])
        for value in sorted(set(values) - {"unknown"}):
            found[f"{kind}: {value}"] = values == value
    return found


GROUPED: Mapping[str, tuple[str, str]] = {
    "teacher_errors": ("wrong_graded", "graded"),
    "repeated_errors": ("agree_wrong", "wrong_graded"),
    "own_errors": ("lost", "t_graded"),
}
"""Measure of a group -> the columns of :func:`kdscope.fidelity.agreement.flag_columns` behind it.

The share of items that the teacher gets wrong; of these, where the student gives the same wrong
answer; and of those that the teacher has right, where the student errs.
"""


def group_columns(
    columns: Mapping[str, Array], groups: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Array]:
    """The columns that :data:`GROUPED` needs, of each group's items alone."""
    needed = dict.fromkeys(name for pair in GROUPED.values() for name in pair)
    return {
        f"{group}\0{name}": np.where(inside, columns[name], 0.0)
        for group, inside in groups.items()
        for name in needed
    }
