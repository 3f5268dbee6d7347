"""The computation behind ``kdscope compare``: systems and pairs, each measure an Estimate."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdscope.errors import UserError
from kdscope.fidelity.agreement import MEASURES
from kdscope.fidelity.bleu_conventions import CONVENTIONS, measure_name
from kdscope.fidelity.calibration import CALIBRATION
from kdscope.fidelity.choices import OPTION_MEASURES
from kdscope.fidelity.embeddings import LIKENESS, Encoder
from kdscope.fidelity.noise import NOISE
from kdscope.fidelity.overlap import SIGNATURES, corpus_bleu
from kdscope.fidelity.reasoning import BY_ANSWER
from kdscope.report.compare.aligned import Aligned, add_texts
from kdscope.report.compare.inputs import System, read_systems
from kdscope.report.compare.texts import (
    COUNTS,
    Progress,
    choose,
)
from kdscope.report.compare.texts import (
    MEASURES as TEXTS,
)
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import RESAMPLES, Array, Draws, Statistic, Sums
from kdscope.stats.paired import mcnemar_p
from kdscope.stats.proportions import wilson
from kdscope.stats.records import Estimate

TEXT_ROWS = 30_000
_PROPORTIONS = {
    "accuracy": "known_own",
    "invalid": "present",
    "agreement": "counted",
    "agreement_when_right": "t_graded",
    "agreement_when_wrong": "wrong_graded",
    "volume": "counted",
    "flips_up": "known",
    "flips_down": "known",
}
_NEEDS_GOLD = {
    "agreement_when_right",
    "agreement_when_wrong",
    "expected_agreement",
    "error_consistency",
}
_NEEDS_GOLD |= {"direction", "flips_up", "flips_down", "accuracy_difference", "mcnemar_p"}
_STEP_SIGNATURE = "equations:multiset-f1|normalised:sorted-operands"


@dataclass
class Pair:
    """A system compared with the reference."""

    reference: str
    other: str
    n: int
    measures: dict[str, Estimate]


@dataclass
class SystemSummary:
    """A system on its own items."""

    name: str
    n: int
    measures: dict[str, Estimate]


@dataclass
class Comparison:
    """Everything that a comparison found.

    Attributes:
        systems: in the order of the files; the first is the reference.
        pairs: each further system with the reference.
        gains: each system after the second compared with the second, in what it shares with the
            reference (for a teacher, an SFT student, and distilled students).
        notes: what was wrong with the files and what could not be computed.
        tasks: task -> number of items of the reference.
    """

    systems: list[SystemSummary]
    pairs: list[Pair]
    gains: list[Pair]
    notes: list[str] = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)


def compare_files(
    paths: Sequence[Path],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    text_rows: int | None = TEXT_ROWS,
    bleu: Sequence[str] = (),
    encoder: str | None = None,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Compare prediction files with the first of them.

    Args:
        paths: two or more files; one gives the system's own measures only.
        resamples: R of the paired bootstrap.
        seed: of the resamples; 0 is a seed.
        text_rows: how many texts (items x systems) are compared at most, an even sample of the
            items beyond; 0 for none, None for all.
        bleu: further conventions of BLEU, names of
            :data:`kdscope.fidelity.bleu_conventions.CONVENTIONS`.
        encoder: also compare texts by this encoder (``minilm`` or a folder): cosine of sentence
            embeddings and BERTScore.
        progress: called with the number of texts compared and their total.

    Raises:
        UserError: a convention that does not exist, or an encoder that is not there.
    """
    unknown = sorted(set(bleu) - set(CONVENTIONS))
    if unknown:
        raise UserError(
            f"there is no convention of BLEU named {unknown[0]!r}; choose among "
            f"{', '.join(CONVENTIONS)} (sacrebleu's is always computed)"
        )
    return compare_systems(
        read_systems(paths),
        resamples=resamples,
        seed=seed,
        text_rows=text_rows,
        bleu=bleu,
        encoder=None if encoder is None else Encoder(encoder),
        progress=progress,
    )


def compare(reference: str | Path, *others: str | Path, **options: Any) -> dict[str, Any]:
    """Compare prediction files of any origin with the first of them, as ``kdscope compare --json``.

    Args:
        reference: Parquet as ``generations``, JSON Lines, lm-eval samples or an Inspect log.
        others: the files compared with it.
        options: ``resamples``, ``seed``, ``text_rows``, ``bleu``, ``encoder`` and ``progress`` of
            :func:`compare_files`.

    Example:
        >>> kdscope.compare("teacher.jsonl", "student.jsonl")["pairs"][0]["agreement"]["estimate"]
    """
    from kdscope.report.compare.show import as_json

    return as_json(compare_files([Path(p) for p in (reference, *others)], **options))


def compare_systems(
    systems: Sequence[System],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    text_rows: int | None = TEXT_ROWS,
    bleu: Sequence[str] = (),
    encoder: Encoder | None = None,
    progress: Progress = lambda done, total: None,
) -> Comparison:
    """Compare systems that were read already; see :func:`compare_files`."""
    reference, others = systems[0], systems[1:]
    table = Aligned(systems)
    notes = [f"{system.name}: {note}" for system in systems for note in system.notes]
    notes += table.mismatches()
    if not others:
        notes.append(f"only one system was given, so {reference.name} is compared with nothing")
    chosen = np.empty(0, np.intp)
    if others:
        chosen = choose(table.task, table.item, len(others), text_rows)
        add_texts(table, chosen, progress, notes, bleu, encoder)
    comparison = Comparison([], [], [], notes, dict(pd.Series(table.task).value_counts(sort=False)))
    baseline: dict[str, tuple[float, Array]] = {}
    for batch in table.batches(resamples):
        draws = bootstrap.draw(table.columns_of(batch), table.plan, resamples=resamples, seed=seed)
        for place in batch:
            maker = _Maker(draws, f"{place}\0", len(chosen), len(table.item))
            maker.encoder = "" if encoder is None else encoder.name
            comparison.systems.append(
                maker.system(table, place)
                if (table.places[place] >= 0).all()
                else _alone(systems[place], resamples, seed)
            )
            if place:
                pair = maker.pair(table, place)
                comparison.pairs.append(pair)
                own = maker.kept()
                if place == 1:
                    baseline = own
                else:
                    comparison.gains.append(
                        _gain(systems[1].name, pair, own, baseline, draws.signature)
                    )
    _note_gaps(comparison)
    return comparison


def _alone(system: System, resamples: int, seed: int) -> SystemSummary:
    """A system that answers items which the reference lacks, on all of its own items."""
    table = Aligned([system])
    draws = bootstrap.draw(table.columns_of([0]), table.plan, resamples=resamples, seed=seed)
    return _Maker(draws, "0\0", 0, len(table.item)).system(table, 0)


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
_KEPT = ("agreement", "kappa", "agreement_when_wrong", "bleu", "equation_f1")


class _Maker:
    """Makes the records of one system from the draws."""

    def __init__(self, draws: Draws, prefix: str, texts: int, items: int) -> None:
        self.draws, self.prefix, self.encoder = draws, prefix, ""
        self.sampled = f"|items:{texts}of{items}" if texts < items else ""

    def system(self, table: Aligned, place: int) -> SystemSummary:
        own = table.systems[place]
        measures = {
            "accuracy": self._measure(
                "accuracy", bootstrap.ratio("right_own", "known_own"), "accuracy:flexible"
            ),
            "invalid": self._measure(
                "invalid", bootstrap.ratio("invalid_own", "present"), "invalid:flexible"
            ),
        }
        for name, top, bottom in (
            ("score", "score", "scored"),
            ("self_agreement", "own_agreement", "own_sampled"),
        ):
            if self._has(bottom):
                measures[name] = self._measure(name, bootstrap.ratio(top, bottom), name)
        if self._has("calibrated"):
            for name, statistic in CALIBRATION.items():
                measures[name] = self._measure(name, statistic, f"{name}|options:softmax")
        return SystemSummary(own.name, len(own.headline), measures)

    def pair(self, table: Aligned, place: int) -> Pair:
        measures: dict[str, Estimate] = {}
        gold = self._has("known") and self._total("known") > 0
        for name, (statistic, kind) in PAIR_MEASURES.items():
            if name == "kappa" and not gold:
                measures[name] = self._measure(
                    name, MEASURES["cohen_kappa"], "kappa:cohen|gold:none"
                )
            elif name in _NEEDS_GOLD and not gold:
                measures[name] = absent("gold answers")
            elif not self._defined(name):
                measures[name] = absent(_missing(name))
            else:
                kind = "kappa:accuracy-corrected|within-task" if name == "kappa" else kind
                measures[name] = self._measure(name, statistic, kind)
        measures |= self._extras()
        measures["mcnemar_p"] = self._mcnemar() if gold else absent("gold answers")
        names = table.systems[0].name, table.systems[place].name
        return Pair(*names, table.matched[place], measures)

    def _extras(self) -> dict[str, Estimate]:
        """Overlaps that were asked for by name: other conventions of BLEU, and an encoder's."""
        kinds = {measure_name(name): how.signature for name, how in CONVENTIONS.items()}
        for name in LIKENESS:
            kinds[name] = f"{name}|encoder:{self.encoder}"
            kinds[f"{name}_floor"] = f"{kinds[name]}|floor:other-item"
        found = {}
        for name, kind in kinds.items():
            if f"{self.prefix}{name}_n" in self.draws.place:
                has = self._has(f"{name}_n")
                ratio = bootstrap.ratio(name, f"{name}_n")
                found[name] = self._measure(name, ratio, kind) if has else absent(_missing("bleu"))
        return found

    def kept(self) -> dict[str, tuple[float, Array]]:
        """Values and resamples of the measures that gains are taken of."""
        found = {}
        for name in _KEPT:
            statistic = PAIR_MEASURES[name][0]
            if self._defined(name):
                found[name] = self.draws.apply(statistic, self.prefix)
        if self._has("known_own"):
            found["accuracy"] = self.draws.apply(
                bootstrap.ratio("right_own", "known_own"), self.prefix
            )
        return found

    def _measure(self, name: str, statistic: Statistic, kind: str) -> Estimate:
        found = bootstrap.estimate(self.draws, statistic, prefix=self.prefix)
        ofall = name in MEASURES or name in _PROPORTIONS or name in OPTION_MEASURES
        sampled = self.sampled if not ofall else ""
        signature = f"{kind}{sampled}|{found.signature}"
        if not math.isfinite(found.estimate):
            return absent("defined values", signature)
        if name in _PROPORTIONS and found.estimate in (0.0, 1.0):
            # All or none: resamples never differ, so the score interval stands in.
            n = round(self._total(_PROPORTIONS[name]))
            return wilson(n * found.estimate, n)._replace(signature=f"{kind}|wilson95")
        return found._replace(signature=signature)

    def _mcnemar(self) -> Estimate:
        gained, lost = round(self._total("gained")), round(self._total("lost"))
        p = mcnemar_p(gained, lost)
        return Estimate(
            p, p=p, n=gained + lost, signature=f"mcnemar:exact|two-sided|split:{gained}:{lost}"
        )

    def _has(self, column: str) -> bool:
        return self.prefix + column in self.draws.place and self._total(column) > 0

    def _total(self, column: str) -> float:
        return float(self.draws.observed[:, self.draws.place[self.prefix + column]].sum())

    def _defined(self, name: str) -> bool:
        return self._has(_base(name))


def _base(name: str) -> str:
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


def _missing(name: str) -> str:
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
    return reasons[_base(name)]


def absent(what: str, signature: str = "") -> Estimate:
    """The record of a measure that cannot be computed, saying why."""
    return Estimate(
        math.nan, signature=f"absent:needs {what}" + (f"|{signature}" if signature else "")
    )


def _gain(
    baseline: str,
    pair: Pair,
    own: Mapping[str, tuple[float, Array]],
    base: Mapping[str, tuple[float, Array]],
    signature: str,
) -> Pair:
    """How much more a system shares with the reference than the baseline does, paired by item."""
    measures = {}
    for name in own.keys() & base.keys():
        (a, drawn_a), (b, drawn_b) = own[name], base[name]
        low, high = bootstrap.interval(drawn_a - drawn_b)
        p = bootstrap.p_value(drawn_a - drawn_b)
        label = "gain_in_accuracy" if name == "accuracy" else f"gain_in_{name}"
        measures[label] = Estimate(
            a - b,
            low,
            high,
            p=p,
            n=pair.n,
            signature=f"{name}:difference|{signature}|ci:percentile95",
        )
    return Pair(baseline, pair.other, pair.n, dict(sorted(measures.items())))


def _note_gaps(comparison: Comparison) -> None:
    """Say what could not be computed, once for all pairs."""
    for summary in comparison.systems:
        if summary.measures["invalid"].estimate == 1.0:
            comparison.notes.append(f"{summary.name}: no answer is valid")
        if not math.isfinite(summary.measures["accuracy"].estimate):
            comparison.notes.append(f"{summary.name}: no gold answers, so accuracy is not known")
    for pair in comparison.pairs:
        if pair.n == 0:
            comparison.notes.append(
                f"{pair.other} shares no item with {pair.reference}: nothing is compared"
            )
    if comparison.pairs:
        comparison.notes.append(
            "each file is one run: intervals cover the choice of items, not training seeds; "
            "a claim about a method needs three seeds or more"
        )
