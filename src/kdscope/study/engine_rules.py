"""What does not go with vLLM for answers or for rollouts, known without loading anything."""

from collections.abc import Iterator, Mapping

from kdscope.generation.vllm_limits import unfit, unfit_temperature
from kdscope.study.config import Decoding, Settings, Study
from kdscope.study.references import ModelRef
from kdscope.study.signal_rules import Mistake
from kdscope.study.source import Location

_ANSWERS, _ROLLOUTS = "evaluate.engine: vllm", "train.rollouts: vllm"


def engine_mistakes(
    study: Study, teachers: Mapping[str, ModelRef], students: Mapping[str, ModelRef]
) -> Iterator[Mistake]:
    """All of them, with their places in the study."""
    tuned = study.train.lora is not None
    if study.evaluate.engine == "vllm":
        yield from _unserved("teachers", teachers, _teachers_adapted(study), _ANSWERS)
        yield from _unserved("students", students, tuned, _ANSWERS)
        if study.ablations.teacher_quantize:
            message = f"rounds weights after they are loaded, which {_ANSWERS} cannot serve"
            yield Mistake(("ablations", "teacher_quantize"), message)
        for where, decoding in _decodings(study):
            if reason := unfit_temperature(decoding.temperature):
                yield Mistake((*where, "temperature"), reason)
    if study.train.rollouts == "vllm":
        if study.evaluate.engine != "vllm":  # else they are named above
            yield from _unserved("students", students, tuned, _ROLLOUTS)
        if study.train.lora is not None and study.train.lora.base != "full":
            message = f"trains over weights in 4 bits, which {_ROLLOUTS} would not have"
            yield Mistake(("train", "lora", "base"), message)
        for where, settings in _settings(study):
            for temperature in settings.sampling_temperature or ():
                if reason := unfit_temperature(temperature):
                    yield Mistake((*where, "sampling_temperature"), reason)


def _teachers_adapted(study: Study) -> bool:
    own = study.teacher_train
    lora = own.lora if "lora" in own.model_fields_set else study.train.lora
    return lora is not None and (
        study.teacher_adapted or True in (study.ablations.teacher_adapted or ())
    )


def _unserved(
    role: str, models: Mapping[str, ModelRef], adapted: bool, setting: str
) -> Iterator[Mistake]:
    for i, ref in enumerate(models.values()):
        for reason in unfit(ref.fields, adapted=adapted):
            yield Mistake((role, i), f"cannot be served by {setting}: {reason}")


def _settings(study: Study) -> Iterator[tuple[Location, Settings]]:
    for name, settings in study.methods.items():
        yield ("methods", name), settings
    yield ("ablations",), study.ablations


def _decodings(study: Study) -> Iterator[tuple[Location, Decoding]]:
    yield ("evaluate", "decoding"), study.evaluate.decoding
    yield ("teacher_decoding",), study.teacher_decoding
    for i, decoding in enumerate(study.ablations.decoding or ()):
        yield ("ablations", "decoding", i), decoding
