"""What does not go with ``evaluate.engine: vllm``, known without loading anything."""

from collections.abc import Iterator, Mapping

from kdscope.generation.vllm_limits import unfit, unfit_temperature
from kdscope.study.config import Decoding, Study
from kdscope.study.references import ModelRef
from kdscope.study.signal_rules import Mistake
from kdscope.study.source import Location


def engine_mistakes(
    study: Study, teachers: Mapping[str, ModelRef], students: Mapping[str, ModelRef]
) -> Iterator[Mistake]:
    """All of them, with their places in the study."""
    if study.evaluate.engine != "vllm":
        return
    own = study.teacher_train
    teacher_lora = own.lora if "lora" in own.model_fields_set else study.train.lora
    tuned = study.teacher_adapted or True in (study.ablations.teacher_adapted or ())
    for role, models, adapted in (
        ("teachers", teachers, teacher_lora is not None and tuned),
        ("students", students, study.train.lora is not None),
    ):
        for i, ref in enumerate(models.values()):
            for reason in unfit(ref.fields, adapted=adapted):
                yield Mistake((role, i), f"cannot be served by evaluate.engine: vllm: {reason}")
    if study.ablations.teacher_quantize:
        message = "rounds weights after they are loaded, which evaluate.engine: vllm cannot serve"
        yield Mistake(("ablations", "teacher_quantize"), message)
    for where, decoding in _decodings(study):
        if reason := unfit_temperature(decoding.temperature):
            yield Mistake((*where, "temperature"), reason)


def _decodings(study: Study) -> Iterator[tuple[Location, Decoding]]:
    yield ("evaluate", "decoding"), study.evaluate.decoding
    yield ("teacher_decoding",), study.teacher_decoding
    for i, decoding in enumerate(study.ablations.decoding or ()):
        yield ("ablations", "decoding", i), decoding
