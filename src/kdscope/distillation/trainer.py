"""The one subclass of ``transformers.Trainer``, for teachers and students, every method and every signal.

It changes three things: the loss is the fused objective on the supervised positions; its normalisation
counts the whole optimizer step, so that the gradient does not depend on how the batch was split; and an
on-policy step exchanges the reference text for rollouts of the student, generated once for the step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from kdscope.data.collation import Batch, Encoded, pad_batch
from kdscope.distillation.grouped import grouped_objective
from kdscope.distillation.noise import TeacherNoise
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.signals import TeacherSignal
from kdscope.distillation.targets import States, Targets, TopK
from kdscope.divergences import Objective, Telemetry, first_fault, fused_objective, model_head
from kdscope.errors import NumericalError
from kdscope.models.adapters import plain
from kdscope.models.loading import padding_id
from kdscope.models.states import put_head_back, supervised_states, take_head_out


class _Examples(Dataset):
    """Encoded examples by position, as the Trainer wants them."""

    def __init__(self, examples: Sequence[Encoded]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Encoded:
        return self.examples[index]


def _as_they_are(examples: list[Encoded]) -> Any:
    return examples


class DistillationTrainer(Trainer):
    """Trains one model on encoded examples under one objective.

    Args:
        model: the student (or the teacher in its own fine-tuning), adapters in place.
        tokenizer: shared by student and teacher.
        arguments: the Trainer's own settings.
        examples: reference or teacher text.
        objective: value per token.
        reduction: ``token`` (mean over the supervised tokens of the optimizer step) or ``sequence`` (mean
            of per-sequence means).
        signal: the teacher's states on ``examples``; None for ``nll``.
        rollouts: when the student's own sequences are used; None for never.
        rollout_signal: the teacher's states on rollouts.
        noise: added to the teacher's logits; None for none.
        on_step: called with (optimizer steps done, steps in all, loss).
    """

    loss_is_scaled_for_ga = True

    def __init__(  # noqa: PLR0913 - the parts that a method is made of
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        arguments: TrainingArguments,
        examples: Sequence[Encoded],
        objective: Objective,
        *,
        reduction: str = "token",
        signal: TeacherSignal | None = None,
        rollouts: Rollouts | None = None,
        rollout_signal: TeacherSignal | None = None,
        noise: TeacherNoise | None = None,
        on_step: Callable[[int, int, float], None] | None = None,
    ) -> None:
        AcceleratorState._reset_state(reset_partial_state=True)  # one worker runs many trainings
        GradientState._reset_state()
        self.head = model_head(plain(model))
        take_head_out(model)
        self.objective, self.reduction = objective, reduction
        self.signal, self.rollout_signal = signal, rollout_signal
        self.rollouts, self.noise = rollouts, noise
        self.tokenizer, self.pad_id = tokenizer, padding_id(tokenizer)
        self.student = model
        self.vocabulary = len(tokenizer)
        self.supervised_tokens = 0
        self.seen: Telemetry | None = None
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=_Examples(examples),
            data_collator=_as_they_are,
            callbacks=[_Progress(on_step)] if on_step else None,
        )

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Tensor | int | None]:
        """The micro-batches of one optimizer step, and what their losses are divided by."""
        window: list[list[Encoded]] = []
        for _ in range(num_batches):
            micro = next(epoch_iterator, None)
            if micro is not None:
                window.append(micro)
        rolled = self.rollouts is not None and self.rollouts.chosen(self.state.global_step)
        if rolled and self.rollouts is not None:
            window = self._roll_out(window)
        everything = [example for micro in window for example in micro]
        tokens = sum(len(example.response) for example in everything)
        self.supervised_tokens += tokens
        total = torch.tensor(
            tokens if self.reduction == "token" else len(everything), device=device
        )
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()  # type: ignore[union-attr]
        signal = self._signal(rolled)
        if signal is not None:
            signal.prefetch(window)
        return [{"examples": micro, "rolled": rolled} for micro in window], total

    def _roll_out(self, window: list[list[Encoded]]) -> list[list[Encoded]]:
        assert self.rollouts is not None
        flat = [example for micro in window for example in micro]
        sampled = iter(
            self.rollouts.sample(self.model, self.tokenizer, flat, self.state.global_step)
        )
        return [[next(sampled) for _ in micro] for micro in window]

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs  # examples become tensors in `compute_loss`

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted here: tokens are."""
        return 0

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The objective on one micro-batch, as its share of the optimizer step's mean.

        Raises:
            NumericalError: the loss is not finite; step and examples are named.
        """
        examples: list[Encoded] = inputs["examples"]
        padded = pad_batch(examples, self.pad_id)
        batch = Batch(*(part.to(self.args.device) for part in padded))
        hidden, labels = supervised_states(model, *batch)
        signal = self._signal(inputs["rolled"])
        targets = None if signal is None else signal.targets(examples, batch)
        weights = self._weights(examples, num_items_in_batch, hidden.device)
        loss = self._loss(hidden, labels, weights, examples, targets)
        if not torch.isfinite(loss):
            raise NumericalError(self._blame(loss, hidden, labels, examples, targets))
        replicas = self.args.world_size if self.args.average_tokens_across_devices else 1
        return loss * replicas

    def _signal(self, rolled: bool) -> TeacherSignal | None:
        return self.rollout_signal if rolled else self.signal

    def _loss(
        self,
        hidden: Tensor,
        labels: Tensor,
        weights: Tensor,
        examples: Sequence[Encoded],
        targets: Targets | None,
    ) -> Tensor:
        if isinstance(targets, TopK):
            return grouped_objective(
                hidden, self.head, labels, weights, self.objective, targets, self.vocabulary
            )
        noise = self.noise and self.noise.of(examples, self.state.global_step, hidden.device)
        observed = targets is not None and self._observed()
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
        if "loss" in logs and self.seen is not None:
            logs |= self.seen.means()
            self.seen = None
        super().log(logs, *args, **kwargs)

    def _blame(
        self,
        loss: Tensor,
        hidden: Tensor,
        labels: Tensor,
        examples: Sequence[Encoded],
        targets: Targets | None,
    ) -> str:
        """Which step, example and place the value that is not finite comes from."""
        lengths = [len(example.response) for example in examples]
        places = {f"the student's last layer ({type(plain(self.student)).__name__})": hidden}
        if isinstance(targets, States):
            places["the teacher's states"] = targets.hidden
        if isinstance(targets, TopK):
            places["the teacher's log-probabilities"] = targets.logprobs
        found = [
            f"{place} of example {example.id!r}"
            for place, tensor in places.items()
            for example, part in zip(examples, tensor.split(lengths), strict=True)
            if not torch.isfinite(part).all()
        ]
        where = found[0] if found else self._blame_head(hidden, labels, examples, targets)
        return (
            f"the loss is {loss.item()} at optimizer step {self.state.global_step}, from {where}: "
            "lower the learning rate, or check the teacher's states; the last checkpoint stays"
        )

    def _blame_head(
        self, hidden: Tensor, labels: Tensor, examples: Sequence[Encoded], targets: Targets | None
    ) -> str:
        """The same where all states are finite, so that a head or its logits are at fault."""
        states = {} if not isinstance(targets, States) else {
            "teacher_hidden": targets.hidden,
            "teacher_head": targets.head,
            "teacher_noise": self.noise
            and self.noise.of(examples, self.state.global_step, hidden.device),
        }  # fmt: skip
        fault = None
        if not isinstance(targets, TopK):
            fault = first_fault(
                hidden, self.head, labels, self.objective, vocab_size=self.vocabulary, **states
            )
        if fault is None:
            return f"a head's logits, first example {examples[0].id!r}"
        owners = [(example, at) for example in examples for at in range(len(example.response))]
        example, at = owners[fault.row]
        return f"{fault.place} at response token {at} of example {example.id!r}"

    def _weights(
        self, examples: Sequence[Encoded], total: Tensor | int | None, device: torch.device
    ) -> Tensor:
        """Weight of every supervised token of the micro-batch, [N]."""
        lengths = torch.tensor([len(example.response) for example in examples])
        per_row = torch.ones(len(examples)) if self.reduction == "token" else 1 / lengths
        return per_row.repeat_interleave(lengths).to(device) / (total or lengths.sum())

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
