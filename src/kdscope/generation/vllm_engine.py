"""Engines of vLLM, one per base model: the only file that meets the library.

Written against the wheel of vLLM 0.33.0; it has not run on a GPU (``docs/hardware.md``). An engine is built
at the first use and serves every student of its base. Between two uses it sleeps (weights in host memory,
cache given up), so that a training in the same process has the GPU.
"""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kdscope.errors import ModelError, missing_extra
from kdscope.generation.vllm_limits import MEMORY, RANKS, memory_share

KEPT = 2  # engines of a process; for a third, the one that was used longest ago is ended


class Request(NamedTuple):
    """A prompt's tokens, how many may follow, and the seed of its draws (None: greedy)."""

    prompt: Sequence[int]
    room: int
    seed: int | None


class Written(NamedTuple):
    """What came of a request: tokens, the sum of their log-probabilities, whether a text stopped it."""

    tokens: tuple[int, ...]
    logprob: float
    at_text: bool


class Engine:
    """An engine with its weights, and the adapters that it was shown.

    Args:
        settings: ``model``, ``revision``, ``tokenizer``, ``tokenizer_revision``, ``dtype`` of vLLM's ``LLM``.
        rank: of the largest adapter that it takes; 0 for none.

    Raises:
        MissingExtraError: vLLM is not installed.
        ModelError: it could not start.
    """

    def __init__(self, settings: Mapping[str, Any], rank: int) -> None:
        self.rank, self._asleep, self._numbers = rank, False, dict[Path, int]()
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # nothing leaves the machine unasked
        try:
            from vllm import LLM, SamplingParams
            from vllm.lora.request import LoRARequest
        except ImportError:
            raise missing_extra("vllm", "vLLM", "the engine vllm") from None
        self._sampling, self._lora = SamplingParams, LoRARequest
        share = memory_share()
        adapters = {"enable_lora": True, "max_lora_rank": rank} if rank else {}
        try:
            self._llm = LLM(
                **settings,
                **adapters,
                generation_config="vllm",  # nothing but what a request says
                max_model_len=-1,  # what memory allows, up to the model's own
                gpu_memory_utilization=share,
                enable_sleep_mode=True,
            )
        except (RuntimeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ModelError(
                f"vLLM could not start with {settings['model']!r}: {reason}. Its own lines are in the log; "
                f"{MEMORY} is the share of the GPU's memory that it takes, {share:g} now"
            ) from error

    @property
    def context(self) -> int:
        """Tokens of a prompt and its answer together, as far as memory goes."""
        return int(self._llm.model_config.max_model_len)

    @property
    def rows(self) -> int:
        """Rows of the head."""
        return int(self._llm.model_config.get_vocab_size())

    @contextmanager
    def awake(self) -> Iterator[None]:
        """While open, it has its memory; after an error it is given up."""
        try:
            if self._asleep:
                self._llm.wake_up()
            yield
            self._llm.sleep(level=1)
            self._asleep = True
        except BaseException:
            for name in [name for name, one in _engines.items() if one is self]:
                _engines.pop(name).end()
            raise

    def write(
        self, requests: Sequence[Request], adapter: Path | None, **sampling: Any
    ) -> list[Written]:
        """Answer requests, in their order, with an adapter or as the base.

        Args:
            requests: what is asked.
            adapter: its folder.
            sampling: ``temperature, top_p, stop, stop_token_ids, logit_bias`` of vLLM's ``SamplingParams``.

        Raises:
            RuntimeError: it gave up on some.
        """
        if not requests:
            return []
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(request.prompt)} for request in requests],
            [
                self._sampling(
                    max_tokens=request.room,
                    seed=request.seed,
                    ignore_eos=True,  # stop_token_ids are all ends there are
                    detokenize=bool(sampling["stop"]),
                    skip_special_tokens=False,
                    logprobs=0,  # of the chosen tokens alone
                    **sampling,
                )
                for request in requests
            ],
            use_tqdm=False,
            lora_request=self._named(adapter),
        )
        found = [output.outputs[0] for output in outputs]
        lost = {o.finish_reason for o in found} - {"stop", "length"}
        if lost:
            raise RuntimeError(f"vLLM gave up on some requests: {', '.join(map(str, lost))}")
        return [
            Written(tuple(o.token_ids), float(o.cumulative_logprob), isinstance(o.stop_reason, str))
            for o in found
        ]

    def _named(self, adapter: Path | None) -> Any:
        """An adapter as requests name it: by its folder, and a number that stays its own."""
        if adapter is None:
            return None
        number = self._numbers.setdefault(adapter, len(self._numbers) + 1)
        return self._lora(lora_name=str(adapter), lora_int_id=number, lora_path=str(adapter))

    def end(self) -> None:
        """Give everything back."""
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()


_engines: dict[str, Engine] = {}  # of this process by what they load, the last used at the end


def engine_for(settings: Mapping[str, Any], rank: int) -> Engine:
    """The engine of a checkpoint, built unless there is one that takes adapters of this rank.

    Raises:
        MissingExtraError: vLLM is not installed.
        ModelError: the rank is too high, or the engine could not start.
    """
    if rank > RANKS[-1]:
        raise ModelError(f"vLLM takes adapters up to rank {RANKS[-1]}, and this one has {rank}")
    name, rank = repr(sorted(settings.items())), next(r for r in (0, *RANKS) if r >= rank)
    engine = _engines.pop(name, None)
    if engine is None or engine.rank < rank:
        if engine is not None:
            engine.end()
        for oldest in list(_engines)[: max(0, len(_engines) - KEPT + 1)]:
            _engines.pop(oldest).end()
        engine = Engine(settings, rank)
    _engines[name] = engine
    return engine
