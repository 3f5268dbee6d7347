"""Inheritance: which of the teacher's errors the student repeats, and where."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kdscope.fidelity.equations import parse
from kdscope.stats.proportions import wilson
from kdscope.stats.records import Estimate

_OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication", "/": "division"}


class Inherited(NamedTuple):
    """One group of items.

    Attributes:
        group: its name.
        items: number of items.
        teacher_wrong: share that the teacher gets wrong.
        repeated: of these, share on which the student gives the same wrong answer.
        student_wrong: of these, share that the student gets wrong too, in whatever way.
        own_errors: of the items that the teacher has right, share that the student gets wrong.
    """

    group: str
    items: int
    teacher_wrong: Estimate
    repeated: Estimate
    student_wrong: Estimate
    own_errors: Estimate


def inherited_errors(
    agree: ArrayLike, teacher_right: ArrayLike, student_right: ArrayLike, groups: Sequence[str]
) -> list[Inherited]:
    """What the student repeats, by group of items, with Wilson intervals.

    Args:
        agree: [I] same answer.
        teacher_right: [I] correctness of the teacher.
        student_right: [I] correctness of the student.
        groups: [I] group of each item, e.g. from :func:`describe`.
    """
    same, t, s = (np.asarray(x, bool) for x in (agree, teacher_right, student_right))
    labels = np.asarray(groups)
    found = []
    for group in dict.fromkeys(groups):
        inside = labels == group
        wrong, right = inside & ~t, inside & t
        found.append(
            Inherited(
                str(group),
                int(inside.sum()),
                wilson(int(wrong.sum()), int(inside.sum())),
                wilson(int((wrong & same).sum()), int(wrong.sum())),
                wilson(int((wrong & ~s).sum()), int(wrong.sum())),
                wilson(int((right & ~s).sum()), int(right.sum())),
            )
        )
    return found


class Description(NamedTuple):
    """Groups that an item belongs to."""

    operation: str
    steps: str
    length: str


def describe(question: str, solution: str | None = None) -> Description:
    """Groups of a word problem: operation and steps of its solution, length of its text.

    Without a solution that states equations, operation and steps are ``unknown``.
    """
    equations = parse(solution) if solution else ()
    used = [symbol for equation in equations for symbol in equation.operations]
    names = {_OPERATIONS[symbol] for symbol in used}
    operation = "unknown" if not used else names.pop() if len(names) == 1 else "mixed"
    count = len(equations)
    steps = "unknown" if not used else "1" if count == 1 else "2-3" if count <= 3 else "4 or more"
    words = len(question.split())
    length = "short" if words <= 25 else "medium" if words <= 50 else "long"
    return Description(operation, f"{steps} steps" if used else steps, f"{length} question")


# -- rewording -------------------------------------------------------------------------------------

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def wording_families(questions: Sequence[str], *, least: float = 0.6) -> list[int]:
    """[I] families of questions that are rewordings of each other, as SVAMP makes them.

    Two questions are of one family if at least ``least`` of their distinct words (numbers masked)
    are shared; families are the connected groups. Compares all pairs that share a rare word.
    """
    words = [frozenset(_NUMBER.sub("#", q.lower()).replace(".", " ").split()) for q in questions]
    counts: dict[str, int] = {}
    for own in words:
        for word in own:
            counts[word] = counts.get(word, 0) + 1
    parent = list(range(len(questions)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    holders: dict[str, list[int]] = {}
    for i, own in enumerate(words):
        # Questions that share 60 % of their words share one of their rarest; five of them find it.
        for word in sorted(own, key=lambda w: (counts[w], w))[: max(5, len(own) // 2)]:
            for j in holders.setdefault(word, []):
                if root(i) != root(j) and len(own & words[j]) >= least * len(own | words[j]):
                    parent[root(i)] = root(j)
            holders[word].append(i)
    return [root(i) for i in range(len(questions))]


def consistency(families: Sequence[int], right: ArrayLike) -> Estimate:
    """Share of families of rewordings on which a system is always right or always wrong."""
    flags = np.asarray(right, bool)
    members: dict[int, list[bool]] = {}
    for family, flag in zip(families, flags, strict=True):
        members.setdefault(family, []).append(bool(flag))
    several = [own for own in members.values() if len(own) > 1]
    found = wilson(sum(len(set(own)) == 1 for own in several), len(several))
    return found._replace(signature=f"consistency:families|{found.signature}")


# -- examples by rule ------------------------------------------------------------------------------


def pick_examples(
    rows: Sequence[Mapping[str, Any]], *, count: int = 3, by: str = "rouge_l"
) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of ``fidelity`` to show, by rule: nobody chooses what looks good.

    ``wrong_and_faithful``: wrong with the highest fidelity to the teacher's text;
    ``right_and_free``: right with the lowest. Ties go to the first item id.
    """
    usable = [row for row in rows if row.get(by) is not None and row.get("correct") is not None]

    def order(row: Mapping[str, Any]) -> tuple[float, str, str]:
        return (row[by], str(row["task"]), str(row["item"]))

    wrong = sorted((r for r in usable if not r["correct"]), key=lambda r: (-r[by], *order(r)[1:]))
    right = sorted((r for r in usable if r["correct"]), key=order)
    return {"wrong_and_faithful": wrong[:count], "right_and_free": right[:count]}
