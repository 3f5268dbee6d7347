"""The decoder of the extra ``vllm``: it answers as transformers does, by an engine that serves many students.

Answers end at an end token, at the length, or at the first look, every ``CHECK_EVERY`` tokens, that finds
a stop text. Sampled answers depend on (seed, item, sample) alone, but are others than transformers'. Adapters
are not folded into the weights, which changes answers by rounding. Rows of the head without a token are never
chosen, but they count in log-probabilities. It has run on CPUs, not on a GPU (``docs/hardware.md``).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdscope.errors import ConfigError, ModelError
from kdscope.generation.decoding import CHECK_EVERY, check_lengths, context_of, end_ids, runs_on
from kdscope.generation.journal import Journal, in_batches
from kdscope.generation.settings import Completion, Decoding
from kdscope.generation.vllm_engine import Request, Written, engine_for
from kdscope.generation.vllm_limits import MEMORY, unfit, unfit_device, unfit_temperature
from kdscope.models.adapters import ADAPTER, adapter_rank
from kdscope.models.loading import (
    answer_settings,
    checkpoint_location,
    configuration,
    load_tokenizer,
)

PORTION = 1024  # prompts that are handed over together, and kept in the journal together
MOST_BARRED = 1024  # tokens that a request can bar
BARRED = -100.0  # nats


class VllmDecoder:
    """One model behind vLLM: a base, and the adapter or the whole weights that a training left.

    Args:
        reference: the base, as :func:`kdscope.models.loading.load_model` takes it.
        path: folder of a local base checkpoint.
        trained: folder of what a training left; None for the base itself.
        device: that this process has; ``cuda``, or ``cpu`` where vLLM is built for it.
        untrained: an adapter that changes nothing yet will do, too.

    Raises:
        MissingExtraError: vLLM is not installed.
        ConfigError: it is built for another device, or the share of the memory is no share.
        ModelError: vLLM cannot serve such a model, or the adapter changes nothing.
    """

    def __init__(
        self,
        reference: Mapping[str, Any],
        path: str | None,
        trained: Path | None,
        device: str,
        *,
        untrained: bool = False,
    ) -> None:
        if reason := unfit_device(device):
            raise ConfigError(reason)
        self._trained = trained
        self._adapter = trained if trained is not None and (trained / ADAPTER).is_file() else None
        unserved = f"vLLM cannot serve {reference['name']!r}:"
        for reason in unfit(reference, adapted=self._adapter is not None):
            raise ModelError(f"{unserved} {reason}")
        whole = None if trained is None or self._adapter else str(trained)
        self.tokenizer = load_tokenizer(reference, path)
        self.ends = end_ids(answer_settings(reference, whole or path), self.tokenizer)
        self.context = context_of(configuration(reference, whole or path))
        base, options = checkpoint_location(reference, path)
        settings = {
            "model": whole or base,
            "revision": None if whole else options.get("revision"),
            "tokenizer": base,
            "tokenizer_revision": options.get("revision"),
            "dtype": reference.get("dtype") or "float32",
        }
        rank = adapter_rank(self._adapter, untrained=untrained) if self._adapter else 0
        self._engine = engine_for(settings, rank, device)
        barred = range(len(self.tokenizer), self._engine.rows)
        if len(barred) > MOST_BARRED:
            raise ModelError(
                f"{unserved} {len(barred)} rows of its head have no token, and it can bar {MOST_BARRED}"
            )
        self._barred = dict.fromkeys(barred, BARRED)

    def read_again(self) -> None:
        """What a training left in its folder has changed since."""
        if self._trained is not None:
            self._engine.changed(self._trained)

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        decoding: Decoding,
        *,
        progress: Callable[[int, int], None] | None = None,
        journal: Journal | None = None,
    ) -> list[Completion]:
        """Answers to ``prompts``, in their order; the journal keeps them by portions.

        Raises:
            DataError: a prompt and its answer do not fit into the context.
            ConfigError: vLLM does not sample at this temperature, or its memory is too small for them.
        """
        check_lengths(self.context, prompts, keys, decoding)
        most = max(map(len, prompts), default=0) + decoding.max_new_tokens
        if most > self._engine.context:
            raise ConfigError(
                f"a prompt and its answer take {most} tokens, and vLLM has memory for "
                f"{self._engine.context}: give it more by {MEMORY}, or take the engine transformers"
            )
        if reason := unfit_temperature(decoding.temperature):
            raise ConfigError(reason)
        places = range(len(prompts))
        portions = [places[start : start + PORTION] for start in places[::PORTION]]
        with self._engine.awake():
            return in_batches(
                portions, prompts, keys, decoding, self._answer, progress=progress, journal=journal
            )

    def _answer(
        self, prompts: Sequence[Sequence[int]], keys: Sequence[str], decoding: Decoding
    ) -> list[Completion]:
        """One portion; what a text has stopped goes on to the next look, as in transformers."""
        most = decoding.max_new_tokens
        written = self._write(prompts, keys, [most] * len(prompts), decoding, decoding.stop)
        rooms = [min(-len(one.tokens) % CHECK_EVERY, most - len(one.tokens)) for one in written]
        stopped = [i for i, one in enumerate(written) if one.at_text and rooms[i]]
        further = self._write(
            [[*prompts[i], *written[i].tokens] for i in stopped],
            [f"{keys[i]}/further" for i in stopped],
            [rooms[i] for i in stopped],
            decoding,
            (),
        )
        for i, rest in zip(stopped, further, strict=True):
            first = written[i]
            written[i] = Written(first.tokens + rest.tokens, first.logprob + rest.logprob, True)
        return [self._completion(one, decoding) for one in written]

    def _write(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[str],
        rooms: Sequence[int],
        decoding: Decoding,
        stop: Sequence[str],
    ) -> list[Written]:
        seeds = [request_seed(decoding.seed, key) if decoding.temperature else None for key in keys]
        return self._engine.write(
            [Request(*asked) for asked in zip(prompts, rooms, seeds, strict=True)],
            self._adapter,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            stop=list(stop),
            stop_token_ids=list(self.ends),
            logit_bias=self._barred or None,
        )

    def _completion(self, written: Written, decoding: Decoding) -> Completion:
        """An answer, and how it ended by the rule of :func:`kdscope.generation.decoding.generate`."""
        tokens, length = written.tokens, len(written.tokens)
        at_end = length == decoding.max_new_tokens
        if tokens[-1] in self.ends:
            reason = "stop"
        elif at_end and (
            length % CHECK_EVERY or not runs_on(self.tokenizer, tokens, decoding.stop)
        ):
            reason = "length"
        else:
            reason = "run_on"
        return Completion(tokens, reason, written.logprob / length)


def request_seed(seed: int, key: str) -> int:
    """A seed of 63 bits that depends on seed and key alone."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
