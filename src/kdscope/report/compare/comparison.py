"""The computation behind ``kdscope compare``: files are read, aligned and measured against the first."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kdscope.errors import UserError
from kdscope.fidelity.bleu_conventions import CONVENTIONS
from kdscope.fidelity.embeddings import Encoder
from kdscope.report.compare.aligned import Aligned, add_texts
from kdscope.report.compare.inputs import System, read_systems
from kdscope.report.compare.maker import Maker
from kdscope.report.compare.measures import PROPORTIONS
from kdscope.report.compare.records import Comparison, Kept, Pair, SystemSummary
from kdscope.report.compare.texts import Progress, choose
from kdscope.stats import bootstrap, flat
from kdscope.stats.bootstrap import RESAMPLES
from kdscope.stats.records import Estimate

TEXT_ROWS = 30_000


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
    baseline: dict[str, Kept] = {}
    for batch in table.batches(resamples):
        draws = bootstrap.draw(table.columns_of(batch), table.plan, resamples=resamples, seed=seed)
        for place in batch:
            maker = Maker(draws, f"{place}\0", len(chosen), len(table.item))
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
    return Maker(draws, "0\0", 0, len(table.item)).system(table, 0)


def _gain(
    baseline: str,
    pair: Pair,
    own: Mapping[str, Kept],
    base: Mapping[str, Kept],
    signature: str,
) -> Pair:
    """How much more a system shares with the reference than the baseline does, paired by item."""
    measures = {}
    for name in own.keys() & base.keys():
        (a, drawn_a, n), (b, drawn_b, _) = own[name], base[name]
        low, high = bootstrap.interval(drawn_a - drawn_b)
        p = bootstrap.p_value(drawn_a - drawn_b)
        label, kind = f"gain_in_{name}", f"{name}:difference"
        found = Estimate(a - b, low, high, p=p, n=pair.n)
        exact = flat.difference(found, n) if name in PROPORTIONS else flat.without(found)
        if exact is found:
            kind += f"|{signature}|ci:percentile95"
        measures[label] = exact._replace(signature=f"{kind}|{exact.signature}".rstrip("|"))
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
