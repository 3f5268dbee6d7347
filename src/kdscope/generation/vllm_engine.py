"""Engines of vLLM, one per base model: the only file that meets the library.

Run with vLLM 0.32 on a CPU, read in the wheel of 0.33, not run on a GPU (``docs/hardware.md``). An engine is
built at the first use and serves every student of its base. On a GPU it sleeps between two uses (weights
in host memory, cache given up), so that a training in the same process has the memory.
"""

import gc
import os
import subprocess
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from kdscope.errors import ModelError, missing_extra
from kdscope.generation.vllm_limits import MEMORY, RANKS, memory_share

KEPT = 2  # engines of a process; for a third, the one that was used longest ago is ended
_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1"}  # nothing leaves the machine unasked
_CPU_SETTINGS = {
    "enforce_eager": True,  # it would wait for a compiler first
    "enable_chunked_prefill": False,  # fails with seeds: it winds generators back, which CPUs' cannot be
}
_ON_CPU = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


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
        device: ``cuda`` or ``cpu``.

    Raises:
        MissingExtraError: vLLM is not installed.
        ModelError: it could not start.
    """

    def __init__(self, settings: Mapping[str, Any], rank: int, device: str) -> None:
        self.rank, self._asleep, self._numbers = rank, False, dict[Path, int]()
        self._whole, self._changed = Path(settings["model"]), set[Path]()
        self._sleeps = device == "cuda"
        for name, value in (_ENVIRONMENT | (_ON_CPU if device == "cpu" else {})).items():
            os.environ.setdefault(name, value)
        try:
            from vllm import LLM, SamplingParams
            from vllm.lora.request import LoRARequest
        except ImportError:
            raise missing_extra("vllm", "vLLM", "the engine vllm") from None
        self._sampling, self._lora = SamplingParams, LoRARequest
        share = memory_share(device)
        before = _children()
        adapters = {"enable_lora": True, "max_lora_rank": rank} if rank else {}
        try:
            self._llm = LLM(
                **settings,
                **adapters,
                generation_config="vllm",  # nothing but what a request says
                max_model_len=-1,  # what memory allows, up to the model's own
                gpu_memory_utilization=share,
                enable_sleep_mode=self._sleeps,
                **({} if self._sleeps else _CPU_SETTINGS),
            )
        except (RuntimeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            raise ModelError(
                f"vLLM could not start with {settings['model']!r}: {reason}. Its own lines are in the log; "
                f"{MEMORY} is the share of the memory that it takes, {share:g} now"
            ) from error
        self._dismiss_guard = weakref.finalize(self, _dismiss, _guard(_children() - before))

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
        """While open, it has its memory and knows the last weights; after an error it is given up."""
        try:
            if self._asleep:
                self._llm.wake_up()
            self._take_over()
            yield
            if self._sleeps:
                self._llm.sleep(level=1)
                self._asleep = True
        except BaseException:
            for name in [name for name, one in _engines.items() if one is self]:
                _engines.pop(name).end()
            raise

    def _take_over(self) -> None:
        """Read whole weights again that have changed, and forget what was computed before any change."""
        if self._whole in self._changed:
            new = {"weights_path": str(self._whole)}
            self._llm.collective_rpc("reload_weights", kwargs=new)
        if self._changed:
            self._llm.reset_prefix_cache()
        self._changed.discard(self._whole)

    def changed(self, folder: Path) -> None:
        """Another adapter, or other whole weights, lie in a folder that it has read before."""
        self._changed.add(folder)

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
        again = adapter in self._changed
        self._changed.discard(adapter)
        return self._lora(
            lora_name=str(adapter), lora_int_id=number, lora_path=str(adapter), load_inplace=again
        )

    def end(self) -> None:
        """Give everything back."""
        self._llm.llm_engine.engine_core.shutdown()
        self._dismiss_guard()
        del self._llm
        gc.collect()


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _guard(processes: set[int]) -> subprocess.Popen[bytes]:
    """A shell that waits for our end, however it comes, and then ends these, which would live on."""
    command = f"read _; kill -9 {' '.join(map(str, processes))} 2>&-"
    return subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE)


def _dismiss(guard: subprocess.Popen[bytes]) -> None:
    guard.kill()
    guard.communicate()


_engines: dict[str, Engine] = {}  # of this process by what they load, the last used at the end


def engine_for(settings: Mapping[str, Any], rank: int, device: str) -> Engine:
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
        engine = Engine(settings, rank, device)
    _engines[name] = engine
    return engine
