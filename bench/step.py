"""One training step of a Qwen2.5-shaped pair on a CPU: kdscope's trainer, trl's trainers, plain code.

    python bench/step.py                          # student 4 of 24 layers, teacher 8 of 28, 9 GB
    python bench/step.py --teacher-layers 4       # less memory
    python bench/step.py --small                  # tiny widths: does everything still run?

Student as Qwen2.5-0.5B with LoRA, teacher as Qwen2.5-7B, random bfloat16 weights, a vocabulary of
151,936 (trl refuses pairs whose heads differ), half of the positions supervised. One call is a whole
`train()` of one optimizer step of each trainer's own code, timed from the start of its loop, batch and
optimizer included, to the end of the step:

- `cached`, `live`: `kdscope.distillation.DistillationTrainer`, the teacher read from a cache or run; `fast` rounds
  logits to bfloat16, as trl's GKDTrainer and plain code do, else they are float32, as trl's DistillationTrainer's;
- `trl distillation`: trl's DistillationTrainer on given completions (its generation is left out);
- `trl gkd`: trl's GKDTrainer, never on-policy; full logits of all positions in the models' dtype;
- `plain`: what the paper's code does: full logits of all positions, float32 softmax, autograd.

All share one student and one teacher, at learning rate 0, so that every step finds the same weights.
Variants take turns, the order rotates; times are CPU seconds, ratios are taken within a round, medians
over rounds are shown. Memory is the peak of the resident set above what it was before the step.
"""

import argparse
import ctypes
import gc
import os
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from datasets import Dataset
from peft import PeftModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    PreTrainedTokenizerFast,
    PrinterCallback,
    Qwen2Config,
    Qwen2ForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.initialization import no_init_weights

from kdscope.data.collation import Encoded, pad_batch
from kdscope.distillation.cache import TeacherCache
from kdscope.distillation.cache_writing import write_cache
from kdscope.distillation.signals import CachedTeacher, LiveTeacher, TeacherSignal
from kdscope.distillation.sources import ExactStates
from kdscope.distillation.trainer import DistillationTrainer
from kdscope.divergences import Objective
from kdscope.models.adapters import add_adapter
from kdscope.models.states import put_head_back, take_head_out

BETAS = {"forward_kl": 0.0, "reverse_kl": 1.0, "jsd": 0.5}  # what trl calls them
LORA = {
    "r": 8,
    "alpha": 16,
    "dropout": 0.0,
    "targets": ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"],
}
OURS = ("cached", "live", "cached, fast", "live, fast")
EPSILON = 1e-9  # what the paper's code adds to probabilities
QUIET = {
    "max_steps": 1, "learning_rate": 0.0, "save_strategy": "no", "report_to": "none",
    "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False, "logging_steps": 1000,
}  # fmt: skip
Step = Callable[[], tuple[float, float]]
"""Takes one optimizer step; its loss and CPU seconds."""


class Clock(TrainerCallback):
    """CPU seconds from the start of a training loop to the end of its last step."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.start = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.process_time() - self.start


class Pair:
    """Student and teacher, the examples, and a place on disk."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.folder, self.objective = folder, args.objective
        scale = 16 if args.small else 1
        vocab = 1000 if args.small else 151_936
        self.tokenizer = vocabulary_of(vocab)
        student = random_model(vocab, 896 // scale, 4864 // scale, args.student_layers, 14, 2, True)
        self.student = add_adapter(student, LORA, 0)
        self.teacher = random_model(
            vocab, 3584 // scale, 18944 // scale, args.teacher_layers, 28, 4, False
        )
        draw = torch.Generator().manual_seed(0)
        ids = torch.randint(0, vocab - 1, (args.sequences, args.length), generator=draw).tolist()
        half = args.length // 2
        self.examples = [
            Encoded(f"e/{i}", tuple(row[:half]), tuple(row[half:])) for i, row in enumerate(ids)
        ]
        self.batch = pad_batch(self.examples, self.tokenizer.pad_token_id)

    @property
    def supervised(self) -> int:
        return sum(len(example.response) for example in self.examples)

    def with_heads(self) -> None:
        """Both models as transformers makes them: kdscope takes their heads out."""
        put_head_back(self.student)
        put_head_back(self.teacher)

    def settings(self, name: str) -> dict[str, Any]:
        place = str(self.folder / name)
        return QUIET | {"output_dir": place, "per_device_train_batch_size": len(self.examples)}


def vocabulary_of(size: int) -> PreTrainedTokenizerFast:
    """A tokenizer of so many words, the last of which ends and pads."""
    words = {f"w{number}": number for number in range(size)}
    end = f"w{size - 1}"
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token=end)),
        eos_token=end, pad_token=end, padding_side="left",
    )  # fmt: skip


def random_model(
    vocab: int, width: int, inner: int, layers: int, heads: int, kv_heads: int, tied: bool
) -> Qwen2ForCausalLM:
    """Qwen2 in bfloat16; its matrices are one block of normal numbers, repeated."""
    config = Qwen2Config(
        vocab_size=vocab, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=tied,
        use_cache=False, bos_token_id=None, eos_token_id=vocab - 1, pad_token_id=vocab - 1,
        dtype=torch.bfloat16,
    )  # fmt: skip
    with no_init_weights():
        model = Qwen2ForCausalLM._from_config(config)
    block = torch.empty(2**22 - 3, dtype=torch.bfloat16)
    block.normal_(0.0, 0.02, generator=torch.Generator().manual_seed(width))
    with torch.no_grad():
        for weight in model.parameters():
            flat = weight.view(-1)
            if weight.dim() < 2:
                weight.fill_(1.0 if len(weight) == width else 0.0)
                continue
            for start in range(0, len(flat), len(block)):
                part = flat[start : start + len(block)]
                part.copy_(block[: len(part)])
    return model.eval()


def ours(pair: Pair, name: str, signal: TeacherSignal, precision: str = "exact") -> Step:
    pair.with_heads()
    trainer = DistillationTrainer(
        pair.student, pair.tokenizer, TrainingArguments(**pair.settings(name), remove_unused_columns=False),
        pair.examples, Objective(pair.objective), signal=signal,
        batch_size=len(pair.examples), micro_batch=len(pair.examples), precision=precision,
    )  # fmt: skip
    pair.with_heads()
    return step_of(
        trainer, lambda: [take_head_out(model) for model in (pair.student, pair.teacher)]
    )


def step_of(trainer: Trainer, prepare: Callable[[], object]) -> Step:
    clock = Clock()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)

    def step() -> tuple[float, float]:
        prepare()
        return trainer.train().training_loss, clock.seconds

    return step


def cached_teacher(pair: Pair, live: LiveTeacher) -> CachedTeacher:
    folder = pair.folder / "teacher"
    folder.mkdir()
    take_head_out(pair.teacher)
    write_cache(folder, pair.examples, ExactStates(live, pair.tokenizer.pad_token_id), about={})
    return CachedTeacher(TeacherCache(folder), "cpu")


def trl_distillation(pair: Pair) -> Step:
    from trl import DistillationConfig
    from trl import DistillationTrainer as Theirs

    class OnGivenText(Theirs):
        """Takes the examples where it would have generated completions."""

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            half = pair.batch.input_ids.shape[1] // 2
            ids, mask = pair.batch.input_ids, pair.batch.attention_mask
            return {
                "prompt_ids": ids[:, :half], "prompt_mask": mask[:, :half],
                "completion_ids": ids[:, half:], "completion_mask": mask[:, half:],
                "num_items_in_batch": torch.tensor(float(pair.supervised)),
            }  # fmt: skip

    settings = DistillationConfig(
        **pair.settings("trl-distillation"), beta=BETAS[pair.objective], bf16=False,
        gradient_checkpointing=False,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "w1"} for _ in pair.examples])
    trainer = OnGivenText(
        pair.student, pair.teacher, settings, train_dataset=data, processing_class=pair.tokenizer
    )
    return step_of(trainer, pair.with_heads)


def trl_gkd(pair: Pair) -> Step:
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    settings = GKDConfig(
        **pair.settings("trl-gkd"), beta=BETAS[pair.objective], lmbda=0.0, bf16=False,
        gradient_checkpointing=False, max_length=None,
    )  # fmt: skip
    trainer = GKDTrainer(
        pair.student, pair.teacher, settings, data_collator=lambda _: dict(pair.batch._asdict()),
        train_dataset=Dataset.from_list([{"text": "w1"} for _ in pair.examples]),
        processing_class=pair.tokenizer,
    )  # fmt: skip
    return step_of(trainer, pair.with_heads)


def plain(pair: Pair) -> Step:
    trainable = [weight for weight in pair.student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.0)

    def step() -> tuple[float, float]:
        pair.with_heads()
        start = time.process_time()
        pair.student.train()
        ids, mask, _ = pair.batch
        z_s = pair.student(input_ids=ids, attention_mask=mask).logits
        with torch.no_grad():
            z_t = pair.teacher(input_ids=ids, attention_mask=mask).logits
        value = plain_divergence(z_s, z_t, pair.objective)
        loss = ((value * mask).sum(-1) / mask.sum(-1)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item(), time.process_time() - start

    return step


def plain_divergence(z_s: torch.Tensor, z_t: torch.Tensor, name: str) -> torch.Tensor:
    """Value per position from full logits ``[B, T, V]``, epsilons and all."""
    q = torch.softmax(z_s, dim=-1, dtype=torch.float32) + EPSILON
    p = torch.softmax(z_t, dim=-1, dtype=torch.float32) + EPSILON
    if name == "forward_kl":
        return (p * (p.log() - q.log())).sum(-1)
    if name == "reverse_kl":
        return (q * (q.log() - p.log())).sum(-1)
    m = (p + q) / 2
    return (p * (p.log() - m.log()) + q * (q.log() - m.log())).sum(-1) / 2


class Memory:
    """Peak of the resident set within a block, above what it was before."""

    def __enter__(self) -> "Memory":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak starts anew
        self.before = kilobytes("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        self.megabytes = (kilobytes("VmHWM") - self.before) / 1024


def kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def compare(steps: dict[str, Step], rounds: int) -> dict[str, list[tuple[float, float, float]]]:
    """CPU seconds, megabytes and loss of every variant in every round, after one untimed step each.

    Interrupted (Ctrl-C), it gives the rounds that were finished.
    """
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    names = list(steps)
    done = 0
    try:
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                with Memory() as memory:
                    loss, seconds = steps[name]()
                found[name].append((seconds, memory.megabytes, loss))
            done += 1
            print(f"round {done} of {rounds}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print(f"interrupted: {done} rounds", flush=True)
    return {name: rows[:done] for name, rows in found.items()}


def report(found: dict[str, list[tuple[float, float, float]]]) -> None:
    heads = [
        "variant",
        "s/step",
        *(f"x {name}" for name in OURS),
        "peak MB above the models",
        "loss",
    ]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name, rows in found.items():
        over = [
            statistics.median(a[0] / b[0] for a, b in zip(rows, found[base], strict=True))
            for base in OURS
        ]
        seconds, megabytes, loss = (statistics.median(column) for column in zip(*rows, strict=True))
        ratios = " | ".join(f"{ratio:.2f}" for ratio in over)
        print(f"| {name} | {seconds:.2f} | {ratios} | {megabytes:.0f} | {loss:.6f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--student-layers", type=int, default=4)
    parser.add_argument("--teacher-layers", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=2)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--objective", choices=list(BETAS), default="reverse_kl")
    parser.add_argument("--small", action="store_true", help="widths and vocabulary of a test")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started it with &
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(args, Path(folder))
        live = LiveTeacher(pair.teacher)
        cached = cached_teacher(pair, live)
        steps = {
            "cached": ours(pair, "cached", cached),
            "live": ours(pair, "live", live),
            "cached, fast": ours(pair, "cached-fast", cached, "fast"),
            "live, fast": ours(pair, "live-fast", live, "fast"),
            "trl distillation": trl_distillation(pair),
            "trl gkd": trl_gkd(pair),
            "plain": plain(pair),
        }
        assert isinstance(pair.student, PeftModel)
        print(
            f"{args.objective}, {args.sequences} x {args.length} tokens, {pair.supervised} supervised, "
            f"layers {args.student_layers} <- {args.teacher_layers}, {args.rounds} rounds, "
            f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n",
            flush=True,
        )
        report(compare(steps, args.rounds))


if __name__ == "__main__":
    main()
