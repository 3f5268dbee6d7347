"""The fused head on one CUDA GPU, beside trl, Liger, plain logits and the floor.

    python bench/gpu.py               # Qwen2.5-0.5B <- 7B heads, bfloat16, 16 x 256 positions
    python bench/gpu.py --vocab 151665                      # rows of an odd length
    python bench/gpu.py --blocks 1024x4 4096x16             # other programs of the kernel, beside 2048x8
    python bench/gpu.py --budgets 256 512 2048              # other byte budgets (MB), beside the default

Needs torch with a CUDA device and Triton, else it ends with exit status 2 and says which is missing;
trl (`pip install trl`) and Liger (`pip install liger-kernel`) are measured where they can be imported.
Loss and gradient of the student's hidden states, frozen heads, random weights with logits of a
spread near 3. Medians over `--rounds`, variants taking turns; times from CUDA events. `floor` is the
three matrix products in bfloat16, the peak that of a large square product.
"""

import argparse
import importlib.machinery
import importlib.util
import re
import statistics
import sys
import types
from collections.abc import Callable

import torch

from kdscope.divergences import Objective, fused_objective

BETAS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": 0.5}  # what trl and Liger call them
HEADER = (
    "objective",
    "variant",
    "us/token",
    "x ours",
    "TFLOP/s of 2S+T",
    "share of peak",
    "extra MB",
    "gradient error",
)
Variant = Callable[[], torch.Tensor]


def inputs(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shapes = {
        "h_s": (args.tokens, args.student_width),
        "h_t": (args.tokens, args.teacher_width),
        "w_s": (args.vocab, args.student_width),
        "w_t": (args.vocab, args.teacher_width),
    }
    data = {
        name: torch.randn(shape, device="cuda", dtype=torch.bfloat16)
        for name, shape in shapes.items()
    }
    data["w_s"].mul_(3.0 / args.student_width**0.5)
    data["w_t"].mul_(3.0 / args.teacher_width**0.5)
    return data


def gradient(loss: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, hidden)[0]


def ours(data: dict, name: str, **options) -> torch.Tensor:
    hidden = data["h_s"].detach().requires_grad_()
    weights = torch.full((len(hidden),), 1.0 / len(hidden), device="cuda")
    result = fused_objective(
        hidden, data["w_s"], None, weights, Objective(name),
        teacher_hidden=data["h_t"], teacher_head=data["w_t"], **options,
    )  # fmt: skip
    return gradient(result.loss, hidden)


def ours_in_blocks(data: dict, name: str, shape: tuple[int, int]) -> torch.Tensor:
    """With programs of another shape: elements of a row at a time, and warps that share them."""
    from kdscope.divergences import row_kernels

    before = row_kernels.BLOCK, row_kernels.WARPS
    row_kernels.BLOCK, row_kernels.WARPS = shape
    try:
        return ours(data, name)
    finally:
        row_kernels.BLOCK, row_kernels.WARPS = before


def plain(data: dict, name: str) -> torch.Tensor:
    hidden = data["h_s"].detach().requires_grad_()
    lq = (hidden @ data["w_s"].T).float().log_softmax(-1)
    with torch.no_grad():
        lp = (data["h_t"] @ data["w_t"].T).float().log_softmax(-1)
    if name == "forward_kl":
        loss = (lp.exp() * (lp - lq)).sum()
    elif name == "reverse_kl":
        loss = (lq.exp() * (lq - lp)).sum()
    else:
        lm = torch.logaddexp(lp, lq) - 0.6931471805599453
        loss = 0.5 * (lp.exp() * (lp - lm) + lq.exp() * (lq - lm)).sum()
    return gradient(loss / len(hidden), hidden)


def floor(data: dict) -> torch.Tensor:
    torch.mm(data["h_t"], data["w_t"].T)
    logits = torch.mm(data["h_s"], data["w_s"].T)
    return torch.mm(logits, data["w_s"])


def trl_variant(data: dict, name: str) -> Variant | None:
    """trl's kernel alone; its trainers' data library is replaced where it is not installed."""
    if importlib.util.find_spec("datasets") is None:
        stub = types.ModuleType("datasets")
        stub.__spec__ = importlib.machinery.ModuleSpec("datasets", None)
        stub.Dataset = stub.IterableDataset = stub.DatasetDict = object  # type: ignore[attr-defined]
        sys.modules["datasets"] = stub
    try:
        from trl.kernels.chunked_divergence import ChunkedDivergenceFunction
    except Exception as error:
        print(f"trl is left out: {error!r}"[:300])
        return None

    def call() -> torch.Tensor:
        hidden = data["h_s"].detach().requires_grad_()
        values, _ = ChunkedDivergenceFunction.apply(
            hidden, data["w_s"], None, data["h_t"], data["w_t"], None, BETAS[name]
        )
        return gradient(values.mean(), hidden)

    return call


def liger_variants(data: dict, name: str) -> dict[str, Variant]:
    """Liger's two fused JSDs: chunked (torch.compile) and Triton."""
    try:
        from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss
        from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD
    except Exception as error:
        print(f"Liger is left out: {error!r}"[:300])
        return {}
    labels = torch.zeros(len(data["h_s"]), dtype=torch.long, device="cuda")
    chunked = LigerFusedLinearJSDLoss(0.0, 1.0, beta=BETAS[name])
    triton = LigerFusedLinearJSD(jsd_beta=BETAS[name])

    def by_chunks() -> torch.Tensor:
        hidden = data["h_s"].detach().requires_grad_()
        loss = chunked(hidden, data["w_s"], data["h_t"], data["w_t"], labels)
        return gradient(loss, hidden)

    def by_triton() -> torch.Tensor:
        hidden = data["h_s"].detach().requires_grad_()
        return gradient(triton(hidden, data["w_s"], data["h_t"], data["w_t"], None), hidden)

    return {"Liger chunked": by_chunks, "Liger Triton": by_triton}


def reference(data: dict, name: str, rows: int) -> torch.Tensor:
    """Gradient of the first rows in float64, on the same rounded inputs."""
    wide = {key: tensor.double() for key, tensor in data.items() if key.startswith("w")}
    wide |= {key: data[key][:rows].double() for key in ("h_s", "h_t")}
    hidden = wide["h_s"].requires_grad_()
    lq = (hidden @ wide["w_s"].T).log_softmax(-1)
    lp = (wide["h_t"] @ wide["w_t"].T).log_softmax(-1)
    if name == "forward_kl":
        loss = (lp.exp() * (lp - lq)).sum()
    elif name == "reverse_kl":
        loss = (lq.exp() * (lq - lp)).sum()
    else:
        lm = torch.logaddexp(lp, lq) - 0.6931471805599453
        loss = 0.5 * (lp.exp() * (lp - lm) + lq.exp() * (lq - lm)).sum()
    return gradient(loss, hidden)


def milliseconds(call: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def peak_megabytes(call: Callable[[], object]) -> float:
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def product_peak() -> float:
    """TFLOP/s of a large square bfloat16 product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    torch.mm(a, b)
    return (
        2
        * 8192**3
        / statistics.median(milliseconds(lambda: torch.mm(a, b)) for _ in range(20))
        / 1e9
    )


def measure(variants: dict[str, Variant], rounds: int) -> dict[str, float]:
    """Median milliseconds of each variant; those that fail are reported and left out."""
    usable = {}
    for name, call in variants.items():
        try:
            for _ in range(2):
                call()
            torch.cuda.synchronize()
            usable[name] = call
        except Exception as error:
            print(f"{name} is left out: {error!r}"[:300])
            torch.cuda.empty_cache()
    times: dict[str, list[float]] = {name: [] for name in usable}
    for _ in range(rounds):
        for name, call in usable.items():
            times[name].append(milliseconds(call))
    return {name: statistics.median(found) for name, found in times.items()}


def variants_of(data: dict, name: str, args: argparse.Namespace) -> dict[str, Variant]:
    variants: dict[str, Variant] = {"floor": lambda: floor(data), "ours": lambda: ours(data, name)}
    for budget in args.budgets:
        variants[f"ours, {budget} MB"] = lambda size=budget: ours(
            data, name, byte_budget=size * 2**20
        )
    for shape in args.blocks:
        variants[f"ours, {shape[0]}x{shape[1]}"] = lambda shape=shape: ours_in_blocks(
            data, name, shape
        )
    variants["ours fast"] = lambda: ours(data, name, precision="fast")
    variants["ours + telemetry"] = lambda: ours(data, name, telemetry=True)
    if (trl := trl_variant(data, name)) is not None:
        variants["trl"] = trl
    variants |= liger_variants(data, name)
    variants["plain"] = lambda: plain(data, name)
    return variants


def block_shape(text: str) -> tuple[int, int]:
    """``ELEMENTSxWARPS``, both powers of two, as Triton wants them."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    numbers = tuple(int(part) for part in found.groups()) if found else (0, 0)
    if not all(number > 0 and number & (number - 1) == 0 for number in numbers):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not ELEMENTSxWARPS with two powers of two, such as 2048x8"
        )
    return numbers[0], numbers[1]


def what_is_missing() -> str | None:
    """The reason why nothing can be measured here, if there is one."""
    if not torch.cuda.is_available():
        return f"no CUDA device: torch {torch.__version__} sees none"
    if importlib.util.find_spec("triton") is None:
        return "no Triton, which the kernel of the fused head is written in: pip install triton"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--student-width", type=int, default=896)
    parser.add_argument("--teacher-width", type=int, default=3584)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--objective", nargs="*", choices=list(BETAS), default=list(BETAS))
    parser.add_argument(
        "--budgets", type=int, nargs="*", default=[256], help="MB, beside the default"
    )
    parser.add_argument(
        "--blocks", type=block_shape, nargs="*", default=[], metavar="ELEMENTSxWARPS",
        help="shapes of the kernel's programs, beside the one in use",
    )  # fmt: skip
    args = parser.parse_args()
    if missing := what_is_missing():
        print(f"bench/gpu.py: nothing measured, {missing}", file=sys.stderr)
        sys.exit(2)
    peak = product_peak()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, peak {peak:.0f} TFLOP/s")
    print(f"V {args.vocab}, H {args.student_width} <- {args.teacher_width}, {args.tokens} tokens\n")
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
    work = 2 * args.vocab * (2 * args.student_width + args.teacher_width) * args.tokens / 1e9
    data = inputs(args)
    for name in args.objective:
        wanted = reference(data, name, 32)
        torch.cuda.empty_cache()
        variants = variants_of(data, name, args)
        times = measure(variants, args.rounds)
        for variant, time in times.items():
            error = "-"
            if variant != "floor":
                found = variants[variant]()[:32].double()
                found *= (found * wanted).sum() / (found * found).sum()  # reductions differ
                error = f"{float((found - wanted).norm() / wanted.norm()):.1e}"
                del found
            cells = (
                name,
                variant,
                f"{time / args.tokens * 1e3:.2f}",
                f"{time / times['ours']:.2f}",
                f"{work / time:.0f}",
                f"{work / time / peak:.0%}",
                f"{peak_megabytes(variants[variant]):.0f}",
                error,
            )
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
