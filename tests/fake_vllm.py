"""A stand-in for vLLM, which is too large to be everywhere: it knows the real names, refuses all others, and answers slowly.

``vllm_0_33_0.json`` holds the names of parameters and fields as they stand in the wheel of that version. Requests are
answered one by one, in float32, by a plain loop over the checkpoint: no code of ours decodes here.
"""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from kdscope.generation import vllm_engine

REAL = json.loads((Path(__file__).parent / "vllm_0_33_0.json").read_text())


def known(call, given):
    unknown = (
        set(given) - set(REAL[call]) - set(REAL["EngineArgs"] if call == "LLM.__init__" else ())
    )
    if unknown:
        raise TypeError(f"vLLM {REAL['version']} knows no {sorted(unknown)} in {call}")


class SamplingParams(SimpleNamespace):
    def __init__(self, **given):
        known("SamplingParams", given)
        defaults = {"temperature": 1.0, "top_p": 1.0, "seed": None, "stop": None, "max_tokens": 16,
                    "stop_token_ids": None, "ignore_eos": False, "detokenize": True,
                    "skip_special_tokens": True, "logprobs": None, "logit_bias": None}  # fmt: skip
        super().__init__(**{**defaults, **given})
        if not 0 <= self.temperature <= 2 or not 0 < self.top_p <= 1 or self.max_tokens < 1:
            raise ValueError(f"out of range: {given}")
        if self.stop and not self.detokenize:
            raise ValueError("stop strings are only supported when detokenize is True")


class LoRARequest(SimpleNamespace):
    def __init__(self, **given):
        known("LoRARequest", given)
        super().__init__(**given)
        if self.lora_int_id < 1 or not self.lora_path:
            raise ValueError(f"no adapter: {given}")


class LLM:
    built: ClassVar[list["LLM"]] = []
    memory: ClassVar[int] = 10**6  # tokens

    def __init__(self, model, **given):
        known("LLM.__init__", given)
        self.given, self.asked, self.asleep, self.ended = (
            {"model": model, **given},
            [],
            False,
            False,
        )
        self.sleeps, self.adapters, self.stale = 0, {}, False
        assert given.get("max_lora_rank", 8) in REAL["MaxLoRARanks"]
        self.base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(given["tokenizer"])
        config = self.base.config
        self.model_config = SimpleNamespace(
            max_model_len=min(config.max_position_embeddings, self.memory),
            get_vocab_size=lambda: config.vocab_size,
        )
        core = SimpleNamespace(shutdown=lambda: setattr(self, "ended", True))
        self.llm_engine = SimpleNamespace(engine_core=core)
        LLM.built.append(self)

    def sleep(self, **given):
        known("LLM.sleep", given)
        assert self.given["enable_sleep_mode"]
        assert not self.asleep
        self.asleep, self.sleeps = True, self.sleeps + 1

    def reset_prefix_cache(self, **given):
        known("LLM.reset_prefix_cache", given)
        self.stale = False

    def collective_rpc(self, method, **given):
        known("LLM.collective_rpc", given)
        assert (method, list(given["kwargs"])) == ("reload_weights", ["weights_path"])
        path = given["kwargs"]["weights_path"]
        self.base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self.stale = True

    def wake_up(self, **given):
        known("LLM.wake_up", given)
        assert self.asleep
        self.asleep = False

    def generate(self, prompts, sampling_params, **given):
        known("LLM.generate", given)
        assert not self.asleep
        assert not self.ended
        assert not self.stale, "keys and values of other weights would be used"
        assert len(prompts) == len(sampling_params)
        lora = given.get("lora_request")
        model = self.base if lora is None else self.adapted(lora)
        found = []
        for prompt, params in zip(prompts, sampling_params, strict=True):
            known("TokensPrompt", prompt)
            self.asked.append((prompt["prompt_token_ids"], params, lora))
            found.append(SimpleNamespace(outputs=[self.answer(model, *self.asked[-1][:2])]))
        return found

    def adapted(self, lora):
        assert self.given["enable_lora"]
        number, again = lora.lora_int_id, getattr(lora, "load_inplace", False)
        if again or number not in self.adapters:
            self.adapters[number] = (lora.lora_path, self.loaded(lora))
        path, model = self.adapters[number]
        assert path == lora.lora_path, "a number names one adapter for good"
        return model

    def loaded(self, lora):
        rank = json.loads((Path(lora.lora_path) / "adapter_config.json").read_text())["r"]
        assert rank <= self.given["max_lora_rank"]
        fresh = AutoModelForCausalLM.from_pretrained(self.given["model"], dtype=torch.float32)
        return PeftModel.from_pretrained(fresh, lora.lora_path).eval()

    @torch.inference_mode()
    def answer(self, model, prompt, params):
        tokens, total, reason = [], 0.0, ("length", None)
        draws = None if params.seed is None else torch.Generator().manual_seed(params.seed)
        ends = set(params.stop_token_ids or ())
        before = self.tokenizer.decode(prompt, skip_special_tokens=params.skip_special_tokens)
        while len(tokens) < params.max_tokens and reason[0] == "length":
            logits = model(torch.tensor([[*prompt, *tokens]])).logits[0, -1].float()
            raw = logits.log_softmax(-1)
            for token, bias in (params.logit_bias or {}).items():
                logits[token] += bias
            token = (
                int(logits.argmax())
                if params.temperature == 0
                else self.draw(logits, params, draws)
            )
            tokens.append(token)
            total += float(raw[token])
            if token in ends:
                reason = ("stop", token)
            elif not params.ignore_eos and token == self.tokenizer.eos_token_id:
                reason = ("stop", None)
            elif params.detokenize:
                text = self.tokenizer.decode(
                    [*prompt, *tokens], skip_special_tokens=params.skip_special_tokens
                )[len(before) :]
                hit = [stop for stop in params.stop or () if stop in text]
                reason = ("stop", hit[0]) if hit else reason
        output = {"index": 0, "token_ids": tokens, "finish_reason": reason[0], "stop_reason": reason[1],
                  "cumulative_logprob": None if params.logprobs is None else total}  # fmt: skip
        known("CompletionOutput", output)
        return SimpleNamespace(**output)

    @staticmethod
    def draw(logits, params, draws):
        p, places = (logits / params.temperature).softmax(-1).sort(descending=True)
        p = p.masked_fill(p.cumsum(-1) - p >= params.top_p, 0.0)
        return int(places[torch.multinomial(p, 1, generator=draws)])


def install(monkeypatch):
    """Put it where ``import vllm`` looks, and begin without an engine; returns the class of engines."""
    names = {"vllm": {"LLM": LLM, "SamplingParams": SamplingParams}, "vllm.lora": {},
             "vllm.lora.request": {"LoRARequest": LoRARequest}}  # fmt: skip
    for name, content in names.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(vllm_engine, "_engines", {})
    monkeypatch.setattr(LLM, "built", [])
    monkeypatch.delenv("VLLM_NO_USAGE_STATS", raising=False)
    return LLM
