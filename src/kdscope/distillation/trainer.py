"""The one subclass of ``transformers.Trainer``, for teachers and students, every method and every signal.

It changes four things: the loss is the fused objective on the supervised positions; its normalisation
counts the whole optimizer step, over all processes, so that the gradient does not depend on how the batch
was split; the examples of a step come as one window, which is split into smaller micro-batches when memory
runs out; and an on-policy step exchanges the reference text for rollouts of the student, generated once
for the step.
"""

import contextlib
import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from kdscope.data.collation import Batch, Encoded, pad_batch
from kdscope.distillation import diagnosis
from kdscope.distillation.grouped import grouped_objective
from kdscope.distillation.memory import give_back, is_out_of_memory
from kdscope.distillation.noise import TeacherNoise
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.signals import LiveTeacher, TeacherSignal
from kdscope.distillation.targets import Targets, TopK
from kdscope.distillation.windows import (
    Examples,
    MicroBatch,
    Share,
    ShuffledWindows,
    as_they_are,
    micro_batches,
    share,
)
from kdscope.divergences import Head, Objective, Telemetry, fused_objective, model_head
from kdscope.errors import ModelError, NumericalError
from kdscope.models.adapters import plain
from kdscope.models.loading import padding_id
from kdscope.models.states import put_head_back, supervised_states, take_head_out


class DistillationTrainer(Trainer):
    """Trains one model on encoded examples under one objective.

    Args:
        model: the student (or the teacher in its own fine-tuning), adapters in place.
        tokenizer: shared by student and teacher.
        arguments: the Trainer's own settings.
        examples: reference or teacher text.
        objective: value per token.
        batch_size: examples of an optimizer step, over all processes.
        micro_batch: examples of a forward pass at most; halved where memory runs out.
        reduction: ``token`` (mean over the supervised tokens of the optimizer step) or ``sequence`` (mean
            of per-sequence means).
        precision: of the head's logits, see :func:`kdscope.divergence`.
        signal: the teacher's states on ``examples``; None for ``nll``.
        rollouts: when the student's own sequences are used; None for never.
        rollout_signal: the teacher's states on rollouts.
        noise: added to the teacher's logits; None for none.
        on_step: called with (optimizer steps done, steps in all, loss).
    """

    def __init__(  # noqa: PLR0913 - the parts that a method is made of
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        arguments: TrainingArguments,
        examples: Sequence[Encoded],
        objective: Objective,
        *,
        batch_size: int,
        micro_batch: int,
        reduction: str = "token",
        precision: str = "exact",
        signal: TeacherSignal | None = None,
        rollouts: Rollouts | None = None,
        rollout_signal: TeacherSignal | None = None,
        noise: TeacherNoise | None = None,
        on_step: Callable[[int, int, float], None] | None = None,
    ) -> None:
        self._form = model_head(plain(model))
        self._head_module: Any = plain(model).get_output_embeddings()
        take_head_out(model)
        self.objective, self.reduction, self.precision = objective, reduction, precision
        self.signal, self.rollout_signal = signal, rollout_signal
        self.rollouts, self.noise = rollouts, noise
        self.tokenizer, self.pad_id = tokenizer, padding_id(tokenizer)
        self.student = model
        self.vocabulary = len(tokenizer)
        self.batch_size, self.micro_batch = batch_size, micro_batch
        self.seen: Telemetry | None = None
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=Examples(examples),
            data_collator=as_they_are,
            callbacks=[_Progress(on_step)] if on_step else None,
        )
        if arguments.fsdp and not self.is_fsdp_enabled:
            raise ModelError(
                "sharded weights (FSDP2) need accelerators: on CPUs every process would keep all weights, "
                "silently. Use parallel='replicas' here"
            )
        if self.is_fsdp_enabled and rollouts is not None:
            raise ModelError(
                "rollouts of a sharded student are not supported: its processes would decode for unequal "
                "times and wait for each other for ever. Use replicas, or a method without on_policy"
            )

    @property
    def head(self) -> Head:
        """The student's head as it is now: sharding replaces the weights of a module."""
        module = getattr(self._head_module, "base_layer", self._head_module)
        return replace(self._form, weight=module.weight, bias=getattr(module, "bias", None))

    def get_train_dataloader(self) -> DataLoader:
        """Whole windows, the same in every process."""
        examples: Any = self.train_dataset
        per_epoch = math.ceil(len(examples) / self.batch_size)
        windows = ShuffledWindows(
            len(examples), self.batch_size, self.args.data_seed or 0,
            lambda: self.state.global_step // per_epoch,
        )  # fmt: skip
        return DataLoader(examples, batch_sampler=windows, collate_fn=as_they_are)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor | int | None]:
        """This process's share of a window, and what the losses of all of them are divided by."""
        window = next(epoch_iterator, None)
        if window is None:
            return [], None
        parts = self._parts(window)
        own = [example for part, _ in parts if part.counts for example in part.examples]
        tokens = sum(len(example.response) for example in own)
        sums = torch.tensor([tokens, len(own)], device=device)
        if self.args.world_size > 1:
            sums = self.accelerator.reduce(sums, "sum")
        # Supervised ones; checkpoints keep the count.
        self.state.num_input_tokens_seen += int(sums[0])  # type: ignore[index]
        total = sums[0 if self.reduction == "token" else 1]  # type: ignore[index]
        return [{"parts": parts}], total

    def _parts(self, window: Sequence[Encoded]) -> list[tuple[Share, bool]]:
        """This process's share of a window: its text, and what its rollouts replace, apart."""
        rank, world = self.args.process_index, self.args.world_size
        part = share(window, rank, world)
        if self.rollouts is None:
            return [(part, False)]
        coins = self.rollouts.chosen(self.state.global_step, len(window))
        own = coins[rank::world] or coins[:1]
        text = [example for example, coin in zip(part.examples, own, strict=True) if not coin]
        rolled = [example for example, coin in zip(part.examples, own, strict=True) if coin]
        groups = [(text, False), (self._roll_out(rolled) if rolled else [], True)]
        if not (text and rolled):
            return [(part._replace(examples=group), coin) for group, coin in groups if group]
        return [(Share(group, part.counts, len(group)), coin) for group, coin in groups]

    def _roll_out(self, examples: Sequence[Encoded]) -> list[Encoded]:
        """Rollouts of these prompts, fewer at a time where memory runs out."""
        while self.rollouts is not None:
            try:
                step = self.state.global_step
                return self.rollouts.sample(self.model, self.tokenizer, examples, step)
            except Exception as error:
                size = min(self.rollouts.batch_size, len(examples))
                if not is_out_of_memory(error) or size == 1:
                    raise
            give_back()
            self.rollouts = replace(self.rollouts, batch_size=size // 2)
        raise RuntimeError("an on-policy step without rollouts")

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted here: tokens are."""
        return 0

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Forward and backward passes of a window; the loss, detached.

        Where memory runs out, the window's gradients are thrown away and it is computed again with half
        the micro-batch. With several processes the error is passed on: the others could not follow.
        """
        model.train()
        while True:
            before = self.seen
            try:
                return self._window(model, inputs["parts"], num_items_in_batch)
            except Exception as error:
                alone = self.args.world_size == 1
                if not (is_out_of_memory(error) and alone and self.micro_batch > 1):
                    raise
            self.seen = before
            model.zero_grad()
            give_back()
            self.micro_batch = self.micro_batch // 2

    def _window(
        self,
        model: nn.Module,
        parts: Sequence[tuple[Share, bool]],
        total: Tensor | int | None,
    ) -> Tensor:
        batches: list[tuple[MicroBatch, bool]] = []
        for part, rolled in parts:
            own = micro_batches(part, self.micro_batch)
            signal = self._signal(rolled)
            if signal is not None:
                signal.prefetch([micro.examples for micro in own])
            batches += [(micro, rolled) for micro in own]
        loss = torch.zeros((), device=self.args.device)
        for number, (micro, rolled) in enumerate(batches):
            last = number + 1 == len(batches)
            # Gradients are exchanged once, with the last micro-batch of a window.
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                inputs = {"micro": micro, "rolled": rolled}
                value = self.compute_loss(model, inputs, num_items_in_batch=total)
                self.accelerator.backward(value)
            loss += value.detach()
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The objective on one micro-batch, as its share of the optimizer step's mean.

        Raises:
            NumericalError: the loss is not finite; step, examples and layer are named.
        """
        micro: MicroBatch = inputs["micro"]
        examples = micro.examples
        padded = pad_batch(examples, self.pad_id)
        batch = Batch(*(part.to(self.args.device) for part in padded))
        hidden, labels = supervised_states(model, *batch)
        signal = self._signal(inputs["rolled"])
        targets = None if signal is None else signal.targets(examples, batch)
        weights = self._weights(examples, num_items_in_batch, hidden.device) * micro.counts
        observed = targets is not None and bool(micro.counts) and self._observed()
        loss = self._loss(hidden, labels, weights, examples, targets, observed)
        if not torch.isfinite(loss):
            where = diagnosis.origin(
                self._evidence(hidden, labels, examples, targets, signal), self.pad_id
            )
            step = self.state.global_step
            raise NumericalError(diagnosis.describe(step, loss.item(), where, self.objective.name))
        return loss * self.args.world_size  # replicas take the mean of their gradients

    def _signal(self, rolled: bool) -> TeacherSignal | None:
        return self.rollout_signal if rolled else self.signal

    def _loss(
        self,
        hidden: Tensor,
        labels: Tensor,
        weights: Tensor,
        examples: Sequence[Encoded],
        targets: Targets | None,
        observed: bool,
    ) -> Tensor:
        if isinstance(targets, TopK):
            return grouped_objective(
                hidden, self.head, labels, weights, self.objective, targets, self.vocabulary
            )
        noise = self.noise and self.noise.of(examples, self.state.global_step, hidden.device)
        result = fused_objective(
            hidden,
            self.head,
            labels,
            weights,
            self.objective,
            teacher_hidden=None if targets is None else targets.hidden,
            teacher_head=None if targets is None else targets.head,
            teacher_noise=noise,
            vocab_size=self.vocabulary,
            precision=self.precision,
            telemetry=observed,
        )
        if observed and result.telemetry is not None:
            self.seen = result.telemetry if self.seen is None else self.seen + result.telemetry
        return result.loss

    def _observed(self) -> bool:
        """Whether this optimizer step is logged: telemetry costs a pass over the logits."""
        step, every = self.state.global_step, int(self.args.logging_steps)
        return (step + 1) % every == 0

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """With the loss also what was observed of both distributions, dropped mass included."""
        if "loss" in logs:
            seen, self.seen = self._seen_by_all(), None
            logs |= seen.means() if seen else {}
        super().log(logs, *args, **kwargs)

    def _seen_by_all(self) -> Telemetry | None:
        """What all processes have observed; each saw its own share."""
        if self.args.world_size == 1:
            return self.seen
        parts = gather_object([self.seen and self.seen.on_cpu()])
        return functools.reduce(operator.add, filter(None, parts)) if any(parts) else None

    def _evidence(
        self,
        hidden: Tensor,
        labels: Tensor,
        examples: Sequence[Encoded],
        targets: Targets | None,
        signal: TeacherSignal | None,
    ) -> diagnosis.Evidence:
        """A micro-batch whose loss is not finite, with the models that can be looked into."""
        models = {}
        if not self.is_fsdp_enabled:  # a layer of a sharded model cannot be run by one process
            models["student"] = self.student
            if isinstance(signal, LiveTeacher):
                models["teacher"] = signal.model
        noise = self.noise and self.noise.of(examples, self.state.global_step, hidden.device)
        return diagnosis.Evidence(
            examples, labels, self.objective, hidden, self.head, targets, noise, self.vocabulary, models
        )  # fmt: skip

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """The gradient's norm, clipped. Raises NumericalError in place of a step to nowhere."""
        norm = super()._clip_grad_norm(model)
        if not bool(torch.isfinite(torch.as_tensor(norm))):
            raise NumericalError(
                f"the gradient is not finite at optimizer step {self.state.global_step}, first in "
                f"{diagnosis.bad_gradient(model)}, though every loss of the step is: lower the learning "
                "rate, or train in float32; no weight was changed and the last checkpoint stays"
            )
        return norm

    def _weights(
        self, examples: Sequence[Encoded], total: Tensor | int | None, device: torch.device
    ) -> Tensor:
        """Weight of every supervised token of the micro-batch, [N]."""
        lengths = torch.tensor([len(example.response) for example in examples])
        per_row = torch.ones(len(examples)) if self.reduction == "token" else 1 / lengths
        return per_row.repeat_interleave(lengths).to(device) / (total or lengths.sum())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Weights of a checkpoint, the student's own beside a teacher's (transformers 5.20 forgets them)."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        student: Any = self.model if model is None else model
        if self.is_fsdp_enabled:  # has put back all weights that are trained
            return
        if len(getattr(student, "peft_config", ())) > 1:
            student.load_adapter(resume_from_checkpoint, "default", is_trainable=True)

    def finish(self) -> torch.nn.Module:
        """The trained model with its head back in place, in evaluation mode."""
        put_head_back(self.student)
        return self.student.eval()


class _Progress(TrainerCallback):
    """Reports every optimizer step to the driver."""

    def __init__(self, on_step: Callable[[int, int, float], None]) -> None:
        self.on_step = on_step

    def on_log(self, args, state, control, logs=None, **_) -> None:
        if logs and "loss" in logs:
            self.on_step(state.global_step, state.max_steps, float(logs["loss"]))
