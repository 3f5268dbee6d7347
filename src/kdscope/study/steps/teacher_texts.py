"""The teacher's own answers to the training prompts, generated once for every student and seed."""

import json
from pathlib import Path
from typing import Any

from kdscope.data.collation import Encoded
from kdscope.errors import DataError
from kdscope.generation.settings import Decoding
from kdscope.study.config import DEFAULT_ENGINE
from kdscope.study.context import StepContext
from kdscope.study.steps.teacher import teacher_of
from kdscope.study.steps.training_data import training_text

FILE = "texts.jsonl"


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Decode every training prompt; leaves ``texts.jsonl`` (id, tokens, text, finish reason)."""
    data = fields["data"]
    decoder = teacher_of(fields, inputs, context).decoder(
        fields.get("engine", DEFAULT_ENGINE), fields["batch"]
    )
    tokenizer = decoder.tokenizer
    place = context.locations.get(data["name"])
    text = training_text(data, place, tokenizer, fields["prompt"], fields["max_length"])
    longest = max(len(example.prompt) for example in text.train)
    decoding = decoding_of(fields["decoding"], fields["max_length"] - longest, fields["seed"])
    answers = decoder.decode(
        [example.prompt for example in text.train],
        [example.id for example in text.train],
        decoding,
        progress=context.progress,
    )
    with (out / FILE).open("w", encoding="utf-8") as file:
        for example, answer in zip(text.train, answers, strict=True):
            row = {
                "id": example.id,
                "tokens": answer.tokens,
                "text": tokenizer.decode(list(answer.tokens), skip_special_tokens=True),
                "finish_reason": answer.finish_reason,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    unfinished = sum(answer.finish_reason != "stop" for answer in answers)
    return {"tokens": sum(len(answer.tokens) for answer in answers), "unfinished": unfinished}


def decoding_of(fields: dict[str, Any], room: int, seed: int) -> Decoding:
    """A step's ``decoding`` field as settings, at most ``room`` new tokens where none are given."""
    temperature = 0.0 if fields["strategy"] == "greedy" else float(fields["temperature"])
    new_tokens = fields["max_new_tokens"] or max(1, room)
    return Decoding(new_tokens, temperature, seed, top_p=fields["top_p"])


def with_teacher_text(examples: list[Encoded], folder: Path) -> list[Encoded]:
    """The examples with the teacher's finished answers in place of the reference text.

    Raises:
        DataError: the teacher finished no answer.
    """
    rows = map(json.loads, (folder / FILE).read_text(encoding="utf-8").splitlines())
    finished = {row["id"]: row["tokens"] for row in rows if row["finish_reason"] == "stop"}
    written = [
        Encoded(example.id, example.prompt, tuple(finished[example.id]))
        for example in examples
        if example.id in finished
    ]
    if not written:
        raise DataError(
            f"the teacher finished none of {len(examples)} answers: there is no text to learn from. "
            "Raise teacher_decoding.max_new_tokens, or fine-tune the teacher first."
        )
    return written
