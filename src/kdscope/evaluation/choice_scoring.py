"""Scoring options by likelihood: the log-probability of every option's statement after the prompt.

The statement is what the training text says ("the correct answer is answer2"). Prompt and the tokens that
all options share are read once per item; what differs is read from their cache, and where it is a single
token, not even that: its log-probability stands in the first pass.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from kdscope.data.prompts import Template, encode_prompts
from kdscope.data.records import Item
from kdscope.data.tasks import TASKS
from kdscope.errors import DataError
from kdscope.models.loading import padding_id

Ids = list[int]


class Question(NamedTuple):
    """A prompt and its options' statements as token ids; tokenised apart, as in training."""

    prompt: Ids
    options: list[Ids]


def statements(item: Item, pattern: str | None = None) -> list[str]:
    """What a text that chooses each option says: ``pattern``, else the task's own of the catalogue."""
    task = TASKS.get(item.task)
    pattern = pattern or (task.statement if task else "the correct answer is {}")
    return [pattern.format(option) for option in item.options or ()]


def can_be_scored(items: Sequence[Item]) -> bool:
    """Whether all items list options to choose from."""
    return bool(items) and all(item.options for item in items)


def choice_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[Item],
    template: Template,
    system: dict[str, Any],
    *,
    statement: str | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Rows of the ``choices`` table: each item's options in their order.

    An item that exceeds the model's context with one of its options is not scored and not cut: it has no
    rows (see :func:`unscored`).

    ``statement`` is how a text chooses an option (``{}`` stands for it); the task's own if not given.
    ``logprob_per_byte`` divides by the bytes of the statement in UTF-8.

    Raises:
        DataError: not one item fits into the model's context.
    """
    prompts = encode_prompts(
        tokenizer, template, [template.prompt(item.question, item.input) for item in items]
    )
    said = [[template.response(text) for text in statements(item, statement)] for item in items]
    flat = [text for texts in said for text in texts]
    ids = iter(tokenizer(flat, add_special_tokens=False)["input_ids"])
    questions = [
        Question(prompt, [next(ids) for _ in texts])
        for prompt, texts in zip(prompts, said, strict=True)
    ]
    fit = _fitting(model, questions) or range(len(questions))
    asked = [questions[i] for i in fit]
    scores = score_options(model, tokenizer, asked, batch_size=batch_size, progress=progress)
    return [
        {
            **system,
            "task": item.task,
            "item": item.item,
            "option": option,
            "logprob": score,
            "logprob_per_byte": score / len(text.strip().encode()),
            "gold": option == item.gold,
        }
        for item, texts, row in zip(
            [items[i] for i in fit], [said[i] for i in fit], scores, strict=True
        )
        for option, text, score in zip(item.options or (), texts, row, strict=True)
    ]


def unscored(items: Sequence[Item], rows: Sequence[dict[str, Any]]) -> int:
    """How many items have no rows because they are too long for the model."""
    return len(items) - len({(row["task"], row["item"]) for row in rows})


def score_options(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[float]]:
    """Log-probability in nats of every option, summed over its tokens, in the order of the questions."""
    if model.training:
        raise RuntimeError("scores asked of a model in training mode: call model.eval() first")
    heads = [_head(question) for question in questions]
    _check_lengths(model, questions)
    order = sorted(range(len(heads)), key=lambda i: (-len(heads[i]), i))
    found: list[list[float]] = [[] for _ in questions]
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = _score_batch(
            model, padding_id(tokenizer), len(tokenizer), [questions[i] for i in rows]
        )
        for i, scores in zip(rows, batch, strict=True):
            found[i] = scores
        if progress is not None:
            progress(start + len(rows), len(order))
    return found


def _fitting(model: PreTrainedModel, questions: Sequence[Question]) -> list[int]:
    """Places of the questions that fit into the model's context with every option."""
    context = getattr(model.config, "max_position_embeddings", None)
    longest = [len(q.prompt) + max(map(len, q.options)) for q in questions]
    return [i for i, length in enumerate(longest) if not context or length <= context]


def _check_lengths(model: PreTrainedModel, questions: Sequence[Question]) -> None:
    over = sorted(set(range(len(questions))) - set(_fitting(model, questions)))
    if over:
        raise DataError(
            f"{len(over)} of {len(questions)} questions with their options exceed the model's context of "
            f"{model.config.max_position_embeddings} tokens, the first at place {over[0]}. Leave these "
            "items out; none is cut silently."
        )


def _shared(question: Question) -> Ids:
    """The tokens that all options begin with."""
    shared = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*question.options, strict=False))
    return [tokens[0] for tokens in shared]


def _head(question: Question) -> Ids:
    """What is read once: the prompt and what the options share."""
    return [*question.prompt, *_shared(question)]


@torch.inference_mode()
def _score_batch(
    model: PreTrainedModel, pad: int, vocabulary: int, questions: Sequence[Question]
) -> list[list[float]]:
    heads = [_head(question) for question in questions]
    shared = [len(_shared(question)) for question in questions]
    width, keep = max(map(len, heads)), max(shared) + 1
    ids = torch.tensor([[pad] * (width - len(head)) + head for head in heads])
    mask = torch.tensor([[0] * (width - len(head)) + [1] * len(head) for head in heads])
    ids, mask = ids.to(model.device), mask.to(model.device)
    cache = DynamicCache(config=model.config)
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(-1) - 1).clamp_min(0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=keep,
    )
    logits = output.logits[..., :vocabulary].float().log_softmax(-1)
    rests = [
        (row, option[length:])
        for row, (question, length) in enumerate(zip(questions, shared, strict=True))
        for option in question.options
    ]
    heads_said = [
        _path(logits[row, keep - 1 - length : keep - 1], _shared(question))
        for row, (question, length) in enumerate(zip(questions, shared, strict=True))
    ]
    scores = [
        heads_said[row] + (float(logits[row, -1, rest[0]]) if rest else 0.0) for row, rest in rests
    ]
    longer = [place for place, (_, rest) in enumerate(rests) if len(rest) > 1]
    if longer:
        tails = _score_tails(
            model, pad, vocabulary, mask, cache, [rests[place] for place in longer]
        )
        for place, tail in zip(longer, tails, strict=True):
            scores[place] += tail
    taken = iter(scores)
    return [[next(taken) for _ in question.options] for question in questions]


def _score_tails(
    model: PreTrainedModel,
    pad: int,
    vocabulary: int,
    mask: Tensor,
    cache: DynamicCache,
    rests: Sequence[tuple[int, Ids]],
) -> Iterator[float]:
    """Log-probability of all but the first token of each rest, read from the cache of its row."""
    rows = torch.tensor([row for row, _ in rests], device=mask.device)
    width = max(len(rest) for _, rest in rests) - 1
    read = [rest[:-1] for _, rest in rests]
    ids = torch.tensor([part + [pad] * (width - len(part)) for part in read], device=mask.device)
    more = torch.tensor([[1] * len(part) + [0] * (width - len(part)) for part in read])
    cache.batch_select_indices(rows)
    whole = torch.cat([mask[rows], more.to(mask.device)], dim=-1)
    output = model(
        input_ids=ids,
        attention_mask=whole,
        position_ids=(whole.cumsum(-1) - 1)[:, -width:],
        past_key_values=cache,
        use_cache=True,
    )
    logits = output.logits[..., :vocabulary].float().log_softmax(-1)
    for row, (_, rest) in enumerate(rests):
        yield _path(logits[row, : len(rest) - 1], rest[1:])


def _path(logprobs: Float[Tensor, "T V"], tokens: Ids) -> float:
    """Sum over positions of the log-probability of each token."""
    return float(sum(logprobs[place, token] for place, token in enumerate(tokens)))
