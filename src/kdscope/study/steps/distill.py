"""Train a student under a method with a teacher."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from kdscope.data.collation import Encoded
from kdscope.distillation.cache import TeacherCache
from kdscope.distillation.grouped import check_grouped
from kdscope.distillation.noise import TeacherNoise
from kdscope.distillation.paper_text import every_position, every_token
from kdscope.distillation.rollouts import RetokenisedRollouts, Rollouts
from kdscope.distillation.server import ServedTeacher
from kdscope.distillation.shared import SharedTeacher, can_share
from kdscope.distillation.signals import CachedTeacher, LiveTeacher, TeacherSignal
from kdscope.distillation.training import Teaching, fit
from kdscope.divergences import Objective
from kdscope.generation.decoder import Decoder, TransformersDecoder
from kdscope.generation.vllm_student import StudentInVllm
from kdscope.models.adapters import add_adapter, load_trained
from kdscope.models.loading import load_model, load_tokenizer, padding_id
from kdscope.models.quantization import quantised
from kdscope.models.vocabulary import require_one_vocabulary
from kdscope.study.context import StepContext
from kdscope.study.signal_rules import FEW_TOKENS
from kdscope.study.steps.sft import base_of, machine, save
from kdscope.study.steps.teacher import load_teacher
from kdscope.study.steps.teacher_cache import cache_subject, teacher_server
from kdscope.study.steps.teacher_texts import with_teacher_text
from kdscope.study.steps.training_data import training_text


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Train the student; leaves ``model/`` and ``curves.parquet``."""
    reference, train, data = fields["student"], fields["train"], fields["data"]
    path = context.locations.get(reference["name"])
    tokenizer = load_tokenizer(reference, path)
    text = training_text(
        data, context.locations.get(data["name"]), tokenizer, fields["prompt"], train["max_length"]
    )
    examples = text.train
    if fields["sequences"] == "teacher":
        examples = with_teacher_text(examples, inputs["texts"][0])
    written = examples
    if fields.get("positions") == "every":
        text, examples = text.with_prompts(), _every(examples, fields["signal"], tokenizer)
    model = quantised(load_model(reference, path, context.device), base_of(train), trained=True)
    if fields["init"] == "sft":
        student = load_trained(model, inputs["init"][0] / "model", trainable=True)
    else:
        student = add_adapter(model, train["lora"], fields["seed"])
    teaching = _teaching(fields, inputs, context, written, tokenizer, student)
    trained = fit(
        student,
        tokenizer,
        examples,
        objective_of(fields["objective"]),
        train,
        fields["seed"],
        machine(context),
        teaching=teaching,
        validation=text.validation,
    )
    for signal in {teaching.signal, teaching.rollout_signal}:
        if isinstance(signal, SharedTeacher):
            signal.leave()
    return save(trained, out) | text.measures()


def objective_of(fields: dict[str, Any]) -> Objective:
    """A step's ``objective`` field; parameters that have no meaning are null there."""
    given = {name: value for name, value in fields.items() if value is not None}
    if given["name"] == "jsd_normalised":
        given |= {"name": "jsd", "normalised": True}
    return Objective(**given)


def _teaching(
    fields: dict[str, Any],
    inputs: dict[str, list[Path]],
    context: StepContext,
    examples: Sequence[Encoded],
    tokenizer: Any,
    student: torch.nn.Module,
) -> Teaching:
    if fields["signal"] is None:
        return Teaching()
    live: TeacherSignal | None = None
    if _needs_live(fields):
        live = _on_the_spot(fields, inputs, context, tokenizer, student)
    signal = live
    if "cache" in inputs:
        cache = TeacherCache(inputs["cache"][0], cache_subject(fields, tokenizer))
        signal = CachedTeacher(cache, context.device)
    rollouts = None
    if fields["on_policy"]:
        rollouts = _rollouts(fields, examples, context)
    sigma = fields["teacher_noise"]
    if fields["signal"] in FEW_TOKENS:
        check_grouped(objective_of(fields["objective"]), sigma or 0.0)
    noise = TeacherNoise(sigma, fields["seed"], len(tokenizer)) if sigma else None
    return Teaching(signal, rollouts, live if rollouts else None, noise)


def _every(examples: Sequence[Encoded], signal: str | None, tokenizer: Any) -> list[Encoded]:
    """The examples as the paper's reference reads them: divergences everywhere, or the prompt's nll too."""
    if signal is None:
        return [every_token(example) for example in examples]
    return [every_position(example, padding_id(tokenizer)) for example in examples]


def _rollouts(
    fields: dict[str, Any], examples: Sequence[Encoded], context: StepContext
) -> Rollouts:
    """When and how the student's own sequences are used; ``examples`` as they were written."""
    given, seed = fields["on_policy"], fields["seed"]
    probability, temperature = given["probability"], given["sampling_temperature"]
    longest = max(len(example.response) for example in examples)
    decoder: Callable[..., Decoder] = TransformersDecoder
    if given.get("engine") == "vllm":
        student, folder = fields["student"], context.resume / "rollouts"
        path = context.locations.get(student["name"])
        decoder = StudentInVllm(student, path, folder, context.device)
    if not given.get("retokenised"):
        return Rollouts(probability, temperature, longest, seed, decoder=decoder)
    return RetokenisedRollouts(
        probability, temperature, longest, seed, decoder=decoder,
        per_coin=given["sequences_per_coin"],
        prompts={example.id: example.prompt for example in examples},
        max_length=fields["train"]["max_length"],
    )  # fmt: skip


def _on_the_spot(
    fields: dict[str, Any],
    inputs: dict[str, list[Path]],
    context: StepContext,
    tokenizer: Any,
    student: torch.nn.Module,
) -> TeacherSignal:
    """The teacher itself, or its server, once it is known to share the student's tokenizer.

    Where both come from one checkpoint and differ by adapters, the student's base serves both.
    """
    reference = fields["teacher"]
    own = load_tokenizer(reference, context.locations.get(reference["name"]))
    require_one_vocabulary(own, tokenizer, reference["name"], fields["student"]["name"])
    if fields["signal"] == "server":
        return ServedTeacher(teacher_server(fields["server"], context, tokenizer))
    adapter = inputs["teacher"][0] / "model" if fields["adapted"] else None
    if _one_checkpoint(fields) and can_share(student, adapter):
        return SharedTeacher(student, adapter)
    return LiveTeacher(load_teacher(fields, inputs, context))


def _one_checkpoint(fields: dict[str, Any]) -> bool:
    """Whether both models start from the same weights in the same dtype, whatever they are called."""
    one, other = ({k: v for k, v in fields[role].items() if k != "name"}
                  for role in ("teacher", "student"))  # fmt: skip
    return one == other and base_of(fields["train"]) is None


def _needs_live(fields: dict[str, Any]) -> bool:
    return fields["signal"] == "live" or fields["on_policy"] is not None
