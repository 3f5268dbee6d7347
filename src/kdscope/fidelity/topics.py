"""The topic of a question, by the words that it uses: a coarse rule, made to be read and checked."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

_WORD = re.compile(r"[a-z]+|[$+]")
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""))


@cache
def topics() -> Mapping[str, frozenset[str]]:
    """Topic -> its words, in the order in which ties are broken; they stand in ``topics.yaml``."""
    text = (Path(__file__).parent / "topics.yaml").read_text(encoding="utf-8")
    return {name: frozenset(words.split()) for name, words in yaml.safe_load(text).items()}


def topic_of(question: str) -> str | None:
    """The topic that most words of a question belong to; None where no word belongs to any.

    The whole text counts, options of a choice included, and a word as often as it is said. In a tie
    the topic that stands first in ``topics.yaml`` wins.
    """
    said = [_forms(word) for word in _WORD.findall(question.lower())]
    counts = {
        name: sum(not words.isdisjoint(forms) for forms in said) for name, words in topics().items()
    }
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else None


def _forms(word: str) -> set[str]:
    """A word as it is and without each ending of a plural that it may have."""
    return {word} | {
        word.removesuffix(ending) + stem for ending, stem in _ENDINGS if word.endswith(ending)
    }
