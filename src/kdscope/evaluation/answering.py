"""Answers of one model to the items of one task: prompts, decoding, grading, rows of ``generations``."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from kdscope.data.prompts import Template, encode_prompts
from kdscope.data.records import Item
from kdscope.evaluation.grading import grade
from kdscope.generation.decoder import Decoder
from kdscope.generation.journal import Journal
from kdscope.generation.settings import Completion, Decoding

TOO_LONG = "too_long"  # finish reason of an item whose prompt leaves no room for an answer
Row = dict[str, Any]


class Asking(NamedTuple):
    """How items are put to a model.

    Attributes:
        template: writes the prompts.
        decodings: one per sample; sample 0 is the headline.
        sampled: items, from the first on, that are asked for further samples; None is all. All
            samples of these few items are then drawn together, so that they fill a batch.
    """

    template: Template
    decodings: tuple[Decoding, ...]
    sampled: int | None = None


def with_samples(headline: Decoding, samples: int, temperature: float) -> tuple[Decoding, ...]:
    """The headline decoding, and ``samples`` further ones drawn at a temperature."""
    drawn = dataclasses.replace(headline, temperature=temperature)
    return (headline, *[drawn] * samples)


def answer_rows(
    decoder: Decoder,
    items: Sequence[Item],
    asking: Asking,
    system: Row,
    *,
    journal: Journal | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Ask every item once per decoding (:attr:`Asking.sampled` limits the further ones), and grade.

    An item whose prompt and answer do not fit into the model's context is not asked: its row has the
    finish reason ``too_long`` and counts as invalid.

    Args:
        decoder: the model, in an engine.
        items: of one task.
        asking: prompts and decodings.
        system: the columns that say who answers.
        journal: keeps finished batches.
        progress: called with (answers done, answers in all) at the start and after each batch.

    Raises:
        DataError: not one item fits.
    """
    prompts = [asking.template.prompt(item.question, item.input) for item in items]
    encoded = encode_prompts(decoder.tokenizer, asking.template, prompts)
    fitting = set(_fitting(decoder.context, encoded, asking.decodings[0]) or range(len(items)))
    rounds = list(_rounds(asking, len(items)))
    total = sum(len(wanted) for _, wanted in rounds)
    rows: list[Row] = []
    for decoding, wanted in rounds:
        asked = [(sample, i) for sample, i in wanted if i in fitting]
        done = len(rows) + len(wanted) - len(asked)
        answers = decoder.decode(
            [encoded[i] for _, i in asked],
            [f"{items[i].task}/{items[i].item}/{sample}" for sample, i in asked],
            decoding,
            progress=progress and (lambda n, _, done=done: progress(done + n, total)),
            journal=journal,
        )
        given = dict(zip(asked, answers, strict=True))
        for sample, i in wanted:
            answer = given.get((sample, i), Completion((), TOO_LONG, 0.0))
            text = decoder.tokenizer.decode(list(answer.tokens), skip_special_tokens=True)
            known = {**system, "sample": sample, "decoding": decoding.name}
            rows.append({**known, **_row(items[i], prompts[i], answer, str(text))})
    return rows


def _rounds(asking: Asking, items: int) -> Iterator[tuple[Decoding, list[tuple[int, int]]]]:
    """What is decoded together: a decoding, and the (sample, place of the item) that it is asked for."""
    headline, *further = asking.decodings
    yield headline, [(0, i) for i in range(items)]
    if not further:
        return
    each = [
        [(sample, i) for i in range(min(items, asking.sampled or items))]
        for sample in range(1, len(asking.decodings))
    ]
    if asking.sampled is None:
        yield from zip(further, each, strict=True)
    else:
        yield further[0], [pair for pairs in each for pair in pairs]


def too_long(rows: Sequence[Row]) -> int:
    """How many items were not asked because their prompt is too long."""
    return sum(row["finish_reason"] == TOO_LONG for row in rows if row["sample"] == 0)


def _fitting(
    context: int | None, prompts: Sequence[Sequence[int]], decoding: Decoding
) -> list[int]:
    """Places of the prompts that leave room for an answer."""
    room = None if context is None else context - decoding.max_new_tokens
    return [i for i, prompt in enumerate(prompts) if room is None or len(prompt) <= room]


def _row(item: Item, prompt: str, answer: Completion, text: str) -> Row:
    return {
        "task": item.task,
        "item": item.item,
        "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest()[:16],
        "text": text,
        "finish_reason": answer.finish_reason,
        "tokens": len(answer.tokens),
        "mean_logprob": answer.mean_logprob if answer.tokens else None,
        **grade(text, item)._asdict(),
    }
