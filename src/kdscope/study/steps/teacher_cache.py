"""The teacher's hidden states on the training text, computed once for every student, method and seed."""

from pathlib import Path
from typing import Any

from kdscope.data.prompts import find_template, template_digest
from kdscope.distillation.cache_writing import Source, write_cache
from kdscope.distillation.paper_text import every_position
from kdscope.distillation.server import ServedTopK, TeacherServer
from kdscope.distillation.server_tokens import TokenReader
from kdscope.distillation.signals import LiveTeacher
from kdscope.distillation.sources import ExactStates, Int8States, TopKStates
from kdscope.models.loading import load_tokenizer, padding_id
from kdscope.models.vocabulary import vocabulary_digest
from kdscope.study.context import SERVER, StepContext
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
    if fields.get("positions") == "every":
        examples = [every_position(example, padding_id(tokenizer)) for example in examples]
    written = write_cache(
        out,
        examples,
        _source(fields, inputs, context, tokenizer),
        about=cache_subject(fields, tokenizer),
        parts=context.resume,
        progress=context.progress,
        announce=print,  # into the step's log
    )
    return {
        "tokens": written.tokens, "bytes": written.bytes, "cached_examples": len(examples),
        **written.measures,
    }  # fmt: skip


def _source(
    fields: dict[str, Any], inputs: dict[str, list[Path]], context: StepContext, tokenizer: Any
) -> Source:
    if fields.get("server"):
        return ServedTopK(teacher_server(fields["server"], context, tokenizer))
    teacher = LiveTeacher(load_teacher(fields, inputs, context))
    if fields["top_k"]:
        return TopKStates(teacher, padding_id(tokenizer), len(tokenizer), fields["top_k"])
    if fields["cache_dtype"] == "int8":
        return Int8States(teacher, padding_id(tokenizer), len(tokenizer))
    return ExactStates(teacher, padding_id(tokenizer))


def teacher_server(served: dict[str, Any], context: StepContext, tokenizer: Any) -> TeacherServer:
    """The endpoint of a step's ``server`` field; where it is, the run says."""
    reader = TokenReader(tokenizer, served["top_k"])
    return TeacherServer(context.locations[SERVER], served["model"], reader)


def cache_subject(fields: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """What a cache belongs to, as noted in it and compared when it is opened.

    The tokenizer is the teacher's when it is written and the student's when it is read.
    """
    return {
        "teacher": fields["teacher"],
        "adapted": fields["adapted"],
        "prompt": fields["prompt"],
        "template": template_digest(find_template(fields["prompt"])),
        "tokenizer": vocabulary_digest(tokenizer),
        "sequences": fields["sequences"],
        **({"server": fields["server"]} if fields.get("server") else {}),
    }
