"""The measures of a pair: how each is computed, its signature, and what it needs."""

import numpy as np

from kdscope.fidelity.agreement import MEASURES
from kdscope.fidelity.choices import OPTION_MEASURES
from kdscope.fidelity.noise import NOISE
from kdscope.fidelity.overlap import SIGNATURES, corpus_bleu
from kdscope.fidelity.reasoning import BY_ANSWER
from kdscope.report.compare.texts import COUNTS
from kdscope.report.compare.texts import MEASURES as TEXTS
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, Statistic, Sums

PROPORTIONS = {
    "accuracy": "known_own",
    "invalid": "present",
    "agreement": "counted",
    "agreement_when_right": "t_graded",
    "agreement_when_wrong": "wrong_graded",
    "volume": "counted",
    "flips_up": "known",
    "flips_down": "known",
    "same_reasoning_same_answer": "both",
    "same_reasoning_other_answer": "both",
    "other_reasoning_same_answer": "both",
    "other_reasoning_other_answer": "both",
}
NEEDS_GOLD = {
    "agreement_when_right",
    "agreement_when_wrong",
    "expected_agreement",
    "error_consistency",
}
NEEDS_GOLD |= {"direction", "flips_up", "flips_down", "accuracy_difference", "mcnemar_p"}
_STEP_SIGNATURE = "equations:multiset-f1|normalised:sorted-operands"


def _corpus(sums: Sums) -> Array:
    counts = np.stack([sums[name].sum(axis=-1) for name in COUNTS], axis=-1)
    return np.where(counts[..., 0] > 0, corpus_bleu(counts), np.nan)


def _statistics() -> dict[str, tuple[Statistic, str]]:
    """Measures of a pair with their signatures, in the order in which they are shown."""
    table: dict[str, tuple[Statistic, str]] = {name: (s, name) for name, s in MEASURES.items()}
    for name in TEXTS:
        floor = name.endswith("_floor")
        kind = SIGNATURES[name.removesuffix("_floor")] + ("|floor:other-item" if floor else "")
        table[name] = (bootstrap.ratio(name, "floors" if floor else "texts"), kind)
    table["corpus_bleu"] = (_corpus, SIGNATURES["corpus_bleu"])
    for name in ("equation_f1", "value_f1", "order"):
        table[name] = (bootstrap.ratio(name, "stepped"), _STEP_SIGNATURE)
    table["diverges_at_first_step"] = (bootstrap.ratio("first_step", "stepped"), _STEP_SIGNATURE)
    table["arithmetic_validity"] = (
        bootstrap.ratio("valid_steps", "steps"),
        "equations:valid-share",
    )
    for name, statistic in BY_ANSWER.items():
        table[name] = (statistic, "reasoning:equation-f1>=0.8")
    for name, statistic in NOISE.items():
        table[name] = (statistic, "samples:pairwise")
    for name, statistic in OPTION_MEASURES.items():
        table[name] = (statistic, f"{name}|options:softmax")
    return table


PAIR_MEASURES = _statistics()
KEPT = ("agreement", "kappa", "agreement_when_wrong", "bleu", "equation_f1")


def base_column(name: str) -> str:
    """The column without which a measure does not exist."""
    if name in MEASURES:
        return "counted"
    if name in NOISE:
        return "sampled"
    if name in OPTION_MEASURES:
        return "graded_options" if name == "capa" else "scored_options"
    if name in BY_ANSWER:
        return "both"
    if name == "arithmetic_validity":
        return "steps"
    if name in ("equation_f1", "value_f1", "order", "diverges_at_first_step"):
        return "stepped"
    return "floors" if name.endswith("_floor") else "texts"


def missing(name: str) -> str:
    """What a measure needs, for whoever lacks it."""
    reasons: dict[str, str] = {
        "counted": "valid answers",
        "sampled": "several samples of both systems",
        "both": "answers with equations",
        "scored_options": "log-probabilities of the options in both files",
        "graded_options": "log-probabilities of the options in both files, and gold answers",
        "steps": "equations",
        "stepped": "equations",
        "floors": "texts of several items",
        "texts": "texts of both systems",
    }
    return reasons[base_column(name)]
