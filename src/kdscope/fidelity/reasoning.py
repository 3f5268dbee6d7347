"""Fidelity of reasoning: do two solutions compute the same things, in the same order?

Compared are the equations that the texts state (:mod:`kdscope.fidelity.equations`), not their
words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from rapidfuzz.distance import LCSseq

from kdscope.fidelity.equations import Equation, parse, values
from kdscope.stats.bootstrap import Array, Statistic, ratio

SAME_STEPS = 0.8  # equation F1 from which two solutions count as the same reasoning


class Steps(NamedTuple):
    """Two solutions compared step by step.

    Attributes:
        equation_f1: multiset F1 of normalised equations; None if neither text states one.
        value_f1: multiset F1 of stated results.
        order: F1 of the longest common subsequence of equations: 1 only in the same order.
        diverges: 1-based first step that differs; None if the sequences are the same.
        steps: number of equations of the reference.
    """

    equation_f1: float | None
    value_f1: float | None
    order: float | None
    diverges: int | None
    steps: int


def compare_steps(reference: Sequence[Equation], other: Sequence[Equation]) -> Steps:
    """Compare the equations of two solutions."""
    first, second = [str(e) for e in reference], [str(e) for e in other]
    total = len(first) + len(second)
    common = LCSseq.similarity(first, second)
    differs = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    if differs is None and len(first) != len(second):
        differs = min(len(first), len(second))
    return Steps(
        multiset_f1(first, second),
        multiset_f1(list(values(reference)), list(values(other))),
        2 * common / total if total else None,
        None if differs is None else differs + 1,
        len(first),
    )


def multiset_f1(first: Sequence[object], second: Sequence[object]) -> float | None:
    """F1 of two multisets; None if both are empty."""
    if not first and not second:
        return None
    shared = sum((Counter(first) & Counter(second)).values())
    return 2 * shared / (len(first) + len(second))


# -- reasoning by answer ---------------------------------------------------------------------------


def by_answer_columns(f1: ArrayLike, agree: ArrayLike) -> dict[str, Array]:
    """Numbers per item for the 2 x 2 of reasoning by answer.

    Args:
        f1: [I] equation F1, NaN where it is undefined (such items are left out).
        agree: [I] same answer, NaN where neither is valid (left out).
    """
    f1, agree = np.asarray(f1, float), np.asarray(agree, float)
    counted = np.isfinite(f1) & np.isfinite(agree)
    steps, answer = (
        counted & (np.nan_to_num(f1) >= SAME_STEPS),
        counted & (np.nan_to_num(agree) > 0.5),
    )
    flags = {
        "both": counted,
        "same_same": steps & answer,
        "same_other": steps & ~answer,
        "other_same": answer & ~steps,
        "other_other": counted & ~steps & ~answer,
        "same_steps": steps,
        "same_answer": answer,
    }
    return {name: flag.astype(float) for name, flag in flags.items()}


BY_ANSWER: dict[str, Statistic] = {
    "same_reasoning_same_answer": ratio("same_same", "both"),
    "same_reasoning_other_answer": ratio("same_other", "both"),
    "other_reasoning_same_answer": ratio("other_same", "both"),
    "other_reasoning_other_answer": ratio("other_other", "both"),
    "answer_given_same_steps": ratio("same_same", "same_steps"),
    "steps_given_same_answer": ratio("same_same", "same_answer"),
}
"""The 2 x 2 of reasoning (equation F1 of at least 0.8) by answer, and its two conditionals."""


# -- kinds of error --------------------------------------------------------------------------------

ERRORS: dict[str, str] = {
    "run_on": "generation went on past an answer: a new question or template follows, or the "
    "length limit cut it",
    "format": "no answer could be read from the text",
    "arithmetic_slip": "the first step that departs from the reference states a wrong result",
    "wrong_operation": "it takes the right numbers and does something else with them",
    "wrong_quantity": "it does the right operation on other numbers",
    "missing_step": "the steps are the reference's, but some are left out",
    "other": "none of these",
}
"""Kinds of error, in the order in which the rules are tried."""

_GOES_ON = re.compile(r"###\s*(?:Instruction|Input|Response)|\n\s*(?:Question|Problem|Q)\s*:", re.I)


def kind_of_error(
    text: str,
    reference: str,
    *,
    valid: bool = True,
    finish_reason: str | None = None,
) -> str:
    """The kind of a wrong answer, by comparison with a right solution of the same item.

    Args:
        text: the wrong solution.
        reference: a right solution (the teacher's where it is right, else the data set's).
        valid: whether an answer could be read.
        finish_reason: of the generation.

    Rules, first match wins: see :data:`ERRORS`. Steps are compared in order up to the first that is
    not among the reference's.
    """
    if _GOES_ON.search(text) or finish_reason in ("run_on", "length"):
        return "run_on"
    if not valid:
        return "format"
    mine, right = parse(text), parse(reference)
    left = Counter(str(e) for e in right)
    departs = None
    for equation in mine:
        if left[str(equation)] > 0:
            left[str(equation)] -= 1
        else:
            departs = equation
            break
    if departs is None:
        return "missing_step" if mine and sum(left.values()) else "other"
    if not departs.valid:
        return "arithmetic_slip"
    open_steps = [e for e in right if left[str(e)] > 0]
    if any(
        e.operands == departs.operands and e.operations != departs.operations for e in open_steps
    ):
        return "wrong_operation"
    if any(
        e.operands == departs.operands and e.expression != departs.expression for e in open_steps
    ):
        return "wrong_operation"  # the same operators on other sides: 3 - 8 for 8 - 3
    if any(_one_number_apart(e, departs) for e in open_steps):
        return "wrong_quantity"
    if set(map(str, mine[mine.index(departs) :])) & set(left):
        return "missing_step"
    return "other"


def _one_number_apart(first: Equation, second: Equation) -> bool:
    """Whether two steps do the same with numbers of which at least one is the same."""
    shared = Counter(first.operands) & Counter(second.operands)
    return first.operations == second.operations and sum(shared.values()) > 0
