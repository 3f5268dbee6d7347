"""The distillation part of a grid with the teacher cache and without it.

    python bench/cache_grid.py [--examples 64] [--epochs 3] [--family tiny|smollm2] [--rounds 1]

One teacher, two students, three methods (forward KL, reverse KL, JSD on reference text), two temperatures.
With the cache: the teacher's states are written once and every student opens, verifies and reads them; without
it, the teacher runs beside every student. Everything else is the same work: same batches, same seeds, one
thread. Models are loaded outside of the clock. Prints processor and wall seconds, their ratio, the tokens
that the teacher forwarded, and the largest difference between the weights of the two students of a cell.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from kdscope.data import load_examples
from kdscope.data.collation import Encoded, encode
from kdscope.data.prompts import TEMPLATES
from kdscope.distillation.cache import TeacherCache
from kdscope.distillation.cache_writing import write_cache
from kdscope.distillation.signals import CachedTeacher, LiveTeacher, TeacherSignal
from kdscope.distillation.sources import ExactStates
from kdscope.distillation.training import Machine, Teaching, fit
from kdscope.divergences import Objective
from kdscope.models.adapters import add_adapter
from kdscope.models.loading import load_model, load_tokenizer, padding_id

print = functools.partial(print, flush=True)
OBJECTIVES = ("forward_kl", "reverse_kl", "jsd")
TEMPERATURES = (1.0, 2.0)
TARGETS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
FAMILIES = {
    "tiny": ({"name": "tiny-teacher"}, ({"name": "tiny-student"}, {"name": "tiny-student-small"})),
    "smollm2": (
        {"name": "smollm2-135m"},
        ({"name": "smollm2-135m", "layers": 15}, {"name": "smollm2-135m", "layers": 8}),
    ),
}


class Spent(NamedTuple):
    """Of one way through the grid."""

    processor: float
    wall: float
    tokens: int
    weights: list[torch.Tensor]


def reference(entry: dict) -> dict:
    """A model as steps name it."""
    return {"source": "embedded", "dtype": "float32", "layers": None, **entry}


def settings(epochs: int) -> dict:
    return {
        "epochs": epochs, "batch_size": 16, "learning_rate": 3e-4, "schedule": "linear",
        "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0, "reduction": "token",
        "select": "last", "gradient_checkpointing": False,
    }  # fmt: skip


def through_the_grid(
    students: Sequence[dict], examples: Sequence[Encoded], tokenizer, epochs: int,
    signal: Callable[[], TeacherSignal],
) -> tuple[float, float, list[torch.Tensor]]:  # fmt: skip
    """Processor and wall seconds of all cells, and their students' adapters."""
    processor = wall = 0.0
    weights = []
    for entry, name, temperature in product(students, OBJECTIVES, TEMPERATURES):
        lora = {"r": 8, "alpha": 16, "targets": TARGETS}
        student = add_adapter(load_model(reference(entry)), lora, 0)
        with tempfile.TemporaryDirectory() as place:
            began = time.process_time(), time.perf_counter()
            trained = fit(
                student, tokenizer, examples, Objective(name, temperature=temperature),
                settings(epochs), 0, Machine("cpu", None, Path(place)), teaching=Teaching(signal()),
            )  # fmt: skip
            processor += time.process_time() - began[0]
            wall += time.perf_counter() - began[1]
        parts = [w.detach().flatten() for w in trained.model.parameters() if w.requires_grad]
        weights.append(torch.cat(parts))
    return processor, wall, weights


def cached(teacher: LiveTeacher, students, examples, tokenizer, epochs: int) -> Spent:
    """The teacher once."""
    teacher.tokens = 0
    with tempfile.TemporaryDirectory() as place:
        began = time.process_time(), time.perf_counter()
        write_cache(Path(place), examples, ExactStates(teacher, padding_id(tokenizer)), about={})
        writing = time.process_time() - began[0], time.perf_counter() - began[1]
        processor, wall, weights = through_the_grid(
            students, examples, tokenizer, epochs,
            lambda: CachedTeacher(TeacherCache(Path(place)), "cpu"),
        )  # fmt: skip
    print(f"  writing the cache: {writing[0]:.1f} s of processor time")
    return Spent(processor + writing[0], wall + writing[1], teacher.tokens, weights)


def live(teacher: LiveTeacher, students, examples, tokenizer, epochs: int) -> Spent:
    """The teacher at every step."""
    teacher.tokens = 0
    processor, wall, weights = through_the_grid(
        students, examples, tokenizer, epochs, lambda: teacher
    )
    return Spent(processor, wall, teacher.tokens, weights)


def main() -> None:
    """Measure both ways, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--family", choices=FAMILIES, default="tiny")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    entry, students = FAMILIES[arguments.family]
    tokenizer = load_tokenizer(reference(entry))
    texts = list(load_examples("tiny-train", limit=None))[: arguments.examples]
    examples = encode(texts, tokenizer, TEMPLATES["clean"], 256).examples
    teacher = LiveTeacher(load_model(reference(entry)))
    tokens = sum(example.length for example in examples)
    print(f"{len(examples)} examples, {tokens:,} tokens, {arguments.epochs} epochs, 12 cells")
    ratios = []
    for number in range(arguments.rounds):
        one = cached(teacher, students, examples, tokenizer, arguments.epochs)
        other = live(teacher, students, examples, tokenizer, arguments.epochs)
        for name, spent in (("cached", one), ("live", other)):
            print(
                f"  {name}: {spent.processor:.1f} s of processor time, {spent.wall:.1f} s; teacher forwarded "
                f"{spent.tokens:,} tokens, each {spent.tokens / tokens:g} times"
            )
        pairs = zip(one.weights, other.weights, strict=True)
        apart = max(float((a - b).abs().max()) for a, b in pairs)
        ratios.append(other.processor / one.processor)
        print(
            f"round {number + 1}: live / cached = {ratios[-1]:.2f}; weights differ by {apart:.1e}"
        )
    print(f"median of {len(ratios)}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
