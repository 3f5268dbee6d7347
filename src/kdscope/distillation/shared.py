"""A teacher that is the student's own base model: with another adapter, or with none.

One set of weights stands for both (self-distillation, or teacher and student fine-tuned from one
checkpoint), so that a live teacher costs no memory but its adapter.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor

from kdscope.data.collation import Batch, Encoded
from kdscope.distillation.targets import States
from kdscope.divergences import model_head
from kdscope.models.adapters import check_trained, plain
from kdscope.models.states import supervised_states

_TEACHER = "teacher"  # its adapter's name beside the student's


class SharedTeacher:
    """The teacher inside the student; no gradient flows through it, and its dropout is off.

    Args:
        student: with its own adapter active, and its head in place.
        adapter: folder of the teacher's adapter; None for the untuned base model.

    Raises:
        ModelError: the adapter in the folder changes nothing.
    """

    def __init__(self, student: PeftModel, adapter: Path | None) -> None:
        self.student, self.adapter, self.tokens = student, adapter, 0
        self.own = str(student.active_adapter)
        self.head = model_head(plain(student)).frozen()
        if adapter is not None:
            student.load_adapter(str(adapter), _TEACHER, is_trainable=False)
            check_trained(student, adapter, _TEACHER)

    def prefetch(self, batches: Sequence[Sequence[Encoded]]) -> None:
        """Nothing can be had before it is computed."""

    def targets(self, examples: Sequence[Encoded], batch: Batch) -> States:
        """States of this batch, and the shared head."""
        return States(self.states(batch), self.head)

    @torch.no_grad()
    def states(self, batch: Batch) -> Float[Tensor, "N H"]:
        """Forward the batch through the base model as the teacher has it."""
        self.tokens += int(batch.attention_mask.sum())
        training = self.student.training
        self.student.eval()
        try:
            with self._in_place():
                return supervised_states(self.student, *batch)[0]
        finally:
            self.student.train(training)

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """While open, the model is the teacher; afterwards the student's adapter is trained again."""
        if self.adapter is None:
            with self.student.disable_adapter():
                yield
            return
        self.student.set_adapter(_TEACHER, inference_mode=True)
        try:
            yield
        finally:
            self.student.set_adapter(self.own)

    def leave(self) -> None:
        """Take the teacher's adapter out, so that the student alone is saved."""
        if self.adapter is not None:
            self.student.delete_adapter(_TEACHER)


def can_share(student: torch.nn.Module, teacher: Path | None) -> TypeGuard[PeftModel]:
    """Whether a teacher (a training step's ``model`` folder, or untuned) fits into the student's base.

    Their checkpoints must be the same; this looks at the rest.
    """
    if not isinstance(student, PeftModel):
        return False  # full fine-tuning changes the base
    return teacher is None or (teacher / "adapter_config.json").is_file()
