"""The teacher's hidden states on the training text, computed once for every student, method and seed."""

from pathlib import Path
from typing import Any

from kdscope.distillation.cache import write_cache
from kdscope.distillation.signals import LiveTeacher
from kdscope.models.loading import load_tokenizer, padding_id
from kdscope.study.context import StepContext
from kdscope.study.steps.teacher import load_teacher
from kdscope.study.steps.teacher_texts import with_teacher_text
from kdscope.study.steps.training_data import training_text


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Read every training sequence once; leaves shards, an index and the teacher's head."""
    reference, data = fields["teacher"], fields["data"]
    tokenizer = load_tokenizer(reference, context.locations.get(reference["name"]))
    place = context.locations.get(data["name"])
    text = training_text(data, place, tokenizer, fields["prompt"], fields["max_length"])
    examples = text.train
    if fields["sequences"] == "teacher":
        examples = with_teacher_text(examples, inputs["texts"][0])
    tokens = write_cache(
        out,
        examples,
        LiveTeacher(load_teacher(fields, inputs, context)),
        pad_id=padding_id(tokenizer),
        about=cache_subject(fields),
        progress=context.progress,
    )
    return {"tokens": tokens, "cached_examples": len(examples)}


def cache_subject(fields: dict[str, Any]) -> dict[str, Any]:
    """What a cache belongs to, as noted in it and compared when it is opened."""
    return {
        "teacher": fields["teacher"],
        "adapted": fields["adapted"],
        "prompt": fields["prompt"],
        "sequences": fields["sequences"],
    }
