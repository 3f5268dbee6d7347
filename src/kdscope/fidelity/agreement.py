"""Agreement of answers: how often, when, and beyond what two accuracies explain.

A measure here is a pair of pure functions: :func:`columns` turns the answers of two systems into
numbers per item, and an entry of :data:`MEASURES` turns sums of these over items into the measure.
So the same code gives the point, each bootstrap resample and each stratum.

Notation: reference (teacher) answer T, other (student) answer S, correctness t and s, K options.
An item counts for agreement if at least one side gave a valid answer; one valid answer never equals
none.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from kdscope.data.forms import ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE, canonical_number
from kdscope.stats.bootstrap import Array, Statistic, Sums, divide


@dataclass(frozen=True)
class Answers:
    """The answers of one system, aligned with the items of a comparison.

    Attributes:
        code: [I] an integer per distinct answer (shared between systems), -1 where none is valid.
        value: [I] the answer as a number, NaN where it is none.
        correct: [I] 1.0 or 0.0, NaN where it is unknown.
    """

    code: NDArray[np.intp]
    value: Array
    correct: Array

    @property
    def valid(self) -> NDArray[np.bool_]:
        """[I] whether an answer was given."""
        return self.code >= 0

    def take(self, rows: NDArray[Any]) -> "Answers":
        """The answers of some items."""
        return Answers(self.code[rows], self.value[rows], self.correct[rows])


class AnswerBook:
    """Gives equal answers equal codes across systems."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._values: list[float] = []

    def read(self, answers: Sequence[str | None], correct: Sequence[Any] | None = None) -> Answers:
        """Encode canonical answers (None: invalid) and correctness (None: unknown)."""
        local, distinct = pd.factorize(pd.Series(answers, dtype=object))
        known = np.array([self._code(_spelling(str(text))) for text in distinct] + [-1], np.intp)
        values = np.array([*self._values, np.nan])
        code = known[local]
        right = np.full(len(code), np.nan)
        if correct is not None:
            right = pd.to_numeric(pd.Series(correct, dtype=object)).to_numpy(float)
        return Answers(code, values[code], right)

    def _code(self, text: str) -> int:
        if not text:
            return -1
        if text not in self._codes:
            self._codes[text] = len(self._values)
            self._values.append(as_number(text))
        return self._codes[text]


def _spelling(text: str) -> str:
    """The answer in canonical spelling, so that 4, 4.0 and 1,000 meet their equals."""
    return canonical_number(text) or text.strip()


def as_number(text: str) -> float:
    """The answer as a finite number; NaN if it is none."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")


def same(reference: Answers, other: Answers) -> NDArray[np.bool_]:
    """[I] whether both answers are valid and equal, numbers within the tolerance."""
    with np.errstate(invalid="ignore"):
        gap = np.abs(reference.value - other.value)
        larger = np.maximum(np.abs(reference.value), np.abs(other.value))
        near = gap <= RELATIVE_TOLERANCE * larger + ABSOLUTE_TOLERANCE
    return (reference.valid & (reference.code == other.code)) | near


def columns(
    reference: Answers, other: Answers, *, options: ArrayLike | None = None
) -> dict[str, Array]:
    """Numbers per item from which every measure of :data:`MEASURES` is made.

    Args:
        reference: answers of the reference.
        other: answers of the other system to the same I items.
        options: [I] or scalar number of admissible answers K; NaN or None where the answer is open,
            so that two wrong answers do not agree by chance.
    """
    items = len(reference.code)
    K = np.broadcast_to(np.asarray(np.nan if options is None else options, float), (items,))
    counted = reference.valid | other.valid
    table = flag_columns(
        same(reference, other) & counted,
        counted,
        reference.correct,
        other.correct,
        chance=by_chance(K),
    )
    table["invalid_reference"] = (~reference.valid).astype(float)
    table["invalid"] = (~other.valid).astype(float)
    table["marginal"] = _marginal(reference, other, counted)
    return table


def by_chance(options: ArrayLike) -> Array:
    """[I] probability that two wrong answers to an item with K options agree by chance: 1/(K-1)."""
    K = np.nan_to_num(np.asarray(options, float), nan=0.0)
    return np.where(K > 1, 1 / np.maximum(K - 1, 1), 0.0)


def flag_columns(
    agree: ArrayLike, counted: ArrayLike, t: ArrayLike, s: ArrayLike, *, chance: ArrayLike
) -> dict[str, Array]:
    """Columns of the measures from flags per item.

    Args:
        agree: [I] whether the answers agree.
        counted: [I] whether at least one side gave a valid answer.
        t: [I] correctness of the reference, NaN where unknown.
        s: [I] correctness of the other, NaN where unknown.
        chance: [I] from :func:`by_chance`.
    """
    agree, counted = np.asarray(agree, bool), np.asarray(counted, bool)
    t, s = np.asarray(t, float), np.asarray(s, float)
    known = ~(np.isnan(t) | np.isnan(s))
    t, s = np.nan_to_num(t) > 0.5, np.nan_to_num(s) > 0.5
    graded = counted & known
    flags = {
        "counted": counted,
        "agree": agree,
        "graded": graded,
        "agree_graded": agree & graded,
        "t_graded": t & graded,
        "s_graded": s & graded,
        "agree_right": agree & graded & t,
        "wrong_graded": graded & ~t,
        "agree_wrong": agree & graded & ~t,
        "known": known,
        "t": t & known,
        "s": s & known,
        "gained": known & s & ~t,
        "lost": known & t & ~s,
        "discordant": known & (t != s),
    }
    table = {name: flag.astype(float) for name, flag in flags.items()}
    table["chance"] = np.asarray(chance, float) * graded
    return table


def _marginal(reference: Answers, other: Answers, counted: NDArray[np.bool_]) -> Array:
    """Per item e_i = P(S = T_i) + P(T = S_i), whose mean is twice Cohen's expected agreement.

    The expected agreement sum_a P(T=a) P(S=a) is a U-statistic; half the mean of e_i is its
    first-order expansion in a resample, e_i/2 - E/2 times two its influence.
    """
    total = max(int(counted.sum()), 1)
    size = int(max(reference.code.max(initial=-1), other.code.max(initial=-1))) + 2
    p = np.bincount(reference.code[counted] + 1, minlength=size) / total
    q = np.bincount(other.code[counted] + 1, minlength=size) / total
    return np.where(counted, q[reference.code + 1] + p[other.code + 1], 0.0)


# -- measures: sums [..., G] -> [...] ---------------------------------------------


def _pooled(numerator: str, denominator: str) -> Statistic:
    def statistic(sums: Sums) -> Array:
        return divide(sums[numerator].sum(axis=-1), sums[denominator].sum(axis=-1))

    return statistic


def expected_agreement(sums: Sums) -> Array:
    """Agreement expected of two systems with these accuracies and independent errors.

    E = t s + (1 - t)(1 - s) mean[1/(K-1)] within each group, averaged over items; the last term is
    0 for open answers. Source: Geirhos et al. 2020; Goel et al. 2025 (CAPA) for K options.
    """
    n = sums["graded"]
    t, s, chance = (divide(sums[name], n) for name in ("t_graded", "s_graded", "chance"))
    expected = np.nan_to_num(t * s + (1 - t) * (1 - s) * chance)
    return divide((expected * n).sum(axis=-1), n.sum(axis=-1))


def kappa(sums: Sums) -> Array:
    """Agreement beyond accuracy: (A - E) / (1 - E) with E of :func:`expected_agreement`."""
    return _chance_corrected(_pooled("agree_graded", "graded")(sums), expected_agreement(sums))


def error_consistency(sums: Sums) -> Array:
    """Kappa of being right: do the two err on the same items? Source: Geirhos et al. 2020."""
    return _chance_corrected(_alike(sums), _alike_by_chance(sums))


def _alike(sums: Sums) -> Array:
    """Share of items on which both are right or both wrong."""
    split = (sums["gained"] + sums["lost"]).sum(axis=-1)
    return 1 - divide(split, sums["known"].sum(axis=-1))


def _alike_by_chance(sums: Sums) -> Array:
    """The same, expected of the two accuracies of each group."""
    n = sums["known"]
    t, s = divide(sums["t"], n), divide(sums["s"], n)
    expected = np.nan_to_num(t * s + (1 - t) * (1 - s))
    return divide((expected * n).sum(axis=-1), n.sum(axis=-1))


def cohen_kappa(sums: Sums) -> Array:
    """Cohen's kappa of the answers, which needs no gold; no answer is a category of its own.

    In a resample the expected agreement is expanded to first order around its value on the data, so
    it moves with the items drawn; its pooled marginals are those of all groups together.
    """
    return _chance_corrected(_pooled("agree", "counted")(sums), _by_marginals(sums))


def _by_marginals(sums: Sums) -> Array:
    linear = divide(sums["marginal"].sum(axis=-1), sums["counted"].sum(axis=-1))
    return np.clip(linear / 2, 0.0, 1.0)


def volume(sums: Sums) -> Array:
    """Share of items on which the answers differ."""
    return 1 - _pooled("agree", "counted")(sums)


def direction(sums: Sums) -> Array:
    """Share, of the items that only one has right, on which the other has; 1/2 is McNemar's null.

    accuracy(other) - accuracy(reference) = discordant share x (2 direction - 1).
    """
    gained, lost = sums["gained"].sum(axis=-1), sums["lost"].sum(axis=-1)
    return divide(gained, gained + lost)


def accuracy_difference(sums: Sums) -> Array:
    """Accuracy of the other system less that of the reference."""
    return divide((sums["s"] - sums["t"]).sum(axis=-1), sums["known"].sum(axis=-1))


def _chance_corrected(observed: Array, expected: Array) -> Array:
    """(A - E) / (1 - E); NaN where E is 1 and nothing is left to explain."""
    room = 1 - expected
    return divide(observed - expected, np.where(room > 1e-12, room, 0.0))


MEASURES: dict[str, Statistic] = {
    "agreement": _pooled("agree", "counted"),
    "agreement_when_right": _pooled("agree_right", "t_graded"),
    "agreement_when_wrong": _pooled("agree_wrong", "wrong_graded"),
    "kappa": kappa,
    "expected_agreement": expected_agreement,
    "cohen_kappa": cohen_kappa,
    "error_consistency": error_consistency,
    "volume": volume,
    "direction": direction,
    "flips_up": _pooled("gained", "known"),
    "flips_down": _pooled("lost", "known"),
    "accuracy_difference": accuracy_difference,
}
"""Measures of a pair of systems, by name."""

BEYOND_CHANCE: dict[Statistic, tuple[Statistic, Statistic, str]] = {
    kappa: (_pooled("agree_graded", "graded"), expected_agreement, "graded"),
    cohen_kappa: (_pooled("agree", "counted"), _by_marginals, "counted"),
    error_consistency: (_alike, _alike_by_chance, "known"),
}
"""Kappas (A - E) / (1 - E) -> their A, their E, and the column that counts the items of A."""


def measure(name: str, reference: Answers, other: Answers, **options: Any) -> float:
    """One measure of two systems on one group of items; NaN where it is undefined."""
    table = {
        key: np.array([value.sum()]) for key, value in columns(reference, other, **options).items()
    }
    statistic: Callable[[Sums], Array] = MEASURES[name]
    return float(statistic(table))
