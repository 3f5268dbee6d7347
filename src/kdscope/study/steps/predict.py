"""Answers of one system to one task: the headline answer, samples and scored options where asked for."""

from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.data.prompts import find_template
from kdscope.data.tasks import task_of
from kdscope.evaluation.answering import Asking, answer_rows, too_long, with_samples
from kdscope.evaluation.choice_scoring import can_be_scored, choice_rows, unscored
from kdscope.generation.journal import Journal
from kdscope.models.adapters import load_trained, merged
from kdscope.models.loading import load_model, load_tokenizer
from kdscope.models.quantization import quantised
from kdscope.study.context import StepContext
from kdscope.study.steps.task_items import task_items
from kdscope.study.steps.teacher_texts import decoding_of


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Decode and grade every item; leaves ``generations.parquet`` and, if asked, ``choices.parquet``.

    Finished batches are kept in ``context.resume``, so that a killed step repeats whole batches only.
    """
    reference, task = fields["model"], task_of(fields["task"])
    path = context.locations.get(reference["name"])
    tokenizer = load_tokenizer(reference, path)
    model = load_model(reference, path, context.device)
    if "adapter" in inputs:
        model = merged(load_trained(model, inputs["adapter"][0] / "model"))
    model = quantised(model, reference.get("quantize"))
    items = task_items(fields["task"], context, fields["limit"])
    headline = decoding_of(fields["decoding"], task.max_new_tokens, fields["seed"])
    decodings = with_samples(headline, fields["samples"], float(fields["decoding"]["temperature"]))
    batch = min(fields["batch"], context.micro_batch or fields["batch"])
    template = find_template(fields["prompt"], tokenizer)
    asking = Asking(template, decodings, batch, fields.get("sample_limit"))
    context.resume.mkdir(parents=True, exist_ok=True)
    rows = answer_rows(
        model.eval(),
        tokenizer,
        items,
        asking,
        fields["system"],
        journal=Journal(context.resume / "answers.jsonl"),
        progress=context.progress,
    )
    tables.write("generations", rows, out / "generations.parquet")
    measures = {"tokens": sum(row["tokens"] for row in rows), "too_long": too_long(rows)}
    if fields["choices"] and can_be_scored(items):
        scored = choice_rows(
            model,
            tokenizer,
            items,
            template,
            fields["system"],
            statement=task.statement,
            batch_size=batch,
        )
        tables.write("choices", scored, out / "choices.parquet")
        measures["unscored"] = unscored(items, scored)
    right = [row["score"] for row in rows if row["sample"] == 0]
    return {**measures, "accuracy": sum(right) / len(right)}
