"""One training from its plain settings: the Trainer's arguments, checkpoints, curves."""

import copy
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState
from torch.distributed.fsdp import FSDPModule
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from kdscope.data.collation import Batch, Encoded, pad_batch
from kdscope.distillation.noise import TeacherNoise
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.signals import TeacherSignal
from kdscope.distillation.trainer import DistillationTrainer
from kdscope.divergences import Objective, Telemetry, fused_objective
from kdscope.models.states import supervised_states

CHECKPOINT_SECONDS = 120.0  # a training that was killed repeats at most this much
CURVE_POINTS = 50
_KNOWN = {argument.name for argument in fields(TrainingArguments)}
_CHECKPOINTING = (  # as transformers calls it from 5.21 on, and before
    "activation_checkpointing" if "activation_checkpointing" in _KNOWN else "gradient_checkpointing"
)


@dataclass(frozen=True)
class Teaching:
    """What a student learns from besides the text: all None in plain fine-tuning.

    Attributes:
        signal: teacher's states on the text.
        rollouts: when the student's own sequences are used.
        rollout_signal: teacher's states on these.
        noise: on the teacher's logits.
    """

    signal: TeacherSignal | None = None
    rollouts: Rollouts | None = None
    rollout_signal: TeacherSignal | None = None
    noise: TeacherNoise | None = None


@dataclass(frozen=True)
class Machine:
    """Where and how a training runs; nothing here changes its result beyond the last bits.

    Attributes:
        device: ``cpu``, ``cuda``, ``mps``.
        micro_batch: sequences per forward pass at most; None for the whole batch.
        checkpoints: folder that survives a killed attempt.
        on_step: called with (steps done, steps in all, loss).
        reporting: the Trainer's arguments that name trackers; empty for none.
        metrics: file that everything logged is appended to, one JSON object a line.
        parallel: what several processes (as torchrun starts them) do: ``replicas`` keep all weights
            each (DDP), ``sharded`` a part each (FSDP2). A window is shared out among them.
    """

    device: str
    micro_batch: int | None
    checkpoints: Path
    on_step: Callable[[int, int, float], None] | None = None
    reporting: Mapping[str, Any] = field(default_factory=dict)
    metrics: Path | None = None
    parallel: str = "replicas"


@dataclass(frozen=True)
class Trained:
    """A finished training: the model in evaluation mode, its curves, and what it cost.

    ``micro_batch`` is what memory allowed: examples of a forward pass at most.
    """

    model: torch.nn.Module
    curves: list[dict[str, Any]]
    supervised_tokens: int
    steps: int
    micro_batch: int


def fit(
    model: torch.nn.Module,
    tokenizer,
    examples: Sequence[Encoded],
    objective: Objective,
    train: Mapping[str, Any],
    seed: int,
    machine: Machine,
    *,
    teaching: Teaching = Teaching(),
    validation: Sequence[Encoded] = (),
) -> Trained:
    """Train a model; a killed attempt goes on at its last checkpoint.

    Args:
        model: student with adapters in place (or all weights trainable).
        tokenizer: shared with the teacher.
        examples: text of the fixed part.
        objective: per token.
        train: ``epochs, batch_size, learning_rate, schedule, warmup_steps, weight_decay, max_grad_norm,
            reduction, select, gradient_checkpointing`` of the study.
        seed: of data order, dropout, rollouts and coins.
        machine: see there.
        teaching: the teacher's part.
        validation: held-out examples; their nll is noted after each epoch, and decides with
            ``select: best_nll``.
    """
    AcceleratorState._reset_state(reset_partial_state=True)  # one worker runs many trainings
    GradientState._reset_state()
    steps_per_epoch = math.ceil(len(examples) / train["batch_size"])
    steps = max(1, math.ceil(train["epochs"] * steps_per_epoch))
    arguments = _arguments(train, seed, machine, steps)
    share = arguments.per_device_train_batch_size
    trainer = DistillationTrainer(
        model,
        tokenizer,
        arguments,
        examples,
        objective,
        batch_size=int(train["batch_size"]),
        micro_batch=min(share, machine.micro_batch or share),
        reduction=train["reduction"],
        precision=train.get("precision", "exact"),
        signal=teaching.signal,
        rollouts=teaching.rollouts,
        rollout_signal=teaching.rollout_signal,
        noise=teaching.noise,
        on_step=machine.on_step,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_TimedCheckpoints())
    if machine.metrics is not None:
        trainer.add_callback(_Lines(machine.metrics))
    watcher = None
    if validation:
        watcher = _Validation(trainer, validation, keep_best=train["select"] == "best_nll")
        trainer.add_callback(watcher)
    checkpoint = (
        get_last_checkpoint(str(machine.checkpoints)) if machine.checkpoints.is_dir() else None
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    curves = _curves(trainer.state.log_history)
    if watcher is not None:
        curves += watcher.curve
        watcher.restore_best()
    return Trained(
        trainer.finish(),
        curves,
        trainer.state.num_input_tokens_seen,
        trainer.state.global_step,
        trainer.micro_batch,
    )


def _arguments(
    train: Mapping[str, Any], seed: int, machine: Machine, steps: int
) -> TrainingArguments:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    return TrainingArguments(
        output_dir=str(machine.checkpoints),
        per_device_train_batch_size=math.ceil(int(train["batch_size"]) / world),
        gradient_accumulation_steps=1,  # the trainer splits a window itself
        ddp_find_unused_parameters=False,  # the head is used outside of the wrapper's forward
        max_steps=steps,
        learning_rate=train["learning_rate"],
        lr_scheduler_type=train["schedule"],
        warmup_steps=train["warmup_steps"],
        weight_decay=train["weight_decay"],
        max_grad_norm=train["max_grad_norm"],
        **{_CHECKPOINTING: train["gradient_checkpointing"]},
        seed=seed,
        data_seed=seed,
        logging_steps=max(1, steps // CURVE_POINTS),
        logging_nan_inf_filter=False,
        save_strategy="no",
        save_total_limit=1,
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=machine.device == "cpu",
        dataloader_pin_memory=machine.device != "cpu",
        **{"report_to": "none", **machine.reporting},
        fsdp=machine.parallel == "sharded" and world > 1,  # type: ignore[arg-type]
    )


def _curves(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the ``curves`` table, without the columns of the system."""
    numbers = {field.name for field in fields(Telemetry)} - {"tokens"}
    measures = ("loss", "grad_norm", "learning_rate", *sorted(numbers))
    return [
        {
            "optimizer_step": int(entry["step"]),
            "epoch": float(entry["epoch"]),
            "measure": measure,
            "value": float(entry[measure]),
        }
        for entry in history
        if "loss" in entry
        for measure in measures
        if measure in entry
    ]


class _TimedCheckpoints(TrainerCallback):
    """Saves when two minutes have passed: short trainings never do."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def on_step_end(self, args, state, control, **_):
        due = time.monotonic() - self.last > CHECKPOINT_SECONDS
        if args.world_size > 1:  # clocks differ: all follow the first process
            flag = torch.tensor(float(due), device=args.device)
            torch.distributed.broadcast(flag, src=0)
            due = bool(flag)
        if due and state.global_step < state.max_steps:
            control.should_save = True
            self.last = time.monotonic()
        return control


class _Lines(TrainerCallback):
    """Appends what is logged to a file of JSON lines; a resumed training says some steps again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args, state, control, logs=None, **_):
        numbers = {name: v for name, v in (logs or {}).items() if isinstance(v, int | float)}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": state.global_step, **numbers}) + "\n")


class _Validation(TrainerCallback):
    """Mean nll on held-out examples after each epoch, and the best weights so far."""

    def __init__(
        self, trainer: DistillationTrainer, examples: Sequence[Encoded], *, keep_best: bool
    ) -> None:
        self.trainer, self.examples, self.keep_best = trainer, examples, keep_best
        self.curve: list[dict[str, Any]] = []
        self.best: tuple[float, dict[str, torch.Tensor]] | None = None

    def on_epoch_end(self, args, state, control, **_):
        value = self._nll(self.trainer.micro_batch)
        self.curve.append(
            {
                "optimizer_step": state.global_step,
                "epoch": float(state.epoch),
                "measure": "validation_nll",
                "value": value,
            }
        )
        if self.keep_best and (self.best is None or value < self.best[0]):
            trainable = {
                name: copy.deepcopy(weight.detach())
                for name, weight in self.trainer.student.named_parameters()
                if weight.requires_grad
            }
            self.best = (value, trainable)
        return control

    @torch.no_grad()
    def _nll(self, size: int) -> float:
        """Nats per supervised token."""
        trainer, total, tokens = self.trainer, 0.0, 0
        trainer.student.eval()
        for start in range(0, len(self.examples), size):
            padded = pad_batch(self.examples[start : start + size], trainer.pad_id)
            batch = Batch(*(part.to(trainer.args.device) for part in padded))
            hidden, labels = supervised_states(trainer.student, *batch)
            ones = torch.ones(len(labels), device=hidden.device)
            loss = fused_objective(
                hidden, trainer.head, labels, ones, Objective("nll"), vocab_size=trainer.vocabulary
            ).loss
            total, tokens = total + float(loss), tokens + len(labels)
        _reshard(trainer.student)
        trainer.student.train()
        return total / max(tokens, 1)

    def restore_best(self) -> None:
        """Put the best weights back, where they were asked for."""
        if self.best is not None:
            self.trainer.student.load_state_dict(self.best[1], strict=False)


def _reshard(model: torch.nn.Module) -> None:
    """Give back what a forward pass without a backward one leaves gathered of sharded weights."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
