"""How an answer is decoded, and what comes back."""

from dataclasses import dataclass
from typing import NamedTuple

from kdscope.errors import ConfigError

RUN_ON = (
    "### Instruction:",
    "\nQuestion:",
    "\nQ:",
)  # a model that goes on to ask itself a new question


@dataclass(frozen=True)
class Decoding:
    """Settings of one decoding.

    Attributes:
        max_new_tokens: tokens generated at most.
        temperature: 0 is greedy; otherwise logits are divided by it before sampling.
        seed: with the item's name and the sample's number, the key of every random draw.
        stop: texts that end an answer as ``run_on``; looked for every ``CHECK_EVERY`` tokens.
        top_p: only the most probable tokens that together reach this mass are sampled; 1 is all.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = RUN_ON
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if self.temperature < 0:
            raise ConfigError(f"temperature is {self.temperature}; it must be 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}; it must be above 0 and at most 1")

    @property
    def name(self) -> str:
        """As written in the ``decoding`` column."""
        if self.temperature == 0:
            return "greedy"
        nucleus = "" if self.top_p == 1 else f", p={self.top_p:g}"
        return f"sample(t={self.temperature:g}{nucleus})"


class Completion(NamedTuple):
    """One generated answer.

    Attributes:
        tokens: generated ids, the end token included where there is one.
        finish_reason: ``stop`` (end token), ``length`` (cut) or ``run_on`` (a stop text was written).
        mean_logprob: mean log-probability of the generated tokens at temperature 1, in nats.
    """

    tokens: tuple[int, ...]
    finish_reason: str
    mean_logprob: float
