"""Overlap of texts: sentence and corpus BLEU, chrF++ and ROUGE-L, the reference prepared once.

sacrebleu defines the first two: its tokenizers and formulas are used, and tests hold the values to
its own.
What is faster here is the counting: all n-grams of a text, of all orders, are 60-bit polynomial
hashes in one sorted array with four bits that tell the order, so that two texts are matched with
one binary search. (Two of the few thousand n-grams of a pair collide once in 10^11 pairs.) ROUGE-L
is that of rouge-score without stemming, on rapidfuzz's compiled longest common subsequence.

BLEU and chrF++ run from 0 to 100, ROUGE-L from 0 to 1, as their tools print them.
"""

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import sacrebleu
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

_BLEU = BLEU(effective_order=True)
_CHRF = CHRF(word_order=2)
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_VERSION = f"sacrebleu:{sacrebleu.__version__}"

SIGNATURES: dict[str, str] = {
    "bleu": f"bleu:sentence-mean|nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp|{_VERSION}",
    "corpus_bleu": f"bleu:corpus|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|{_VERSION}",
    "chrf": f"chrf2++:sentence-mean|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|{_VERSION}",
    "rouge_l": "rouge-score:rougeL-fmeasure:mean|stemmer:no|lcs:rapidfuzz",
}
"""How each overlap was obtained, in sacrebleu's manner."""

# Kinds of n-grams in the order of their tags: words for BLEU, characters and words for chrF++.
_WORD_ORDERS, _CHAR_ORDERS, _CHRF_WORD_ORDERS = 4, 6, 2
_KINDS = _WORD_ORDERS + _CHAR_ORDERS + _CHRF_WORD_ORDERS
_TAG = np.uint64(60)
_MASK = np.uint64((1 << 60) - 1)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SCATTER = np.uint64(0xD1342543DE82EF95)


class Text(NamedTuple):
    """A text with its n-grams counted.

    Attributes:
        keys: [n] distinct n-grams of all kinds, sorted: the kind in the upper four bits, a hash
            below.
        counts: [n] how often each occurs.
        totals: [12] number of n-grams of each kind.
        tokens: number of tokens (13a).
        words: lower-case alphanumeric tokens of rouge-score.
    """

    keys: NDArray[np.uint64]
    counts: NDArray[np.int64]
    totals: list[int]
    tokens: int
    words: list[str]


class Overlap(NamedTuple):
    """Overlap of two texts; ``counts`` are BLEU's [10] sufficient statistics for a corpus score."""

    bleu: float
    chrf: float
    rouge_l: float
    counts: tuple[int, ...]


def prepare(text: str) -> Text:
    """Tokenize a text and count its n-grams."""
    tokens = _BLEU.tokenizer(text.rstrip()).split()
    pieces = _CHRF._remove_punctuation(text)
    letters = np.frombuffer("".join(text.split()).encode("utf-32-le", "surrogatepass"), np.uint32)
    keys: list[NDArray[np.uint64]] = []
    _add_ngrams(keys, _hashed(tokens), _WORD_ORDERS)
    _add_ngrams(keys, letters.astype(np.uint64), _CHAR_ORDERS)
    _add_ngrams(keys, _hashed(pieces), _CHRF_WORD_ORDERS)
    distinct, counts = np.unique(np.concatenate(keys), return_counts=True)
    return Text(distinct, counts, [len(part) for part in keys], len(tokens), rouge_words(text))


def _hashed(tokens: list[str]) -> NDArray[np.uint64]:
    return np.array([hash(token) for token in tokens], np.int64).view(np.uint64)


def _add_ngrams(keys: list[NDArray[np.uint64]], symbols: NDArray[np.uint64], orders: int) -> None:
    """Append the tagged hashes of the n-grams of orders 1 to ``orders``, wrapping at 2^64."""
    grams = symbols = (symbols + _BASE) * _SCATTER
    for order in range(orders):
        if order:
            grams = grams[:-1] * _BASE + symbols[order:] if len(grams) else grams
        mixed = (grams ^ (grams >> np.uint64(29))) & _MASK
        keys.append(mixed | (np.uint64(len(keys)) << _TAG))


def rouge_words(text: str) -> list[str]:
    """Tokens of rouge-score without stemming."""
    return _NOT_WORD.sub(" ", text.lower()).split()


def compare(other: Text, reference: Text) -> Overlap:
    """Overlap of a text with its reference."""
    matches = _matches(other, reference)
    counts = (other.tokens, reference.tokens, *matches[:4], *other.totals[:4])
    return Overlap(
        _sentence_bleu(other, reference, matches),
        _chrf(other, reference, matches),
        rouge_l(other.words, reference.words),
        counts,
    )


def _matches(other: Text, reference: Text) -> list[int]:
    """Clipped matches of n-grams, by kind, [12]."""
    if not len(other.keys) or not len(reference.keys):
        return [0] * _KINDS
    place = np.searchsorted(reference.keys, other.keys)
    place[place == len(reference.keys)] = 0
    same = reference.keys[place] == other.keys
    shared = np.minimum(other.counts[same], reference.counts[place[same]])
    kinds = (other.keys[same] >> _TAG).astype(np.intp)
    return np.bincount(kinds, shared, _KINDS).astype(int).tolist()


def _sentence_bleu(other: Text, reference: Text, matches: list[int]) -> float:
    """Sacrebleu's sentence BLEU: exponential smoothing, effective order."""
    if not any(matches[:_WORD_ORDERS]):
        return 0.0
    logs, smooth = [], 1.0
    for correct, total in zip(matches, other.totals[:_WORD_ORDERS], strict=False):
        if not total:
            break
        if not correct:
            smooth *= 2
        logs.append(math.log(correct / total if correct else 1 / (smooth * total)))
    short = other.tokens < reference.tokens
    brevity = math.exp(1 - reference.tokens / other.tokens) if short else 1.0
    return 100 * brevity * math.exp(sum(logs) / len(logs))


def _chrf(other: Text, reference: Text, matches: list[int]) -> float:
    """Sentence chrF++ by sacrebleu's formula."""
    statistics: list[int] = []
    for kind in range(_WORD_ORDERS, _KINDS):
        want = reference.totals[kind]
        statistics += [other.totals[kind] if want else 0, want, matches[kind]]
    return _CHRF._compute_f_score(statistics)


def rouge_l(other: Sequence[str], reference: Sequence[str]) -> float:
    """ROUGE-L F-measure of two token lists."""
    if not other or not reference:
        return 0.0
    common = LCSseq.similarity(other, reference)
    if not common:
        return 0.0
    precision, recall = common / len(other), common / len(reference)
    return 2 * precision * recall / (precision + recall)


def corpus_bleu(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sacrebleu's corpus BLEU (0 to 100) from summed sufficient statistics [..., 10]."""
    counts = np.asarray(counts, float)
    length, wanted, correct, total = (
        counts[..., 0],
        counts[..., 1],
        counts[..., 2:6],
        counts[..., 6:10],
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        zeros = np.cumsum(correct == 0, axis=-1)
        precision = np.where(correct > 0, correct / total, 1 / (2.0**zeros * total))
        mean_log = np.log(precision).mean(axis=-1)
        brevity = np.where(length < wanted, np.exp(1 - wanted / length), 1.0)
        score = 100 * brevity * np.exp(mean_log)
    return np.where((correct.sum(axis=-1) > 0) & (total > 0).all(axis=-1), score, 0.0)


# -- many systems against one reference -------------------------------------------


class ItemOverlap(NamedTuple):
    """Overlaps of all systems on one item: [systems] each; None where a side has no text.

    ``floor`` compares the same texts with the reference's answer to another item of the task.
    """

    place: int
    overlap: list[Overlap | None]
    floor: list[Overlap | None]


def partners(tasks: Sequence[str], items: Sequence[str]) -> NDArray[np.intp]:
    """[I] the other item of the task whose reference answer serves as floor; -1 if none.

    Items are put in the order of a hash of their id, which no data set's order correlates with, and
    each takes its successor; so the pairing depends on the set of items alone.
    """
    partner = np.full(len(items), -1, np.intp)
    by_task: dict[str, list[int]] = {}
    for index, task in enumerate(tasks):
        by_task.setdefault(task, []).append(index)
    for members in by_task.values():
        ring = sorted(members, key=lambda i: (_digest(items[i]), items[i]))
        if len(ring) > 1:
            partner[ring] = ring[1:] + ring[:1]
    return partner


def _digest(item: str) -> bytes:
    return hashlib.sha256(str(item).encode()).digest()


def over_items(
    references: Sequence[str | None],
    systems: Sequence[Sequence[str | None]],
    partner: NDArray[np.intp],
) -> Iterator[ItemOverlap]:
    """Compare every system's text with the reference's, item by item.

    Items are visited along the floor's ring, so that each reference is prepared once and at most a
    few are held at a time, however many there are.
    """
    held: dict[int, Text] = {}

    def prepared(index: int) -> Text | None:
        text = references[index] if index >= 0 else None
        if not text or not text.strip():
            return None
        if index not in held:
            if len(held) >= 4:
                held.pop(next(iter(held)))
            held[index] = prepare(text)
        return held[index]

    for index in _ring_order(partner):
        reference, other = prepared(index), prepared(int(partner[index]))
        overlap: list[Overlap | None] = []
        floor: list[Overlap | None] = []
        for system in systems:
            text = system[index]
            mine = prepare(text) if text is not None and reference is not None else None
            overlap.append(compare(mine, reference) if mine and reference else None)
            floor.append(compare(mine, other) if mine and other else None)
        yield ItemOverlap(index, overlap, floor)


def _ring_order(partner: NDArray[np.intp]) -> Iterator[int]:
    """All indices, each followed by its partner where possible."""
    seen = np.zeros(len(partner), bool)
    for start in range(len(partner)):
        index = start
        while index >= 0 and not seen[index]:
            seen[index] = True
            yield index
            index = int(partner[index])
