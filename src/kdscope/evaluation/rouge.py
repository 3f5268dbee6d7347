"""ROUGE-L with stemming, as MiniLLM scores instruction following.

Tokens and stems are rouge-score's; the longest common subsequence is rapidfuzz's, which is a
hundred times faster and gives the same number.

Source: Lin 2004, "ROUGE"; Gu et al. 2024, arXiv:2306.08543.
"""

from functools import lru_cache
from typing import Any

from rapidfuzz.distance import LCSseq


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # slow

    return DefaultTokenizer(use_stemmer=True)


@lru_cache(maxsize=20_000)
def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_tokenizer().tokenize(text))


def rouge_l(text: str, reference: str) -> float:
    """F-measure in [0, 1] of the longest common subsequence of stemmed tokens."""
    ours, theirs = _tokens(text), _tokens(reference)
    common = LCSseq.similarity(ours, theirs)
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0
