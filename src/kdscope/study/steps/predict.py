"""Answers of one system to one task: the headline answer, and samples where they are asked for."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.data import TEMPLATES, load_items
from kdscope.data.records import Item
from kdscope.evaluation.grading import grade
from kdscope.generation.decoding import generate
from kdscope.generation.settings import Completion, Decoding
from kdscope.models.adapters import load_trained, merged
from kdscope.models.loading import load_model, load_tokenizer
from kdscope.study.context import StepContext
from kdscope.study.steps.teacher_texts import decoding_of

DEFAULT_NEW_TOKENS = 256


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Decode and grade every item; leaves ``generations.parquet``."""
    reference, task = fields["model"], fields["task"]["name"]
    path = context.locations.get(reference["name"])
    tokenizer = load_tokenizer(reference, path)
    model = load_model(reference, path, context.device)
    if "adapter" in inputs:
        model = merged(load_trained(model, inputs["adapter"][0] / "model"))
    items = load_items(task, limit=fields["limit"])
    template = TEMPLATES[fields["prompt"]]
    prompts = [template.prompt(item.question, item.input) for item in items]
    encoded = tokenizer(prompts)["input_ids"]
    rows: list[dict[str, Any]] = []
    for sample, decoding in enumerate(_decodings(fields)):
        answers = generate(
            model.eval(),
            tokenizer,
            encoded,
            [f"{task}/{item.item}/{sample}" for item in items],
            decoding,
            batch_size=fields["batch"],
            progress=context.progress,
        )
        texts = tokenizer.batch_decode([list(a.tokens) for a in answers], skip_special_tokens=True)
        rows += _rows(fields["system"], items, prompts, answers, texts, sample, decoding)
    tables.write("generations", rows, out / "generations.parquet")
    right = [row["score"] for row in rows if row["sample"] == 0]
    return {"tokens": sum(row["tokens"] for row in rows), "accuracy": sum(right) / len(right)}


def _decodings(fields: dict[str, Any]) -> list[Decoding]:
    """Sample 0 is the headline; further ones are drawn at the study's temperature."""
    headline = decoding_of(fields["decoding"], DEFAULT_NEW_TOKENS, fields["seed"])
    drawn = dataclasses.replace(headline, temperature=float(fields["decoding"]["temperature"]))
    return [headline, *[drawn] * fields["samples"]]


def _rows(
    system: dict[str, Any],
    items: Sequence[Item],
    prompts: Sequence[str],
    answers: Sequence[Completion],
    texts: Sequence[str],
    sample: int,
    decoding: Decoding,
) -> list[dict[str, Any]]:
    return [
        {
            **system,
            "task": item.task,
            "item": item.item,
            "sample": sample,
            "decoding": decoding.name,
            "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest()[:16],
            "text": text,
            "finish_reason": answer.finish_reason,
            "tokens": len(answer.tokens),
            "mean_logprob": answer.mean_logprob,
            **grade(text, item)._asdict(),
        }
        for item, prompt, answer, text in zip(items, prompts, answers, texts, strict=True)
    ]
