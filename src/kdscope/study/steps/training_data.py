"""Training text as steps receive it: loaded, split, encoded."""

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from kdscope.data.collation import Encoded, encode
from kdscope.data.prompts import find_template
from kdscope.data.records import Example
from kdscope.data.sources import examples_of
from kdscope.distillation.paper_text import every_token


class TrainingText(NamedTuple):
    """Encoded examples, those held out for validation, and how many did not fit."""

    train: list[Encoded]
    validation: list[Encoded]
    cut: int
    dropped: int

    def with_prompts(self) -> "TrainingText":
        """The same, every token supervised, the prompt's included: `positions: every` of a step."""
        return self._replace(
            train=[every_token(example) for example in self.train],
            validation=[every_token(example) for example in self.validation],
        )

    def measures(self) -> dict[str, int]:
        """For the manifest."""
        return {
            "examples": len(self.train),
            "cut_examples": self.cut,
            "dropped_examples": self.dropped,
        }


def split_examples(
    data: Mapping[str, Any], path: str | None
) -> tuple[list[Example], list[Example]]:
    """Training and validation examples of a step's ``data`` field; the split is keyed by its seed."""
    examples = examples_of(data, path)
    held = int(data["validation"])
    validation: list[Example] = []
    if held:
        chosen = set(random.Random(data["split_seed"]).sample(range(len(examples)), held))
        validation = [example for i, example in enumerate(examples) if i in chosen]
        examples = [example for i, example in enumerate(examples) if i not in chosen]
    limit = data["limit"]
    return examples[:limit] if limit else examples, validation


def training_text(
    data: Mapping[str, Any], path: str | None, tokenizer: Any, prompt: str, max_length: int
) -> TrainingText:
    """The reference text of a training step."""
    examples, validation = split_examples(data, path)
    template = find_template(prompt, tokenizer)
    encoded = encode(examples, tokenizer, template, max_length)
    held = encode(validation, tokenizer, template, max_length).examples if validation else []
    return TrainingText(encoded.examples, held, encoded.cut, encoded.dropped)
