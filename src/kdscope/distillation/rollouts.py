"""Rollouts: sequences that the student samples while it is trained."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from kdscope.data.collation import Encoded
from kdscope.distillation.paper_text import every_position
from kdscope.generation.decoder import Decoder, TransformersDecoder
from kdscope.generation.decoding import uniform_draws
from kdscope.generation.settings import Decoding
from kdscope.models.loading import padding_id
from kdscope.models.states import put_head_back, take_head_out


@dataclass(frozen=True)
class Rollouts:
    """When and how the student's own sequences replace the reference text.

    Attributes:
        fraction: probability per optimizer step.
        temperature: of the sampling; not that of the loss.
        max_new_tokens: longest rollout.
        seed: keys the coin and every draw.
        batch_size: rows decoded together.
        decoder: called with student, tokenizer and batch size before each rollout.
        per_coin: sequences of a window that share a coin; None for the whole optimizer step.
    """

    fraction: float
    temperature: float
    max_new_tokens: int
    seed: int
    batch_size: int = 64
    decoder: Callable[..., Decoder] = TransformersDecoder
    per_coin: int | None = None

    def chosen(self, optimizer_step: int, count: int) -> list[bool]:
        """For each of ``count`` sequences whether it is a rollout: coins keyed by seed and step."""
        if self.per_coin is None:
            return [self._coin(f"coin/{optimizer_step}")] * count
        blocks = range(math.ceil(count / self.per_coin))
        coins = [self._coin(f"coin/{optimizer_step}/{block}") for block in blocks]
        return [coins[place // self.per_coin] for place in range(count)]

    def _coin(self, key: str) -> bool:
        return bool(uniform_draws(self.seed, key, 1)[0] < self.fraction)

    def sample(
        self,
        model,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[Encoded],
        optimizer_step: int,
    ) -> list[Encoded]:
        """The student's own answers to the prompts of ``examples``, end token kept, not re-tokenised."""
        decoding = Decoding(self.max_new_tokens, self.temperature, self.seed, stop=())
        put_head_back(model)
        model.eval()
        answers = self.decoder(model, tokenizer, self.batch_size).decode(
            [example.prompt for example in examples],
            [f"rollout/{optimizer_step}/{example.id}" for example in examples],
            decoding,
        )
        model.train()
        take_head_out(model)
        return [
            Encoded(example.id, example.prompt, answer.tokens)
            for example, answer in zip(examples, answers, strict=True)
        ]


@dataclass(frozen=True)
class RetokenisedRollouts(Rollouts):
    """Rollouts as the paper's reference makes them: written out, read again, trained on whole.

    Prompt and answer are decoded without special tokens and tokenised anew, so that the end token is
    lost, and every position counts (:func:`every_position`).

    Attributes:
        prompts: prompt of each example by id.
        max_length: tokens that are kept.
    """

    prompts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    max_length: int = 256

    def sample(
        self,
        model,
        tokenizer: PreTrainedTokenizerBase,
        examples: Sequence[Encoded],
        optimizer_step: int,
    ) -> list[Encoded]:
        """The student's own answers to the prompts of these examples, every position supervised."""
        asked = [Encoded(example.id, self.prompts[example.id], ()) for example in examples]
        answered = super().sample(model, tokenizer, asked, optimizer_step)
        return [
            every_position(self._again(tokenizer, example), padding_id(tokenizer))
            for example in answered
        ]

    def _again(self, tokenizer: PreTrainedTokenizerBase, example: Encoded) -> Encoded:
        text = tokenizer.decode([*example.prompt, *example.response], skip_special_tokens=True)
        return Encoded(example.id, tuple(tokenizer(text)["input_ids"][: self.max_length]), ())
