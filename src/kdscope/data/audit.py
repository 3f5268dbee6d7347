"""Contamination: how many test questions a training set holds, and which.

A question is compared in four ways:

- ``exact``: the same string but for blanks at both ends;
- ``normalised``: lower case, 5.0 = 5, everything but letters and digits removed, blanks too;
- ``template``: the same with every number masked;
- ``ngram``: Jaccard similarity of the sets of word trigrams of at least 0.8.

An item counts as leaked if its normalised question stands in the training set.
"""

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from kdscope.data.records import Example, Item

LEVELS = ("exact", "normalised", "template", "ngram")
JACCARD = 0.8

_WHOLE = re.compile(r"(\d+)\.0+(?!\d)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"\w+")


class Keys(NamedTuple):
    """The strings by which a question is looked up."""

    exact: str
    normalised: str
    template: str


@lru_cache(maxsize=1 << 16)
def question_keys(question: str) -> Keys:
    """The exact, normalised and number-masked spelling of a question."""
    lowered = _lowered(question)
    return Keys(
        exact=question.strip(),
        normalised=_letters(lowered),
        template=_letters(_NUMBER.sub("0", lowered)),
    )


def _lowered(question: str) -> str:
    """Lower case with 5.0 written as 5."""
    lowered = question.lower()
    return _WHOLE.sub(r"\1", lowered) if ".0" in lowered else lowered


def _letters(text: str) -> str:
    """Letters and digits alone."""
    return "".join(_WORD.findall(text)).replace("_", "")


class Found(NamedTuple):
    """Whether a test question stands in the training set, by each comparison."""

    exact: bool
    normalised: bool
    template: bool
    ngram: bool


class Index:
    """The questions of a training set, prepared for look-up.

    Similar questions are found by prefix filtering: two sets of trigrams with Jaccard similarity of
    at least t share one of their ``n - ceil(t n) + 1`` rarest trigrams, so only those are indexed.
    """

    def __init__(self, questions: Iterable[str]) -> None:
        questions = list(dict.fromkeys(questions))
        keys = [question_keys(question) for question in questions]
        self._exact = {key.exact for key in keys}
        self._normalised = {key.normalised for key in keys}
        self._template = {key.template for key in keys}
        self._words: dict[str, int] = {}
        sets = [self._trigrams(question, grow=True) for question in questions]
        self._frequency = Counter(chain.from_iterable(sets))
        self._sets = [array("q", self._rarest_first(trigrams)) for trigrams in sets]
        self._places: dict[int, list[int]] = defaultdict(list)
        for place, trigrams in enumerate(self._sets):
            for trigram in trigrams[: _prefix(len(trigrams))]:
                self._places[trigram].append(place)

    def find(self, question: str) -> Found:
        """Whether a question is here, by each comparison."""
        key = question_keys(question)
        return Found(
            key.exact in self._exact,
            key.normalised in self._normalised,
            key.template in self._template,
            self._has_similar(question),
        )

    def _trigrams(self, question: str, *, grow: bool) -> set[int]:
        """Word trigrams as integers; a word unknown to the training set has its own."""
        words = _WORD.findall(_lowered(question))
        if grow:
            numbers = [self._words.setdefault(word, len(self._words)) for word in words]
        else:
            numbers = [self._words.get(word, (1 << 20) + place) for place, word in enumerate(words)]
        numbers = numbers if len(numbers) > 2 else [*numbers, *[(1 << 21) - 1] * (3 - len(numbers))]
        triples = zip(numbers, numbers[1:], numbers[2:], strict=False)
        return {(a << 42) | (b << 21) | c for a, b, c in triples}

    def _rarest_first(self, trigrams: Iterable[int]) -> list[int]:
        """Known trigrams by frequency, then by number: one order for questions of both sides."""
        return sorted(sorted(trigrams), key=self._frequency.__getitem__)

    def _has_similar(self, question: str) -> bool:
        trigrams = self._trigrams(question, grow=False)
        known = [trigram for trigram in trigrams if trigram in self._frequency]
        size, seen = len(trigrams), set()
        room = _prefix(size) - (size - len(known))  # unknown trigrams are the rarest
        for trigram in self._rarest_first(known)[: max(0, room)]:
            for place in self._places.get(trigram, ()):
                if place not in seen and self._similar(trigrams, self._sets[place]):
                    return True
                seen.add(place)
        return False

    @staticmethod
    def _similar(trigrams: set[int], other: "array[int]") -> bool:
        size = len(trigrams)
        if not JACCARD * size <= len(other) <= size / JACCARD:
            return False
        shared = len(trigrams.intersection(other))
        return shared >= JACCARD * (size + len(other) - shared)


def _prefix(size: int) -> int:
    return size - math.ceil(JACCARD * size) + 1


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        rows: one per test in the order given, with the columns ``test, n, exact, normalised,
            template, ngram``: numbers of test items found.
        leaked: by test, the ids of the items whose normalised question is in the training set.
    """

    rows: list[dict[str, Any]]
    leaked: dict[str, frozenset[str]]


def audit(train_examples: Iterable[Example], test_items: Iterable[Item]) -> Audit:
    """Look every test item up in a training set; items are grouped by their task."""
    index = Index(_text(example.instruction, example.input) for example in train_examples)
    tests: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for item in test_items:
        tests[item.task].append((item.item, _text(item.question, item.input)))
    return audit_questions(index, tests)


def audit_questions(index: Index, tests: dict[str, list[tuple[str, str]]]) -> Audit:
    """The same for questions as pairs of id and text, by the name of their test."""
    rows, leaked = [], {}
    for test, questions in tests.items():
        found = [(id, index.find(question)) for id, question in questions]
        counts = {level: sum(getattr(hit, level) for _, hit in found) for level in LEVELS}
        rows.append({"test": test, "n": len(questions), **counts})
        leaked[test] = frozenset(id for id, hit in found if hit.normalised)
    return Audit(rows, leaked)


def duplicates(questions: Iterable[str]) -> int:
    """How many questions repeat an earlier one of the same set (normalised)."""
    spelled = [question_keys(question).normalised for question in questions]
    return len(spelled) - len(set(spelled))


def decontaminate(
    train_examples: Sequence[Example], test_items: Iterable[Item], *, level: str = "normalised"
) -> list[Example]:
    """The training examples whose question stands in no test; tests are never touched.

    Args:
        train_examples: what may be dropped.
        test_items: what must not be seen.
        level: the comparison, one of ``LEVELS``.
    """
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
    index = Index(_text(item.question, item.input) for item in test_items)
    return [
        example
        for example in train_examples
        if not getattr(index.find(_text(example.instruction, example.input)), level)
    ]


def _text(question: str, input: str) -> str:
    return f"{question} {input}".strip() if input else question
