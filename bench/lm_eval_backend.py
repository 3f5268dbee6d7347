"""kdscope beside lm-eval's hf backend on the same model and prompts: option scores and generation.

    python bench/lm_eval_backend.py choices --items 500        # ARC-e, accuracy by likelihood and time
    python bench/lm_eval_backend.py generation --items 64      # AddSub, 128 new tokens, items per second

SmolLM2-135M in float32. Needs `lm-eval` (extra `dev`) and KDSCOPE_DATA. Prints one JSON document.
"""

import argparse
import json
import time

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from kdscope.data import TEMPLATES, load_items
from kdscope.data.prompts import encode_prompts
from kdscope.evaluation.choice_scoring import choice_rows, statements
from kdscope.generation.decoding import generate
from kdscope.generation.settings import Decoding
from kdscope.models.loading import load_model, load_tokenizer

NEW_TOKENS = 128
CLEAN = TEMPLATES["clean"]


def instances(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=pair, idx=i)
        for i, pair in enumerate(arguments)
    ]


def by_lm_eval(backend, items) -> list[int]:
    """The likeliest option of every item, as lm-eval's ``acc`` takes it."""
    pairs = [
        (CLEAN.prompt(item.question), CLEAN.response(said))
        for item in items
        for said in statements(item)
    ]
    scores = iter(backend.loglikelihood(instances("loglikelihood", pairs), disable_tqdm=True))
    rows = [[next(scores)[0] for _ in item.options] for item in items]
    return [max(range(len(row)), key=row.__getitem__) for row in rows]


def choices(model, tokenizer, count: int) -> dict:
    items = load_items("arc-e", limit=count)
    gold = [item.options.index(item.gold) for item in items]
    start = time.perf_counter()
    rows = iter(choice_rows(model, tokenizer, items, CLEAN, {}))
    ours = [
        max(range(len(item.options)), key=[next(rows)["logprob"] for _ in item.options].__getitem__)
        for item in items
    ]
    found = {"items": count, "kdscope": {"seconds": time.perf_counter() - start}}
    found["kdscope"]["right"] = sum(map(int.__eq__, ours, gold))
    for size in (16, 32):
        backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size)
        start = time.perf_counter()
        theirs = by_lm_eval(backend, items)
        found[f"lm-eval {size}"] = {
            "seconds": time.perf_counter() - start,
            "right": sum(map(int.__eq__, theirs, gold)),
            "same_choice": sum(map(int.__eq__, ours, theirs)),
        }
    return found


def generation(model, tokenizer, count: int) -> dict:
    items = load_items("addsub", limit=count)
    prompts = [CLEAN.prompt(item.question) for item in items]
    encoded = encode_prompts(tokenizer, CLEAN, prompts)
    settings = Decoding(NEW_TOKENS)
    found = {"items": count, "new_tokens": NEW_TOKENS}
    for size in (64, 32):
        start = time.perf_counter()
        batched = generate(model, tokenizer, encoded, prompts, settings, batch_size=size)
        found[f"kdscope {size}"] = count / (time.perf_counter() - start)
    start, few = time.perf_counter(), min(count, 8)
    alone = generate(model, tokenizer, encoded[:few], prompts, settings, batch_size=1)
    found["one by one"] = few / (time.perf_counter() - start)
    found["equal to one by one"] = sum(
        a.tokens == b.tokens for a, b in zip(alone, batched, strict=False)
    )
    ends = {"until": ["### Instruction:", "\nQuestion:", "\nQ:"], "max_gen_toks": NEW_TOKENS}
    for size in (16, 32, 64):
        backend = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size)
        asked = instances("generate_until", [(prompt, dict(ends)) for prompt in prompts])
        start = time.perf_counter()
        backend.generate_until(asked, disable_tqdm=True)
        found[f"lm-eval {size}"] = count / (time.perf_counter() - start)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["choices", "generation"])
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--model", default="smollm2-135m")
    given = parser.parse_args()
    reference = {"name": given.model, "source": "embedded", "dtype": "float32"}
    run = {"choices": choices, "generation": generation}[given.what]
    print(json.dumps(run(load_model(reference), load_tokenizer(reference), given.items), indent=1))
