"""Compare one student's next-token distributions with its teacher's, on three kinds of prefix."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.data.collation import Encoded
from kdscope.data.prompts import encode_prompts, find_template
from kdscope.data.records import Item
from kdscope.fidelity.distributions import TokenComparison, distribution_rows
from kdscope.models.adapters import load_trained, merged
from kdscope.models.loading import load_model, load_tokenizer, padding_id
from kdscope.study.context import StepContext
from kdscope.study.steps.fidelity import generations
from kdscope.study.steps.task_items import task_items
from kdscope.study.steps.teacher import load_teacher

LONGEST = 256  # tokens of a text that are compared


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """The first items of every task; leaves ``distributions.parquet``."""
    reference = fields["model"]
    path = context.locations.get(reference["name"])
    tokenizer = load_tokenizer(reference, path)
    student = load_model(reference, path, context.device)
    if "adapter" in inputs:
        student = merged(load_trained(student, inputs["adapter"][0] / "model"))
    comparison = TokenComparison(
        student.eval(),
        load_teacher(fields, inputs, context),
        pad_id=padding_id(tokenizer),
        vocabulary=len(tokenizer),
    )
    items = [i for t in fields["tasks"] for i in task_items(t, context, fields["items"])]
    template = find_template(fields["prompt"], tokenizer)
    prompts = encode_prompts(
        tokenizer, template, [template.prompt(item.question, item.input) for item in items]
    )
    texts = {
        prefix: _encoded(items, prompts, found, tokenizer, template, _context(student))
        for prefix, found in _texts(items, inputs).items()
    }
    who = {**fields["system"], "reference": fields["teacher_system"]["model"]}
    rows = list(distribution_rows(comparison, texts, who))
    tables.write("distributions", rows, out / "distributions.parquet")
    return {"tokens": sum(len(row["forward_kl"]) for row in rows)}


def _context(model: Any) -> int:
    """Tokens that a model can read; any number where it does not say."""
    return getattr(model.config, "max_position_embeddings", None) or sys.maxsize


def _texts(
    items: Sequence[Item], inputs: Mapping[str, list[Path]]
) -> dict[str, dict[tuple[str, str], tuple[str, bool]]]:
    """By prefix: item -> its text, and whether the text ended by itself."""
    found = {
        "reference": {(i.task, i.item): (i.reference or i.gold, True) for i in items},
    }
    for prefix, role in (("teacher", "teacher_answers"), ("student", "system")):
        found[prefix] = {
            (row["task"], row["item"]): (row["text"], row["finish_reason"] == "stop")
            for row in generations(inputs[role])
            if row["sample"] == 0
        }
    return found


def _encoded(
    items: Sequence[Item],
    prompts: Sequence[Sequence[int]],
    texts: Mapping[tuple[str, str], tuple[str, bool]],
    tokenizer: Any,
    template: Any,
    room: int,
) -> list[Encoded]:
    """Items with their texts as token ids.

    Left out are those whose text is empty and unfinished, or longer than ``room`` with its prompt.
    """
    encoded = []
    for item, prompt in zip(items, prompts, strict=True):
        text, ended = texts.get((item.task, item.item), ("", False))
        tokens = tokenizer(template.response(text), add_special_tokens=False)["input_ids"]
        response = tuple([*tokens, *([tokenizer.eos_token_id] if ended else [])][:LONGEST])
        if response and len(prompt) + len(response) <= room:
            encoded.append(Encoded(f"{item.task}/{item.item}", tuple(prompt), response))
    return encoded
