"""Reading a server's log-probabilities: which tokens it means, and whether they are the tokenizer's own.

Two forms are understood: ``prompt_logprobs`` of vLLM (a mapping from token id to ``{"logprob": x}`` per
position), and ``logprobs`` with ``tokens`` and ``top_logprobs``, whose strings are ``token_id:7``, the
tokenizer's entries, or decoded text. Strings are taken only if each belongs to one token. Every position
must be of the token that was sent: another tokenizer, or a token put in front, is refused.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from kdscope.data.collation import Encoded
from kdscope.distillation.targets import ABSENT
from kdscope.errors import ModelError

_MARK = "token_id:"
_SLACK = 1e-3  # by which rounded probabilities may sum to more than 1
_HINT = "serve token ids (vLLM: --return-tokens-as-token-ids), with the tokenizer of the study"


class GarbledError(Exception):
    """An answer without the form of one; another try may mend it."""


class Row(NamedTuple):
    """The token that was sent at a position, and log-probabilities by token id."""

    token: int
    logprobs: dict[int, float]


class TokenReader:
    """Turns a server's choice into the k most probable tokens of an example's supervised positions.

    Args:
        tokenizer: of the study.
        k: tokens per position.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, k: int) -> None:
        self.vocabulary = len(tokenizer)
        self.k = min(k, self.vocabulary)
        numbers = range(self.vocabulary)
        entries: Any = tokenizer.convert_ids_to_tokens(list(numbers))
        decoded: Any = [tokenizer.decode([i]) for i in numbers]
        self._spellings = (_Spelling(entries), _Spelling(decoded))

    def rows(self, choice: Mapping[str, Any], example: Encoded) -> dict[str, Tensor]:
        """``ids`` ``[N, k]`` (int32, -1 where a position has fewer) and ``logprobs`` ``[N, k]``.

        Raises:
            GarbledError: the choice has not the form, or holds no log-probabilities.
            ModelError: its tokens are not those that were sent.
        """
        sent = [*example.prompt, *example.response]
        try:
            found = self._found(choice, sent, len(example.prompt))
            self._check(found, sent[len(example.prompt) :], example.id)
            kept = [self._most_probable(row.logprobs) for row in found]
        except ModelError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GarbledError(
                f"{type(error).__name__} in its log-probabilities: {error}"
            ) from None
        ids, logprobs = zip(*kept, strict=True)
        return {
            "ids": torch.tensor(ids, dtype=torch.int32),
            "logprobs": torch.tensor(logprobs, dtype=torch.float32),
        }

    def _found(self, choice: Mapping[str, Any], sent: Sequence[int], start: int) -> list[Row]:
        by_id = choice.get("prompt_logprobs")
        if by_id:
            _check_count(len(by_id), sent)
            return [
                Row(sent[i], {int(t): _number(v) for t, v in by_id[i].items()})
                for i in range(start, len(sent))
            ]
        texts = (choice.get("logprobs") or {}).get("tokens")
        if not texts:
            raise GarbledError(
                "no log-probabilities of the prompt: the endpoint must support echo with logprobs"
            )
        tops = choice["logprobs"]["top_logprobs"]
        _check_count(len(texts), sent, spare=1)  # one token that was generated
        read = self._spelling(texts[: len(sent)], sent)
        return [
            Row(read(texts[i]), {read(t): _number(v) for t, v in tops[i].items()})
            for i in range(start, len(sent))
        ]

    def _spelling(self, texts: Sequence[str], sent: Sequence[int]) -> Callable[[str], int]:
        """How the server writes tokens, told from those that are known."""
        if all(text.startswith(_MARK) for text in texts):
            return lambda text: int(text.removeprefix(_MARK))
        for spelling in self._spellings:
            if all(spelling.texts[token] == text for text, token in zip(texts, sent, strict=True)):
                return spelling.token
        other = next(i for i, t in enumerate(texts) if self._spellings[1].texts[sent[i]] != t)
        raise ModelError(
            f"the teacher's server wrote {texts[other]!r} for token {sent[other]} at position {other}, "
            f"which is {self._spellings[1].texts[sent[other]]!r} here: {_HINT}"
        )

    def _check(self, found: Sequence[Row], sent: Sequence[int], name: str) -> None:
        for place, (row, token) in enumerate(zip(found, sent, strict=True)):
            if row.token != token or token not in row.logprobs:
                raise ModelError(
                    f"the teacher's server speaks of other tokens than were sent (response token {place} of "
                    f"example {name!r} is {token}, not among {sorted(row.logprobs)[:5]}): {_HINT}"
                )
            values = row.logprobs.values()
            if not all(value <= _SLACK for value in values):
                raise GarbledError(f"log-probabilities above 0 in example {name!r}")
            total = math.fsum(math.exp(value) for value in values)
            if not 0.0 < total <= 1.0 + _SLACK:
                raise GarbledError(f"probabilities that sum to {total:g} in example {name!r}")

    def _most_probable(self, logprobs: Mapping[int, float]) -> tuple[list[int], list[float]]:
        """The k best real tokens; what a padded head or rounding adds counts with the rest."""
        real = [(value, token) for token, value in logprobs.items() if 0 <= token < self.vocabulary]
        best = sorted(real, key=lambda pair: (-pair[0], pair[1]))[: self.k]
        missing = self.k - len(best)
        ids = [token for _, token in best] + [-1] * missing
        return ids, [min(value, 0.0) for value, _ in best] + [ABSENT] * missing


class _Spelling:
    """One way to write every token; texts that several tokens share name none of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self._tokens: dict[str, int] = {}
        self._shared: set[str] = set()
        for token, text in enumerate(texts):
            if self._tokens.setdefault(text, token) != token:
                self._shared.add(text)

    def token(self, text: str) -> int:
        """The token of a text. Raises ModelError where it is not one."""
        if text in self._shared or text not in self._tokens:
            what = "belongs to several tokens" if text in self._shared else "is no token"
            raise ModelError(
                f"the teacher's server wrote {text!r}, which {what} of this tokenizer: {_HINT}"
            )
        return self._tokens[text]


def _check_count(count: int, sent: Sequence[int], spare: int = 0) -> None:
    if not len(sent) <= count <= len(sent) + spare:
        raise ModelError(
            f"the teacher's server echoed {count} tokens of {len(sent)} that were sent: {_HINT}, and let "
            "it add no opening token of its own"
        )


def _number(value: Any) -> float:
    found = float(value["logprob"] if isinstance(value, Mapping) else value)
    if math.isnan(found):
        raise ValueError("a log-probability that is no number")
    return found
