"""BLEU as other code computes it, by name.

The paper reports "BLEU" without naming a tool, and its reference code computes none. These are the
conventions that such a number may follow; they differ by a factor of two on the same texts, so that
none may be compared with another.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Convention(NamedTuple):
    """How a sentence BLEU is made.

    Attributes:
        tokens: splits a text.
        orders: longest n-gram.
        signature: in sacrebleu's manner.
    """

    tokens: Callable[[str], Sequence[str]]
    orders: int
    signature: str


_NLTK = "bleu:sentence-mean|nrefs:1|case:mixed|eff:no|smooth:none"

CONVENTIONS: dict[str, Convention] = {
    "nltk": Convention(str.split, 4, f"{_NLTK}|tok:blanks|orders:4|as:nltk"),
    "nltk-bleu1": Convention(str.split, 1, f"{_NLTK}|tok:blanks|orders:1|as:nltk"),
    "nltk-characters": Convention(list, 4, f"{_NLTK}|tok:characters|orders:4|as:nltk"),
}
"""``nltk``: nltk's ``sentence_bleu`` of words split at blanks, unsmoothed, so that a text without a
common 4-gram scores 0. ``nltk-bleu1``: words alone. ``nltk-characters``: what nltk makes of two strings
that nobody split, BLEU over characters, a common mistake. All from 0 to 100."""


class Grams(NamedTuple):
    """The n-grams of a text by order, and its length in tokens."""

    counts: list[Counter[tuple[str, ...]]]
    length: int


def prepare(text: str, convention: Convention) -> Grams:
    """Count a text's n-grams."""
    tokens = convention.tokens(text)
    counts = [
        Counter(zip(*(tokens[shift:] for shift in range(order)), strict=False))
        for order in range(1, convention.orders + 1)
    ]
    return Grams(counts, len(tokens))


def bleu(other: Grams, reference: Grams) -> float:
    """Sentence BLEU, 0 to 100, by nltk's formula without smoothing."""
    logs = []
    for order, (mine, theirs) in enumerate(zip(other.counts, reference.counts, strict=True)):
        shared = sum(min(count, theirs[gram]) for gram, count in mine.items() if gram in theirs)
        if not shared and not order:
            return 0.0
        # nltk puts the smallest float in place of a precision of 0, which makes the score all but 0.
        logs.append(math.log(shared / mine.total()) if shared else math.log(sys.float_info.min))
    short = other.length <= reference.length
    brevity = math.exp(1 - reference.length / other.length) if short else 1.0
    return 100 * brevity * math.exp(math.fsum(logs) / len(logs))


def measure_name(convention: str) -> str:
    """The measure's name in tables: ``bleu_nltk_characters``."""
    return f"bleu_{convention.replace('-', '_')}"


def score(other: str | None, reference: str | None, convention: str) -> float:
    """One text against its reference, 0 to 100; NaN where a text is absent or empty."""
    how = CONVENTIONS[convention]
    if not other or not reference or not other.strip() or not reference.strip():
        return math.nan
    return bleu(prepare(other, how), prepare(reference, how))
