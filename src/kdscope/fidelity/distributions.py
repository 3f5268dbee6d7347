"""Distributions token by token: how far the student's is from its teacher's, and on whose text.

Every item is read three times: after its reference text, after the teacher's own answer and after
the student's. What the student does worse on its own prefixes than on the reference is exposure
bias: it is asked there about situations that training never showed.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from kdscope.data.collation import Encoded, pad_batch
from kdscope.divergences import model_head
from kdscope.divergences.tokens import TokenMeasures, measure_tokens
from kdscope.models.adapters import plain
from kdscope.models.states import supervised_states, take_head_out

PREFIXES = ("reference", "teacher", "student")
_BATCH = 16


class TokenComparison:
    """A student and its teacher, ready to be compared on texts.

    Args:
        student: causal language model in evaluation mode; its head is taken out.
        teacher: the same.
        pad_id: fills rows up.
        vocabulary: number of real tokens.
    """

    def __init__(self, student: Any, teacher: Any, *, pad_id: int, vocabulary: int) -> None:
        self.pad_id, self.vocabulary = pad_id, vocabulary
        self.models: list[nn.Module] = [student, teacher]
        self.heads = [model_head(plain(model)) for model in self.models]
        for model in self.models:
            model.requires_grad_(False)
            take_head_out(model)

    @torch.no_grad()
    def measure(self, examples: Sequence[Encoded]) -> Iterator[TokenMeasures]:
        """Measures at the response tokens of each example, in order."""
        device = self.heads[0].weight.device
        for start in range(0, len(examples), _BATCH):
            part = examples[start : start + _BATCH]
            batch = [tensor.to(device) for tensor in pad_batch(part, self.pad_id)]
            student, teacher = (supervised_states(model, *batch)[0] for model in self.models)
            found = measure_tokens(
                student, self.heads[0], teacher, self.heads[1], vocab_size=self.vocabulary
            )
            lengths = [len(example.response) for example in part]
            yield from map(
                TokenMeasures._make,
                zip(*(column.split(lengths) for column in found), strict=True),
            )


def distribution_rows(
    comparison: TokenComparison,
    texts: Mapping[str, Sequence[Encoded]],
    who: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Rows of the ``distributions`` table: one per prefix and item, lists over tokens.

    Args:
        comparison: the pair of models.
        texts: prefix (one of :data:`PREFIXES`) -> encoded items, whose ids are ``task/item``.
        who: the columns that name the pair.
    """
    for prefix, examples in texts.items():
        for example, found in zip(examples, comparison.measure(examples), strict=True):
            task, _, item = example.id.partition("/")
            yield {
                **who,
                "prefix": prefix,
                "task": task,
                "item": item,
                **{name: values.tolist() for name, values in found._asdict().items()},
            }
