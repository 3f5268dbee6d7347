"""Examples as token ids, and batches of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kdscope.data.prompts import Template, encode_prompts
from kdscope.data.records import Example
from kdscope.errors import DataError

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids; the loss is taken on ``response``, its end token included."""

    id: str
    prompt: tuple[int, ...]
    response: tuple[int, ...]

    @property
    def length(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.response)


class EncodedSet(NamedTuple):
    """Encoded examples, and how many did not fit.

    Attributes:
        examples: those with at least one supervised token.
        cut: examples whose response lost its end.
        dropped: examples whose prompt alone fills the context.
    """

    examples: list[Encoded]
    cut: int
    dropped: int


def encode(
    examples: Iterable[Example], tokenizer, template: Template, max_length: int
) -> EncodedSet:
    """Tokenise training examples; prompt and response apart, so that training and decoding agree.

    Raises:
        DataError: no example has a supervised token within ``max_length`` tokens.
    """
    examples = list(examples)
    prompts = encode_prompts(
        tokenizer, template, [template.training_prompt(e.instruction, e.input) for e in examples]
    )
    responses = tokenizer(
        [template.response(e.output) for e in examples], add_special_tokens=False
    )["input_ids"]
    kept, cut = [], 0
    for example, prompt, response in zip(examples, prompts, responses, strict=True):
        room = max_length - len(prompt)
        if room < 1:
            continue
        whole = [*response, tokenizer.eos_token_id]
        cut += len(whole) > room
        kept.append(Encoded(example.id, tuple(prompt), tuple(whole[:room])))
    if not kept:
        raise DataError(
            f"none of {len(examples)} examples has an answer within max_length = {max_length} tokens: "
            "there is nothing to train on. Raise train.max_length."
        )
    return EncodedSet(kept, cut, len(examples) - len(kept))


class Batch(NamedTuple):
    """Rows padded on the right.

    Attributes:
        input_ids, attention_mask, labels: [B, T]; labels are ``IGNORED`` outside responses, not shifted.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def pad_batch(examples: Sequence[Encoded], pad_id: int) -> Batch:
    """Token ids, mask and labels of some examples."""
    width = max(example.length for example in examples)
    input_ids = torch.full((len(examples), width), pad_id)
    attention_mask = torch.zeros((len(examples), width), dtype=torch.long)
    labels = torch.full((len(examples), width), IGNORED)
    for row, example in enumerate(examples):
        ids = torch.tensor([*example.prompt, *example.response])
        input_ids[row, : example.length] = ids
        attention_mask[row, : example.length] = 1
        labels[row, len(example.prompt) : example.length] = ids[len(example.prompt) :]
    return Batch(input_ids, attention_mask, labels)
