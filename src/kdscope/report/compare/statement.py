"""The Distillation Loss Statement: what a student gained, lost and imitates, for a model card."""

import math
from typing import NamedTuple

from kdscope.report.compare.records import Comparison, Pair, SystemSummary
from kdscope.report.tabulate import Quantity, Table, number, p_value
from kdscope.stats.records import Estimate


class Statement(NamedTuple):
    """One student's statement: a title, a paragraph and a table."""

    title: str
    paragraph: str
    table: Table


def statements(comparison: Comparison) -> list[Statement]:
    """A statement for each system that was compared with the reference."""
    by_name = {summary.name: summary for summary in comparison.systems}
    return [
        Statement(
            f"Distillation Loss Statement: {pair.other}, student of {pair.reference}",
            _paragraph(pair, by_name, comparison),
            _table(pair, by_name, place),
        )
        for place, pair in enumerate(comparison.pairs, 1)
    ]


def known(estimate: Estimate | None) -> bool:
    """Whether there is a number."""
    return estimate is not None and math.isfinite(estimate.estimate)


def said(estimate: Estimate, *, scale: float = 100, unit: str = " %", signed: bool = False) -> str:
    """A number with its interval, as a sentence says it."""
    digits = 1 if scale == 100 or abs(estimate.estimate) > 1 else 2
    text = number(scale * estimate.estimate, digits, signed=signed) + unit
    if estimate.low is not None and estimate.high is not None:
        low, high = (number(scale * x, digits) for x in (estimate.low, estimate.high))
        text += f" (95 % interval {low} to {high})"
    return text.replace("-", "−")


def _paragraph(pair: Pair, systems: dict[str, SystemSummary], comparison: Comparison) -> str:
    m, n = pair.measures, pair.n
    tasks = (
        ", ".join(comparison.tasks)
        if len(comparison.tasks) <= 6
        else f"{len(comparison.tasks)} tasks"
    )
    if not n:
        return (
            f"{pair.other} and {pair.reference} answer no common question: nothing can be stated."
        )
    parts = [f"On {n:,} questions ({tasks}), {pair.other} was compared with {pair.reference}."]
    own, theirs = (systems[name].measures["accuracy"] for name in (pair.other, pair.reference))
    if known(m["accuracy_difference"]):
        parts.append(
            f"It answers {said(own)} correctly, the reference {said(theirs)}: a difference of "
            f"{said(m['accuracy_difference'], unit=' points', signed=True)}, exact McNemar p "
            f"{_equals(m['mcnemar_p'].estimate)}."
        )
        parts.append(
            f"Gained are {said(m['flips_up'])} of the questions, which the reference gets wrong "
            f"and it gets right; lost are {said(m['flips_down'])}, where it is the other way round."
        )
    if known(m["agreement"]):
        sentence = f"It gives the reference's answer to {said(m['agreement'])} of the questions"
        if known(m["expected_agreement"]):
            sentence += (
                f"; {said(m['expected_agreement'])} would follow from the two accuracies "
                "alone, which leaves a chance-corrected agreement of "
                f"{said(m['kappa'], scale=1, unit='')}"
            )
        parts.append(sentence + ".")
    if known(m["agreement_when_wrong"]):
        parts.append(
            f"Where the reference is wrong, it repeats the same wrong answer in "
            f"{said(m['agreement_when_wrong'])} of the cases: mistakes that it imitates."
        )
    parts += _reasoning(m)
    return " ".join([*parts, _uncertain(pair, systems)])


def _reasoning(m: dict[str, Estimate]) -> list[str]:
    parts = []
    if known(m["same_reasoning_other_answer"]):
        parts.append(
            f"Of the answers with equations, {said(m['same_reasoning_same_answer'])} take the "
            f"same steps to the same answer, {said(m['other_reasoning_same_answer'])} reach it by "
            f"other steps, and {said(m['same_reasoning_other_answer'])} take the same steps to "
            "another answer."
        )
    if known(m["bleu"]) and known(m["bleu_floor"]):
        parts.append(
            f"Its wording has a sentence BLEU of {said(m['bleu'], scale=1, unit='')} with the "
            f"reference's, against {said(m['bleu_floor'], scale=1, unit='')} with the reference's "
            "answer to another question."
        )
    return parts


def _uncertain(pair: Pair, systems: dict[str, SystemSummary]) -> str:
    invalid = systems[pair.other].measures["invalid"]
    parts = (
        [f"No answer could be read from {said(invalid)} of its texts."] if known(invalid) else []
    )
    parts.append(
        "The intervals cover the choice of questions only: one training run was seen, and another "
        "seed may give other numbers."
    )
    return " ".join(parts)


def _equals(p: float) -> str:
    written = p_value(p)
    return written if written.startswith("<") else f"= {written}"


_ROWS = (
    ("gained", "wrong in the reference, right in the student", "flips_up", 100, "%"),
    ("lost", "right in the reference, wrong in the student", "flips_down", 100, "%"),
    ("lost", "difference in accuracy", "accuracy_difference", 100, "points"),
    ("kept", "same answer", "agreement", 100, "%"),
    ("kept", "same answer where the reference is right", "agreement_when_right", 100, "%"),
    ("kept", "agreement beyond accuracy (kappa)", "kappa", 1, ""),
    ("kept", "same steps (equation F1)", "equation_f1", 1, ""),
    (
        "imitated",
        "same wrong answer where the reference is wrong",
        "agreement_when_wrong",
        100,
        "%",
    ),
    ("imitated", "same steps to another answer", "same_reasoning_other_answer", 100, "%"),
    ("imitated", "wording: sentence BLEU", "bleu", 1, ""),
    ("imitated", "wording: BLEU floor, another question", "bleu_floor", 1, ""),
)


def _table(pair: Pair, systems: dict[str, SystemSummary], place: int) -> Table:
    rows = []
    for group, label, name, scale, unit in _ROWS:
        measure = pair.measures[name]
        if known(measure):
            rows.append([group, label, quantity(measure, scale), unit])
    invalid = systems[pair.other].measures["invalid"]
    if known(invalid):
        rows.append(["uncertain", "no answer could be read", quantity(invalid, 100), "%"])
    rows.append(["uncertain", "training seeds seen", 1, ""])
    return Table(
        f"statement-{place}",
        f"{pair.other}, student of {pair.reference}: n = {pair.n:,}",
        ["", "what", "value", "unit"],
        rows,
        note="95 % intervals by paired bootstrap over questions; Wilson's where all or none agree.",
    )


def quantity(estimate: Estimate, scale: float = 1, digits: int | None = None) -> Quantity:
    """An estimate as a table cell."""
    if not known(estimate):
        return Quantity(None)
    low, high = (None if x is None else scale * x for x in (estimate.low, estimate.high))
    value = scale * estimate.estimate
    shown = digits if digits is not None else (1 if scale == 100 or abs(value) > 1.5 else 2)
    return Quantity(value, low, high, shown)
