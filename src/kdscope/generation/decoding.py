"""Batched decoding with transformers: left padding, a key-value cache, and rows that leave when done.

What all prompts of a batch begin with is read once, if it is long enough to matter.

Greedy answers do not depend on the batch around them but for the last bits of a matrix product, and
sampled ones neither: the uniform numbers that pick the tokens are keyed by (seed, item, sample), not drawn
from a shared stream.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from kdscope.errors import DataError
from kdscope.generation.journal import Journal, in_batches
from kdscope.generation.key_values import is_roomy, places_kept, roomy_cache
from kdscope.generation.packed import packed_weights
from kdscope.generation.settings import Completion, Decoding
from kdscope.models.loading import padding_id

CHECK_EVERY = 16  # tokens between two looks for stop texts and finished rows
SHARED = 16  # tokens that a batch's prompts begin with in common, from which on these are read once


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[str],
    decoding: Decoding,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    journal: Journal | None = None,
) -> list[Completion]:
    """Answers to ``prompts``, in their order; batches are sorted by length and fixed by the arguments.

    Args:
        model: a causal language model; it must be in evaluation mode.
        tokenizer: gives the end and padding ids, and the number of real tokens: padded rows of the head
            are never chosen.
        prompts: token ids of each prompt, without padding.
        keys: a name per prompt (item and sample) that keys its random draws.
        decoding: length, temperature, seed, stop texts.
        batch_size: rows per batch.
        progress: called with (answers done, answers in all) before the first batch that is decoded
            and after each; what the journal holds is done already at the first call.
        journal: batches that it holds are taken from there, others are added to it.

    Raises:
        DataError: a prompt and its answer do not fit into the model's context.
    """
    if model.training:
        raise RuntimeError("generation asked of a model in training mode: call model.eval() first")
    check_lengths(context_of(model.config), prompts, keys, decoding)
    batches = list(length_sorted_batches(prompts, batch_size))
    decode = partial(_decode, model, tokenizer)
    with packed_weights(model, min(batch_size, len(prompts))):
        return in_batches(
            batches, prompts, keys, decoding, decode, progress=progress, journal=journal
        )


def _decode(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[str],
    decoding: Decoding,
) -> list[Completion]:
    """One batch, to its end."""
    uniforms = None
    if decoding.temperature > 0:
        draws = [uniform_draws(decoding.seed, key, decoding.max_new_tokens) for key in keys]
        uniforms = torch.from_numpy(np.stack(draws)).to(model.device)
    return _Batch(model, tokenizer, prompts, decoding, uniforms).run()


def length_sorted_batches(prompts: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Indices of ``prompts`` in batches of ``size``, longest first: what cannot fit fails at once."""
    order = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def uniform_draws(seed: int, key: str, count: int) -> Float[np.ndarray, "count"]:
    """``count`` uniform numbers in [0, 1) that depend on seed and key alone."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
    return generator.random(count)


def context_of(config: PreTrainedConfig) -> int | None:
    """Tokens that prompt and answer may have together; None where the model does not say."""
    return getattr(config, "max_position_embeddings", None)


def check_lengths(
    context: int | None,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[str],
    decoding: Decoding,
) -> None:
    """See that every prompt leaves room for its answer.

    Raises:
        DataError: one does not.
    """
    room = None if context is None else context - decoding.max_new_tokens
    too_long = [
        key
        for key, prompt in zip(keys, prompts, strict=True)
        if room is not None and len(prompt) > room
    ]
    if too_long:
        raise DataError(
            f"{len(too_long)} of {len(prompts)} prompts and {decoding.max_new_tokens} new tokens exceed "
            f"the model's context of {context} tokens, first {too_long[0]!r}. Lower max_new_tokens or "
            f"leave these items out; a prompt is never cut silently."
        )


class _Batch:
    """One batch while it is decoded: the rows still running, and what every row has written."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        uniforms: Float[Tensor, "B count"] | None,
    ) -> None:
        self.model, self.tokenizer, self.decoding = model, tokenizer, decoding
        self.ends = end_ids(model.generation_config, tokenizer)
        self.uniforms = uniforms
        self.rows = list(range(len(prompts)))  # original row of each running row
        self.written: list[list[int]] = [[] for _ in prompts]
        self.logprobs = [0.0] * len(prompts)
        self.reasons = ["length"] * len(prompts)
        self.cache = roomy_cache(model, max(map(len, prompts)) + decoding.max_new_tokens)
        self.shared = list(prompts[0][: shared_length(prompts) if is_roomy(self.cache) else 0])
        rests = [prompt[len(self.shared) :] for prompt in prompts]
        width, pad = max(map(len, rests)), padding_id(tokenizer)
        self.ids = torch.full((len(rests), width), pad, device=model.device)
        mask = torch.zeros_like(self.ids)
        for row, rest in enumerate(rests):
            self.ids[row, width - len(rest) :] = torch.tensor(rest, device=model.device)
            mask[row, width - len(rest) :] = 1
        self.mask = torch.cat([mask.new_ones(len(rests), len(self.shared)), mask], dim=-1)
        self.positions = (self.mask.cumsum(-1) - 1).clamp_min(0)[:, len(self.shared) :]

    @torch.inference_mode()
    def run(self) -> list[Completion]:
        """Decode to the end and return one completion per prompt."""
        if self.shared:
            self._read_shared()
        for step in range(self.decoding.max_new_tokens):
            chosen, logprobs = self._choose(self._logits(), step)
            running = self._record(chosen.tolist(), logprobs.tolist())
            if (step + 1) % CHECK_EVERY == 0:
                running = self._without_run_ons(running)
            if not running:
                break
            self._advance(chosen, running)
        return [
            Completion(tuple(ids), reason, total / max(len(ids), 1))
            for ids, reason, total in zip(self.written, self.reasons, self.logprobs, strict=True)
        ]

    def _read_shared(self) -> None:
        """Read what all prompts begin with in one row, and give every row its states."""
        self.model(
            input_ids=torch.tensor([self.shared], device=self.model.device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache.batch_repeat_interleave(len(self.rows))

    def _logits(self) -> Float[Tensor, "B V"]:
        output = self.model(
            input_ids=self.ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1, : len(self.tokenizer)].float()

    def _choose(
        self, logits: Float[Tensor, "B V"], step: int
    ) -> tuple[Int[Tensor, "B"], Float[Tensor, "B"]]:
        """The next token of every running row, and its log-probability at temperature 1."""
        if self.uniforms is None:
            chosen = logits.argmax(-1)
        else:
            p = _nucleus((logits / self.decoding.temperature).softmax(-1), self.decoding.top_p)
            scaled = p.double().cumsum(-1)
            threshold = self.uniforms[self.rows, step, None] * scaled[:, -1:]
            chosen = torch.searchsorted(scaled, threshold, right=True).squeeze(-1)
            chosen = chosen.clamp_max(logits.shape[-1] - 1)
        logprobs = logits.gather(-1, chosen[:, None]).squeeze(-1) - logits.logsumexp(-1)
        return chosen, logprobs

    def _record(self, chosen: list[int], logprobs: list[float]) -> list[int]:
        """Note the chosen tokens; returns the running positions that go on."""
        running = []
        for position, (row, token) in enumerate(zip(self.rows, chosen, strict=True)):
            if self.reasons[row] != "length":
                continue
            self.written[row].append(token)
            self.logprobs[row] += logprobs[position]
            if token in self.ends:
                self.reasons[row] = "stop"
            else:
                running.append(position)
        return running

    def _without_run_ons(self, running: list[int]) -> list[int]:
        kept = []
        for position in running:
            row = self.rows[position]
            if runs_on(self.tokenizer, self.written[row], self.decoding.stop):
                self.reasons[row] = "run_on"
            else:
                kept.append(position)
        return kept

    def _advance(self, chosen: Int[Tensor, "B"], running: list[int]) -> None:
        """Feed the chosen tokens; drop finished rows, at once where that copies little."""
        self.ids = chosen[:, None]
        self.positions = self.positions[:, -1:] + 1
        left = len(running) / len(self.rows)
        if left < 1 and (left <= 0.75 or is_roomy(self.cache)):
            places = places_kept(running)
            index = torch.tensor(places, device=self.ids.device)
            self.rows = [self.rows[place] for place in places]
            self.ids, self.positions = self.ids[index], self.positions[index]
            self.mask = self.mask[index]
            self.cache.batch_select_indices(index)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.rows), 1)], dim=-1)


def shared_length(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, less than any prompt has; 0 below :data:`SHARED`."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(list, prompts)), max(map(list, prompts))
    most = min(map(len, prompts)) - 1
    length = next((i for i in range(most) if first[i] != last[i]), most)
    return length if length >= SHARED else 0


def _nucleus(p: Float[Tensor, "B V"], top_p: float) -> Float[Tensor, "B V"]:
    """Probabilities with 0 outside the smallest top set of mass ``top_p`` (not renormalised)."""
    if top_p >= 1:
        return p
    ordered, places = p.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(p).scatter(-1, places, ordered.masked_fill(before >= top_p, 0.0))


def runs_on(
    tokenizer: PreTrainedTokenizerBase, written: Sequence[int], stop: Sequence[str]
) -> bool:
    """Whether a stop text is among the newest tokens; asked every :data:`CHECK_EVERY` tokens."""
    text = str(tokenizer.decode(list(written[-3 * CHECK_EVERY :])))
    return any(part in text for part in stop)


def end_ids(
    settings: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, ...]:
    """Every id that ends an answer: the tokenizer's, and those that the checkpoint adds."""
    extra = getattr(settings, "eos_token_id", None)
    extra = [] if extra is None else [extra] if isinstance(extra, int) else list(extra)
    return tuple(dict.fromkeys([cast(int, tokenizer.eos_token_id), *extra]))
