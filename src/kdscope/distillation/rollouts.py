"""Rollouts: sequences that the student samples while it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from kdscope.data.collation import Encoded
from kdscope.generation.decoding import generate, uniform_draws
from kdscope.generation.settings import Decoding
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
    """

    fraction: float
    temperature: float
    max_new_tokens: int
    seed: int
    batch_size: int = 64

    def chosen(self, optimizer_step: int) -> bool:
        """Whether this optimizer step is on-policy: a coin keyed by seed and step."""
        return bool(uniform_draws(self.seed, f"coin/{optimizer_step}", 1)[0] < self.fraction)

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
        answers = generate(
            model,
            tokenizer,
            [example.prompt for example in examples],
            [f"rollout/{optimizer_step}/{example.id}" for example in examples],
            decoding,
            batch_size=self.batch_size,
        )
        model.train()
        take_head_out(model)
        return [
            Encoded(example.id, example.prompt, answer.tokens)
            for example, answer in zip(examples, answers, strict=True)
        ]
