"""The teacher as other steps need it: base weights, with its adapter if it was fine-tuned."""

from pathlib import Path
from typing import Any

from kdscope.models.adapters import load_trained, merged
from kdscope.models.loading import load_model
from kdscope.models.quantization import quantised
from kdscope.study.context import StepContext


def load_teacher(
    fields: dict[str, Any], inputs: dict[str, list[Path]], context: StepContext
) -> Any:
    """The teacher of a step, adapter folded in and then rounded as its entry says, in evaluation mode."""
    reference = fields["teacher"]
    model = load_model(reference, context.locations.get(reference["name"]), context.device)
    if fields["adapted"]:
        model = merged(load_trained(model, inputs["teacher"][0] / "model"))
    return quantised(model, reference.get("quantize")).eval()
