"""What every decoding engine can do, and the default one: transformers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdscope.generation.decoding import context_of, generate
from kdscope.generation.journal import Journal
from kdscope.generation.settings import Completion, Decoding


class Decoder(Protocol):
    """One model that answers: token ids in, token ids out, nothing is tokenised twice."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's."""
        ...

    @property
    def context(self) -> int | None:
        """Tokens that a prompt and its answer may have together; None where nobody says."""
        ...

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        decoding: Decoding,
        *,
        progress: Callable[[int, int], None] | None = None,
        journal: Journal | None = None,
    ) -> list[Completion]:
        """Answers to ``prompts`` in their order, see :func:`kdscope.generation.decoding.generate`."""
        ...


@dataclass(frozen=True)
class TransformersDecoder:
    """A model of transformers in this process.

    Attributes:
        model: in evaluation mode.
        tokenizer: the model's.
        batch_size: rows per batch; part of the answers' identity to the last bit.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batch_size: int = 64

    @property
    def context(self) -> int | None:
        """Tokens that a prompt and its answer may have together."""
        return context_of(self.model.config)

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        decoding: Decoding,
        *,
        progress: Callable[[int, int], None] | None = None,
        journal: Journal | None = None,
    ) -> list[Completion]:
        """Answers to ``prompts``, in their order."""
        return generate(
            self.model, self.tokenizer, prompts, keys, decoding,
            batch_size=self.batch_size, progress=progress, journal=journal,
        )  # fmt: skip
