"""The fused head against trl's chunked divergence, plain full logits, and the floor of products.

    python bench/head.py                  # float32 and bfloat16, Qwen2.5-0.5B <- 7B, 5 minutes
    python bench/head.py --dtype float32 --student-width 896 --teacher-width 896 --tokens 128
    python bench/head.py --memory         # extra peak memory over the number of tokens

Everything compared does the same work in one process: loss and gradient of the student's hidden
states with frozen heads. Variants take turns within a round and the order rotates, so that a noisy
machine is noisy to all; times are CPU seconds of one thread, ratios are taken within a round, and
medians over rounds are shown. `floor` is the three matrix products by torch.mm in float32, `own
floor` the same by the products that the head uses (oneDNN's on AMD's AVX-512 units). `fast` is shown
where the processor has fast bfloat16 products (AMX, or AMD's AVX-512 units); elsewhere it is `exact`.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from kdscope.divergences import Objective, fused_objective
from kdscope.divergences.onednn import add_back, project_into
from kdscope.divergences.products import narrow_products_are_fast

VOCAB = 151_936
OBJECTIVES = {
    "forward_kl": 0.0,
    "reverse_kl": 1.0,
    "jsd": 0.5,
}  # and trl's beta for the same formula
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def inputs(tokens: int, student: int, teacher: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Random states and heads with logits of a spread near 3, as trained models have."""
    torch.manual_seed(0)
    shapes = {
        "student_hidden": (tokens, student),
        "teacher_hidden": (tokens, teacher),
        "student_head": (VOCAB, student),
        "teacher_head": (VOCAB, teacher),
    }
    data = {name: torch.empty(shape, dtype=dtype).normal_() for name, shape in shapes.items()}
    data["student_head"].mul_(3.0 / student**0.5)
    data["teacher_head"].mul_(3.0 / teacher**0.5)
    return data


def ours(data: dict, name: str, precision: str = "exact") -> torch.Tensor:
    hidden = data["student_hidden"].requires_grad_()
    weights = torch.full((len(hidden),), 1.0 / len(hidden))
    result = fused_objective(
        hidden, data["student_head"], None, weights, Objective(name),
        teacher_hidden=data["teacher_hidden"], teacher_head=data["teacher_head"],
        precision=precision,
    )  # fmt: skip
    return torch.autograd.grad(result.loss, hidden)[0]


def trl(data: dict, name: str) -> torch.Tensor:
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    hidden = data["student_hidden"].requires_grad_()
    values, _ = ChunkedDivergenceFunction.apply(
        hidden, data["student_head"], None,
        data["teacher_hidden"], data["teacher_head"], None, OBJECTIVES[name],
    )  # fmt: skip
    return torch.autograd.grad(values.mean(), hidden)[0]


def plain(data: dict, name: str) -> torch.Tensor:
    """What a page of training code does: full logits of both, autograd."""
    hidden = data["student_hidden"].requires_grad_()
    lq = (hidden @ data["student_head"].T).float().log_softmax(-1)
    lp = (data["teacher_hidden"] @ data["teacher_head"].T).float().log_softmax(-1)
    if name == "forward_kl":
        values = (lp.exp() * (lp - lq)).sum(-1)
    elif name == "reverse_kl":
        values = (lq.exp() * (lq - lp)).sum(-1)
    else:
        lm = torch.logaddexp(lp, lq) - torch.log(torch.tensor(2.0))
        values = 0.5 * (lp.exp() * (lp - lm) + lq.exp() * (lq - lm)).sum(-1)
    return torch.autograd.grad(values.mean(), hidden)[0]


def floor(data: dict) -> None:
    """Three products: both projections, and the student's gradient back."""
    with torch.no_grad():
        torch.mm(data["teacher_hidden"], data["teacher_head"].T)
        logits = torch.mm(data["student_hidden"], data["student_head"].T)
        torch.mm(logits, data["student_head"])


def own_floor(data: dict) -> None:
    """The same three by the products of the fused head."""
    with torch.no_grad():
        hidden, head = data["student_hidden"], data["student_head"]
        logits = hidden.new_empty(len(hidden), VOCAB)
        project_into(data["teacher_hidden"], data["teacher_head"], logits)
        project_into(hidden, head, logits)
        add_back(logits, head, torch.zeros_like(hidden))


def compare(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every variant in every round; one untimed call of each first."""
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for call in variants.values():
        call()
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.process_time()
            variants[name]()
            seconds[name].append(time.process_time() - start)
    return seconds


def median_ratio(over: list[float], under: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def run_times(args: argparse.Namespace) -> None:
    print(
        f"V {VOCAB}, H {args.student_width} <- {args.teacher_width}, {args.tokens} tokens, "
        f"{args.rounds} rounds, torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n"
    )
    print("| dtype | objective | floor ms/token | ours / floor | ours / own floor | trl / ours | plain / ours "
          "| trl / ours fast | fast: gradient error |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for dtype in args.dtype:
        data = inputs(args.tokens, args.student_width, args.teacher_width, DTYPES[dtype])
        wide = (
            {name: tensor.detach().float() for name, tensor in data.items()}
            if dtype == "bfloat16"
            else data
        )
        for name in args.objective:
            variants = {
                "floor": lambda wide=wide: floor(wide),
                "own floor": lambda wide=wide: own_floor(wide),
                "ours": lambda data=data, name=name: ours(data, name),
                "trl": lambda data=data, name=name: trl(data, name),
                "plain": lambda data=data, name=name: plain(data, name),
            }
            error = "-"
            if dtype == "bfloat16" and narrow_products_are_fast():
                variants["fast"] = lambda data=data, name=name: ours(data, name, "fast")
                error = f"{relative_error(ours(data, name, 'fast'), ours(wide, name)):.1e}"
            t = compare(variants, args.rounds)
            cells = [
                dtype,
                name,
                f"{statistics.median(t['floor']) / args.tokens * 1e3:.1f}",
                f"{median_ratio(t['ours'], t['floor']):.2f}",
                f"{median_ratio(t['ours'], t['own floor']):.2f}",
                f"{median_ratio(t['trl'], t['ours']):.2f}",
                f"{median_ratio(t['plain'], t['ours']):.2f}",
                f"{median_ratio(t['trl'], t['fast']):.2f}" if "fast" in t else "-",
                error,
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


def run_memory(args: argparse.Namespace) -> None:
    """Peak of the resident set above what inputs and imports take, each in a fresh process."""
    print("| tokens | variant | extra peak memory, MB |")
    print("|---|---|---|", flush=True)
    for tokens in (256, 1024, 4096):
        for variant in ("ours", "trl", "plain"):
            if variant == "plain" and tokens > 1024:
                continue
            command = [sys.executable, __file__, "--peak-of", variant, "--tokens", str(tokens)]
            peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            print(f"| {tokens} | {variant} | {float(peak) / 2**20:.0f} |", flush=True)


def print_peak(variant: str, tokens: int) -> None:
    data = inputs(tokens, 64, 64, torch.float32)
    call = {"ours": ours, "trl": trl, "plain": plain}[variant]
    call(
        {name: t.detach()[:2] if "hidden" in name else t for name, t in data.items()}, "forward_kl"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call(data, "forward_kl")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) * 1024)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--student-width", type=int, default=896)
    parser.add_argument("--teacher-width", type=int, default=3584)
    parser.add_argument("--dtype", nargs="*", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument(
        "--objective", nargs="*", choices=list(OBJECTIVES), default=list(OBJECTIVES)
    )
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak-of", choices=["ours", "trl", "plain"])
    args = parser.parse_args()
    if args.peak_of:
        print_peak(args.peak_of, args.tokens)
    elif args.memory:
        run_memory(args)
    else:
        run_times(args)


if __name__ == "__main__":
    main()
