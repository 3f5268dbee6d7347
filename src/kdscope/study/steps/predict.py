"""Answers of one system to one task: the headline answer, samples and scored options where asked for."""

from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.data.prompts import find_template
from kdscope.data.tasks import task_of
from kdscope.evaluation.answering import Asking, answer_rows, too_long, with_samples
from kdscope.evaluation.choice_scoring import can_be_scored, choice_rows, unscored
from kdscope.generation.journal import Journal
from kdscope.study.answering_model import AnsweringModel
from kdscope.study.config import DEFAULT_ENGINE
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
    trained = inputs["adapter"][0] / "model" if "adapter" in inputs else None
    path = context.locations.get(reference["name"])
    subject = AnsweringModel(reference, path, trained, context.device)
    batch = min(fields["batch"], context.micro_batch or fields["batch"])
    decoder = subject.decoder(fields.get("engine", DEFAULT_ENGINE), batch)
    items = task_items(fields["task"], context, fields["limit"])
    headline = decoding_of(fields["decoding"], task.max_new_tokens, fields["seed"])
    decodings = with_samples(headline, fields["samples"], float(fields["decoding"]["temperature"]))
    template = find_template(fields["prompt"], decoder.tokenizer)
    asking = Asking(template, decodings, fields.get("sample_limit"))
    context.resume.mkdir(parents=True, exist_ok=True)
    rows = answer_rows(
        decoder,
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
            subject.model,
            decoder.tokenizer,
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
