"""Teacher signals: where the teacher's distribution comes from.

A signal says what the teacher thinks of the supervised tokens of a batch, in the order in which the
student's come: hidden states with the teacher's head are its exact distribution, for every objective,
temperature and noise level; the k most probable tokens are what a server gives, or what a corpus too large
for states can keep.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kdscope.data.collation import Batch, Encoded
from kdscope.distillation.cache import TeacherCache
from kdscope.distillation.targets import States, Targets, TopK, restored
from kdscope.divergences import Head, model_head
from kdscope.models.adapters import plain
from kdscope.models.states import supervised_states, take_head_out


class TeacherSignal(Protocol):
    """What the teacher says about a batch."""

    def prefetch(self, batches: Sequence[Sequence[Encoded]]) -> None:
        """These batches will be asked for next, in this order."""
        ...

    def targets(self, examples: Sequence[Encoded], batch: Batch) -> Targets:
        """At the supervised positions of ``batch``, which holds ``examples`` in this order."""
        ...


class LiveTeacher:
    """The teacher runs on every batch: for the student's own rollouts, or without a cache."""

    def __init__(self, model: nn.Module) -> None:
        if model.training:
            raise RuntimeError("a teacher must be in evaluation mode: call model.eval() first")
        self.head = model_head(plain(model))
        self.model = model.requires_grad_(False)
        take_head_out(model)
        self.tokens = 0

    def prefetch(self, batches: Sequence[Sequence[Encoded]]) -> None:
        """Nothing can be had before it is computed."""

    def targets(self, examples: Sequence[Encoded], batch: Batch) -> Targets:
        """States of this batch, and the teacher's head."""
        return States(self.states(examples, batch), self.head)

    @torch.no_grad()
    def states(self, examples: Sequence[Encoded], batch: Batch) -> Float[Tensor, "N H"]:
        """Forward the batch through the teacher's backbone."""
        self.tokens += int(batch.attention_mask.sum())
        return supervised_states(self.model, *batch)[0]


class CachedTeacher:
    """What was written once, for reference (or teacher) text; read ahead while the student computes."""

    def __init__(self, cache: TeacherCache, device: str) -> None:
        self.cache, self.device = cache, device
        self.head = None if cache.form == "topk" else _moved(cache.head(), device)
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="teacher-cache")
        self._ahead: dict[tuple[str, ...], Future[dict[str, Tensor]]] = {}

    def prefetch(self, batches: Sequence[Sequence[Encoded]]) -> None:
        """Read these batches in the background."""
        self._ahead = {
            tuple(example.id for example in batch): self._reader.submit(self._rows, list(batch))
            for batch in batches
        }

    def targets(self, examples: Sequence[Encoded], batch: Batch) -> Targets:
        """States or top k of these examples, on the device."""
        waiting = self._ahead.pop(tuple(example.id for example in examples), None)
        rows = self._rows(examples) if waiting is None else waiting.result()
        rows = {name: tensor.to(self.device) for name, tensor in rows.items()}
        if self.head is None:
            return TopK(rows["ids"].long(), rows["logprobs"])
        quantised = self.cache.form == "int8"
        hidden = restored(rows, self.head.weight.dtype) if quantised else rows["states"]
        return States(hidden, self.head)

    def _rows(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        found = [self.cache.rows(example) for example in examples]
        return {name: torch.cat([rows[name] for rows in found]) for name in found[0]}


def _moved(head: Head, device: str) -> Head:
    bias = None if head.bias is None else head.bias.to(device)
    return Head(head.weight.to(device), bias, head.scale, head.softcap)
