"""Fine-tune a model on the reference text: the teacher, and every SFT student."""

from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.distillation.training import Machine, Teaching, Trained, fit
from kdscope.divergences import Objective
from kdscope.models.adapters import add_adapter, save_trained
from kdscope.models.loading import load_model, load_tokenizer
from kdscope.models.quantization import quantised
from kdscope.study.context import StepContext
from kdscope.study.steps.training_data import training_text
from kdscope.study.store import METRICS


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Train with negative log-likelihood; leaves ``model/`` and ``curves.parquet``."""
    reference, train, data = fields["model"], fields["train"], fields["data"]
    path = context.locations.get(reference["name"])
    tokenizer = load_tokenizer(reference, path)
    text = training_text(
        data, context.locations.get(data["name"]), tokenizer, fields["prompt"], train["max_length"]
    )
    if fields.get("positions") == "every":
        text = text.with_prompts()
    model = quantised(load_model(reference, path, context.device), base_of(train), trained=True)
    model = add_adapter(model, train["lora"], fields["seed"])
    trained = fit(
        model,
        tokenizer,
        text.train,
        Objective("nll"),
        train,
        fields["seed"],
        machine(context),
        teaching=Teaching(),
        validation=text.validation,
    )
    return save(trained, out) | text.measures()


def base_of(train: dict[str, Any]) -> str | None:
    """How the weights below the adapters are rounded while they are trained: ``nf4``, or not at all."""
    base = (train["lora"] or {}).get("base", "full")
    return None if base == "full" else base


def machine(context: StepContext) -> Machine:
    """The step's machine as the trainer knows it."""

    def on_step(done: int, total: int, loss: float) -> None:
        context.progress(done, total, loss=loss)

    return Machine(
        context.device, context.micro_batch, context.resume, on_step, context.reporting,
        context.resume.parent / METRICS,
    )  # fmt: skip


def save(trained: Trained, out: Path) -> dict[str, Any]:
    """Write model and curves; returns the measures of the training."""
    save_trained(trained.model, out / "model")
    (out / "model" / "README.md").unlink(missing_ok=True)
    tables.write("curves", trained.curves, out / "curves.parquet")
    return {
        "tokens": trained.supervised_tokens,
        "optimizer_steps": trained.steps,
        "smallest_micro_batch": trained.micro_batch,
    }
