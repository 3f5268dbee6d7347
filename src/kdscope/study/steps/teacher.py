"""The teacher as other steps need it: base weights, with its adapter if it was fine-tuned."""

from pathlib import Path
from typing import Any

from kdscope.study.answering_model import AnsweringModel
from kdscope.study.context import StepContext


def teacher_of(
    fields: dict[str, Any], inputs: dict[str, list[Path]], context: StepContext
) -> AnsweringModel:
    """The teacher of a step, with its adapter if it was fine-tuned."""
    reference = fields["teacher"]
    adapter = inputs["teacher"][0] / "model" if fields["adapted"] else None
    path = context.locations.get(reference["name"])
    return AnsweringModel(reference, path, adapter, context.device)


def load_teacher(
    fields: dict[str, Any], inputs: dict[str, list[Path]], context: StepContext
) -> Any:
    """The teacher of a step, adapter folded in and then rounded as its entry says, in evaluation mode."""
    return teacher_of(fields, inputs, context).model
