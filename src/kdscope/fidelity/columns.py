"""What a study measures of its runs: numbers per item, and the statistics of their sums.

A run is measured alone and in its relations: to its teacher and its SFT student (rows of
``fidelity``), to the teacher's distributions (``distributions``), over samples of both, and on
scored options (``choices``). :data:`MEASURES` lists every measure with the column that counts the
items behind it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kdscope.data.forms import same_answer
from kdscope.fidelity.agreement import MEASURES as ANSWERS
from kdscope.fidelity.agreement import flag_columns
from kdscope.fidelity.bleu_conventions import CONVENTIONS, measure_name
from kdscope.fidelity.calibration import CALIBRATION
from kdscope.fidelity.choices import OPTION_MEASURES
from kdscope.fidelity.noise import NOISE
from kdscope.fidelity.percentiles import PERCENTILES
from kdscope.fidelity.reasoning import BY_ANSWER, ERRORS, by_answer_columns
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, Statistic, Sums, divide

OVERLAPS = ("bleu", "chrf", "rouge_l")
EXTRACTED = ("number", "letter", "word", "boolean")  # forms whose answer is read out of a text
TEXTS = (
    *OVERLAPS,
    *(f"{name}_floor" for name in OVERLAPS),
    *(f"{name}_second" for name in OVERLAPS),
    *("equation_f1", "value_f1", "order"),
)
BY_EXTRACTOR = ("accuracy_strict", "accuracy_paper")  # beside accuracy, which is by `flexible`
TOKENS = ("forward_kl", "reverse_kl", "jsd", "top1", "topk")
TAILED = ("forward_kl", "reverse_kl")  # whose percentiles over tokens are taken
PREFIXES = ("reference", "teacher", "student")
FIDELITY_COLUMNS = (*TEXTS, "diverges", "valid_steps", "steps", "error")


class Measure(NamedTuple):
    """A statistic of sums, and the column that counts the items behind it."""

    statistic: Statistic
    behind: str


def _ratios(*names: str) -> dict[str, Measure]:
    return {name: Measure(bootstrap.ratio(name, f"{name}_n"), f"{name}_n") for name in names}


_COUNTS = {
    "agreement": "counted",
    "agreement_when_right": "t_graded",
    "agreement_when_wrong": "wrong_graded",
    "kappa": "graded",
    "expected_agreement": "graded",
    "error_consistency": "known",
    "volume": "counted",
    "direction": "discordant",
    "flips_up": "known",
    "flips_down": "known",
}
_OF_TEACHER = {
    "agreement_when_right": "agreement_when_teacher_right",
    "agreement_when_wrong": "agreement_when_teacher_wrong",
    "flips_up": "flips_up_from_teacher",
    "flips_down": "flips_down_from_teacher",
}


def _link_measures(names: Mapping[str, str]) -> dict[str, Measure]:
    found = {names.get(name, name): Measure(ANSWERS[name], n) for name, n in _COUNTS.items()}
    found |= _ratios(*TEXTS, "diverges_at_first_step")
    found["arithmetic_validity"] = Measure(bootstrap.ratio("valid_steps", "steps"), "steps")
    found |= {name: Measure(statistic, "both") for name, statistic in BY_ANSWER.items()}
    found |= {
        f"error_{kind}": Measure(bootstrap.ratio(f"error_{kind}", "errors"), "errors")
        for kind in ERRORS
    }
    return found


def _exposure_bias(sums: Sums) -> Array:
    """Forward KL per token on the student's own prefixes less that on the reference's."""
    own, reference = (
        divide(sums[f"forward_kl_on_{p}"].sum(axis=-1), sums[f"tokens_on_{p}"].sum(axis=-1))
        for p in ("student", "reference")
    )
    return own - reference


def _token_measures() -> dict[str, Measure]:
    found = {
        f"{name}_on_{prefix}": Measure(
            bootstrap.ratio(f"{name}_on_{prefix}", f"tokens_on_{prefix}"), f"texts_on_{prefix}"
        )
        for prefix in PREFIXES
        for name in TOKENS
    }
    return found | {"exposure_bias": Measure(_exposure_bias, "texts_on_student")}


MEASURES: dict[str, dict[str, Measure]] = {
    "": {
        "accuracy": Measure(bootstrap.ratio("right", "graded_run"), "graded_run"),
        **_ratios(*BY_EXTRACTOR),
        "invalid": Measure(bootstrap.ratio("unparsed", "seen"), "seen"),
        "score": Measure(bootstrap.ratio("score", "scored"), "scored"),
    },
    "teacher": _link_measures(_OF_TEACHER),
    "sft_student": _link_measures({}),
    "wording": _ratios(*map(measure_name, CONVENTIONS)),
    "groups": {},  # by the groups that the items have: kdscope.fidelity.inheritance
    "tokens": _token_measures(),
    "samples": {name: Measure(statistic, "sampled") for name, statistic in NOISE.items()},
    "calibration": {name: Measure(s, "calibrated") for name, s in CALIBRATION.items()},
    "options": {
        name: Measure(statistic, "graded_options" if name == "capa" else "scored_options")
        for name, statistic in OPTION_MEASURES.items()
    },
}
"""Relation -> name -> measure; the empty relation is the run alone."""


TAILS = tuple(
    f"{name}_on_{prefix}_{share}" for name in TAILED for prefix in PREFIXES for share in PERCENTILES
)
"""The percentiles over tokens, which belong to the relation ``tokens`` and are no function of sums."""


def numbers(column: pd.Series) -> Array:
    """A column of numbers, flags or nulls as floats with NaN."""
    return np.asarray(
        pd.to_numeric(column.astype(object).map(lambda x: np.nan if x is None else x)), float
    )


def run_columns(rows: pd.DataFrame) -> dict[str, Array]:
    """Columns of a run alone, from its rows of ``generations`` with ``gold`` and ``form`` of the item."""
    correct, valid, score = (numbers(rows[name]) for name in ("correct", "valid", "score"))
    graded = np.isfinite(correct)
    free = ~graded & np.isfinite(score)
    again = graded & rows["form"].isin(EXTRACTED).to_numpy(bool)
    columns: dict[str, Array] = {}
    for name in BY_EXTRACTOR:
        answer = f"answer_{name.removeprefix('accuracy_')}"
        known = again & (answer in rows)  # files of other origin have no such column
        columns |= _with_count(name, _right(rows, answer) if answer in rows else known, known)
    return columns | {
        "seen": np.ones(len(rows)),
        "graded_run": graded.astype(float),
        "right": np.nan_to_num(correct),
        "unparsed": (valid == 0).astype(float),
        "scored": free.astype(float),
        "score": np.where(free, np.nan_to_num(score), 0.0),
    }


def _right(rows: pd.DataFrame, answer: str) -> Array:
    """Whether the answer of one extractor is the item's, [I]."""
    given = rows[answer].astype(object).where(rows[answer].notna(), None)
    found = zip(given, rows["gold"], rows["form"], strict=True)
    return np.array([same_answer(a, g, f) for a, g, f in found], float)


def link_columns(rows: pd.DataFrame, chance: Array) -> dict[str, Array]:
    """Columns of a run and a reference, from their rows of ``fidelity``."""
    agree = numbers(rows["agree"])
    columns = flag_columns(
        np.nan_to_num(agree) > 0.5,
        np.isfinite(agree),
        numbers(rows["reference_correct"]),
        numbers(rows["correct"]),
        chance=chance,
    )
    for name in TEXTS:
        values = numbers(rows[name])
        columns |= _with_count(name, values, np.isfinite(values))
    f1 = numbers(rows["equation_f1"])
    first = numbers(rows["diverges"]) == 1
    columns |= _with_count("diverges_at_first_step", first, np.isfinite(f1))
    columns |= {name: np.nan_to_num(numbers(rows[name])) for name in ("valid_steps", "steps")}
    columns |= by_answer_columns(f1, agree)
    errors = rows["error"].astype(object)
    columns["errors"] = errors.isin(list(ERRORS)).to_numpy(float)
    return columns | {f"error_{kind}": (errors == kind).to_numpy(float) for kind in ERRORS}


def _with_count(name: str, values: Any, defined: Any) -> dict[str, Array]:
    values = np.where(defined, np.nan_to_num(np.asarray(values, float)), 0.0)
    return {name: values, f"{name}_n": np.asarray(defined, float)}


def token_columns(sums: Mapping[str, pd.DataFrame], index: pd.MultiIndex) -> dict[str, Array]:
    """Columns over all items [I] of a run and its teacher's distributions.

    Args:
        sums: prefix -> sums over tokens by (task, item), with the columns of :data:`TOKENS` and
            ``tokens``.
        index: the study's items.
    """
    columns: dict[str, Array] = {}
    for prefix in PREFIXES:
        own = sums[prefix].reindex(index) if prefix in sums else None
        for name in (*TOKENS, "tokens"):
            values = np.zeros(len(index)) if own is None else own[name].fillna(0.0).to_numpy(float)
            columns[f"{name}_on_{prefix}"] = values
        columns[f"texts_on_{prefix}"] = (columns[f"tokens_on_{prefix}"] > 0).astype(float)
    return columns
