"""A number's signature in plain words, for the line under a chart or table.

The full signature stays beside the numbers; here stands only what a reader needs to judge them: how
the intervals were made, which test gave p, and over how many tests p was corrected.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

_SHOWN = 3  # ways of one kind that a caption names


class Way(NamedTuple):
    """What a signature says, each part in words or empty.

    Attributes:
        measure: what was measured, where its name does not say so already.
        kind: how a measure is made that exists in several kinds, as BLEU does.
        interval: how the interval was made.
        test: where p comes from.
        adjusted: the correction of p.
        other: parts that no rule knows, as they stand.
    """

    measure: str = ""
    kind: str = ""
    interval: str = ""
    test: str = ""
    adjusted: str = ""
    other: str = ""


# A part of a signature by pattern: the field of Way that it belongs to, and the words. Empty words
# leave a part to the signature. Parts of one field are joined by commas in the signature's order.
_RULES: tuple[tuple[str, str, str], ...] = (
    ("bootstrap:paired", "interval", "paired bootstrap"),
    ("bootstrap:items?", "interval", "bootstrap of items"),
    ("bootstrap:runs", "interval", "bootstrap of runs"),
    ("bootstrap:nested", "interval", "nested bootstrap"),
    (r"unit:cluster|cluster:(?!item)\w+(\(\d+\))?", "interval", "whole clusters"),
    (r"R:(\d+)", "interval", "{} resamples"),
    ("ci:bca95", "interval", "bias-corrected (BCa)"),
    ("ci:t95", "interval", "Student's t"),
    (r"(ci:)?wilson95:effective-runs", "interval", "Wilson's, effective number of runs"),
    (r"(ci:)?wilson95", "interval", "Wilson's"),
    ("ci:wilson95:of-agreement", "interval", "Wilson's of the agreement"),
    ("ci:tango95", "interval", "Tango's score interval"),
    ("ci:none:resamples-never-differ", "interval", "none where resamples never differ"),
    ("ci:bonett-wright95", "interval", "Bonett and Wright's"),
    ("ci:gaussian-copula95", "interval", "Gaussian copula"),
    ("ci:chi2-95", "interval", "chi-square"),
    (
        r"seeds:.*|seed:.*|strata:.*|unit:item|cluster:item(\(\d+\))?|ci:percentile95|ci:none",
        "",
        "",
    ),
    ("floor:other-item", "kind", "against the reference's answer to another question"),
    (r"blocks:.*|df:.*|groups:.*|floor:.*|improvement|profile|two-sided|discordant:.*", "", ""),
    (r"p:bootstrap-two-sided|p:none-of-n-discordant|bins:.*", "", ""),
    ("t:one-sample", "test", "t-test"),
    ("t:paired", "test", "paired t-test"),
    ("t:one-sided", "test", "one-sided t-test"),
    (r"alternative:(greater|less)", "test", "one-sided"),
    ("alternative:two-sided", "test", "two-sided"),
    (r"(anova|F):one-way", "test", "one-way ANOVA"),
    (r"spearman(:two-sided)?", "test", "Spearman"),
    ("spearman:partial", "test", "partial Spearman"),
    ("spearman:confidence", "test", "Spearman of the confidences"),
    ("p:t-approximation", "test", "t approximation"),
    ("label-permutation", "test", "orders of the labels"),
    (r"exact:(\d+)", "test", "all {} orders"),
    ("permutation:sign-flip", "test", "random signs"),
    ("mcnemar:exact", "test", "McNemar's, exact"),
    ("tost:paired", "test", "two one-sided t-tests (TOST)"),
    ("tost", "test", "two one-sided tests (TOST)"),
    (r"margin:(0\.[0-2]\d*)", "test", "{:points}"),
    (r"margin:(.+)", "test", "margin {}"),
    ("few-items:t", "interval", "wider by Student's t for few texts"),
    ("ci:noncentral-t95", "interval", "noncentral t"),
    ("friedman", "test", "Friedman's test"),
    (r"chi2:\d+", "test", "chi-square"),
    ("within-blocks", "test", "orders within blocks"),
    (r"gee:logit", "test", "clustered logistic model (GEE)"),
    ("mixed:random-block", "test", "mixed model"),
    (r"adjust:holm\((\d+)\)", "adjusted", "Holm over {}"),
    (r"adjust:bh\((\d+)\)", "adjusted", "Benjamini-Hochberg over {}"),
    (r"collapsed:below-sft-by-half-width95-or-invalid>(.+)", "measure", "{:collapse}"),
    ("brier:multiclass", "measure", "over all options"),
    (r"p:bootstrap|cohen-dz:paired|exchangeable|se:.*|reml|likelihood-ratio|ties:mean", "", ""),
    (r"selection:validation|candidates:.*|validation:.*|items-pooled|runs:1|pairs-of:.*", "", ""),
    ("bleu:sentence-mean", "kind", "mean of sentence BLEU"),
    ("bleu:corpus", "kind", "BLEU of all texts as one"),
    (r"chrf2\+\+:sentence-mean", "kind", "mean of sentence chrF++"),
    ("tok:13a", "kind", "words and marks apart (13a)"),
    ("tok:blanks", "kind", "words split at blanks"),
    ("tok:characters", "kind", "single characters"),
    (r"(?:orders|nc):(\d)", "kind", "up to {} in a row"),
    ("smooth:exp", "kind", "exponential smoothing"),
    ("smooth:none", "kind", "no smoothing"),
    (r"nrefs:.*|case:mixed|eff:.*|nw:2|space:no", "", ""),
    (r"sacrebleu:(.+)", "kind", "by sacrebleu {}"),
    ("as:nltk", "kind", "as nltk computes it"),
    ("rouge-score:rougeL-fmeasure:mean", "kind", "longest common subsequence of words, F measure"),
    ("stemmer:no", "kind", "no stemming"),
    ("lcs:rapidfuzz", "", ""),
    ("equations:multiset-f1", "kind", "F measure of the two sets of equations"),
    ("equations:valid-share", "kind", "share of the equations that hold"),
    ("normalised:sorted-operands", "kind", "the order of operands does not count"),
    (r"reasoning:equation-f1>=(.+)", "kind", "same steps: equation F1 of {} or more"),
    (r"\w+:flexible", "kind", "the answer as the flexible extractor reads it"),
    (r"options:softmax", "kind", "probabilities among the options"),
    ("samples:pairwise", "kind", "over all pairs of samples"),
    (r"encoder:(.+)", "kind", "encoder {}"),
    (r"absent:(.+)", "kind", "not known: {}"),
    (r"(self_|expected_)?agreement\w*|cohen_kappa|error_consistency|flips_(up|down)", "", ""),
    ("volume|direction|accuracy_difference|score", "", ""),
    (r"split:(\d+):(\d+)|[a-z]\w*:difference", "", ""),
    (r"collapse-rate:runs|items:.*", "", ""),
    (
        r"nll:options|ece|ace|capa.*|confidence_pearson|consistency:families|kappa:.*|within-task",
        "",
        "",
    ),
)
_FIELDS = Way._fields


def way(signature: str) -> Way:
    """What one signature says, part by part; parts that no rule knows stand in ``other``."""
    found: dict[str, list[str]] = {name: [] for name in _FIELDS}
    for part in filter(None, signature.split("|")):
        place, words = _part(part)
        if place and words:
            found[place].append(words)
    # The draws of a permutation test are written like those of a bootstrap.
    if found["test"] and found["interval"] and found["interval"][0].endswith(" resamples"):
        found["test"].append(found["interval"].pop(0).replace(" resamples", " drawn"))
    return Way(**{name: ", ".join(words) for name, words in found.items()})


def kind_in_words(signature: str) -> str:
    """How a measure is made, e.g. ``mean of sentence BLEU, exponential smoothing``; may be empty."""
    return way(signature).kind


def in_words(signatures: Iterable[str | None]) -> str:
    """How the numbers with these signatures were made, e.g. ``95 % intervals: Wilson's``.

    Ways that differ are joined by "or", the commonest first; seeds of the random draws are left out.
    """
    counted = Counter(way(text) for text in signatures if isinstance(text, str) and text)
    ways = [found for found, _ in counted.most_common()]
    intervals, tests, adjusted = (_joined(ways, name) for name in ("interval", "test", "adjusted"))
    parts = [
        _joined(ways, "measure"),
        f"95\u00a0% intervals: {intervals}" if intervals else "",
        f"p: {tests}" if tests else "",
        f"after {adjusted}" if adjusted and tests else f"p after {adjusted}" if adjusted else "",
        _joined(ways, "other"),
    ]
    return "; ".join(part for part in parts if part).replace("; after ", ", after ")


def _part(part: str) -> tuple[str, str]:
    for pattern, place, words in _RULES:
        match = re.fullmatch(pattern, part)
        if match is not None:
            return place, _filled(words, match)
    return "other", part.replace(":", " ").replace("-", " ").replace("_", " ")


def _filled(words: str, match: re.Match[str]) -> str:
    if words == "{:collapse}":
        share = f"{100 * float(match.group(1)):g}"
        return f"collapsed: below SFT by more than the 95 % half-width, or over {share} % invalid"
    if words == "{:points}":
        return f"margin {100 * float(match.group(1)):g} points"
    if "{}" not in words:
        return words
    value = match.group(match.re.groups)
    return words.format(f"{int(value):,}" if value.isdigit() else value)


def _joined(ways: list[Way], field: str) -> str:
    every = list(dict.fromkeys(found for one in ways if (found := getattr(one, field))))
    if field == "adjusted":
        return _corrections(every)
    more = f" (and {len(every) - _SHOWN} more ways)" if len(every) > _SHOWN else ""
    return ", or ".join(every[:_SHOWN]) + more


def _corrections(every: list[str]) -> str:
    """Corrections of one name over several sizes as one range: ``Holm over 4 to 16``."""
    sizes: dict[str, list[int]] = {}
    for text in every:
        name, _, size = text.rpartition(" over ")
        sizes.setdefault(name, []).append(int(size.replace(",", "")))
    spans = [
        f"{name} over {min(found):,}" + (f" to {max(found):,}" if len(set(found)) > 1 else "")
        for name, found in sizes.items()
    ]
    return ", or ".join(spans)
