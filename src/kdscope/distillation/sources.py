"""What a teacher cache is written from: a live teacher's states, exact or in int8, or its top k."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kdscope.data.collation import Batch, Encoded, pad_batch
from kdscope.distillation.signals import LiveTeacher
from kdscope.distillation.targets import quantisation_kl, quantised
from kdscope.divergences import Head

KL_TOKENS = 4096  # on which the error of int8 is measured


class ExactStates:
    """Hidden states in the dtype that the head sees."""

    form = "exact"

    def __init__(self, teacher: LiveTeacher, pad_id: int) -> None:
        self.teacher, self.pad_id = teacher, pad_id
        self.head: Head | None = teacher.head
        self.row_bytes = teacher.head.weight.shape[1] * teacher.head.weight.dtype.itemsize

    def rows(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        """One forward pass of the teacher's backbone."""
        return {"states": self._states(examples).cpu()}

    def measures(self) -> dict[str, float]:
        """Nothing: it is exact."""
        return {}

    def _states(self, examples: Sequence[Encoded]) -> Tensor:
        device = self.teacher.head.weight.device
        padded = pad_batch(examples, self.pad_id)
        return self.teacher.states(examples, Batch(*(part.to(device) for part in padded)))


class Int8States(ExactStates):
    """Hidden states in int8 with a scale per token; the KL that this costs is measured."""

    form = "int8"

    def __init__(self, teacher: LiveTeacher, pad_id: int, vocabulary: int) -> None:
        super().__init__(teacher, pad_id)
        self.row_bytes = teacher.head.weight.shape[1] + 4
        self.vocabulary, self.kl, self.seen = vocabulary, 0.0, 0

    def rows(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        """One forward pass, rounded; its first tokens also count for the error."""
        states = self._states(examples)
        part = states[: KL_TOKENS - self.seen]
        if len(part):
            self.kl += quantisation_kl(part, self.teacher.head, self.vocabulary)
            self.seen += len(part)
        return {name: tensor.cpu() for name, tensor in quantised(states).items()}

    def measures(self) -> dict[str, float]:
        """Mean KL(exact ‖ int8) per token, over the tokens that this attempt wrote first."""
        return {"int8_kl": self.kl / self.seen} if self.seen else {}


class TopKStates(ExactStates):
    """The teacher's k most probable tokens, from its states."""

    form = "topk"

    def __init__(self, teacher: LiveTeacher, pad_id: int, vocabulary: int, k: int) -> None:
        super().__init__(teacher, pad_id)
        self.head: Head | None = None
        self.vocabulary, self.k = vocabulary, min(k, vocabulary)
        self.row_bytes = 8 * self.k
        self.tail, self.seen = 0.0, 0

    @torch.no_grad()
    def rows(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        """One forward pass; logits live for 64 tokens at a time."""
        kept = [top_k(part, self.teacher.head, self.vocabulary, self.k)
                for part in self._states(examples).split(64)]  # fmt: skip
        ids, logprobs = (torch.cat(parts).cpu() for parts in zip(*kept, strict=True))
        self.tail += float((1.0 - logprobs.exp().sum(-1)).clamp_min(0.0).sum())
        self.seen += len(ids)
        return {"ids": ids, "logprobs": logprobs}

    def measures(self) -> dict[str, float]:
        """Mean probability outside of the k tokens, over what this attempt wrote."""
        return {"tail_mass": self.tail / self.seen} if self.seen else {}


def top_k(states: Tensor, head: Head, vocabulary: int, k: int) -> tuple[Tensor, Tensor]:
    """Ids ``[n, k]`` (int32) and log-probabilities ``[n, k]`` of the k most probable tokens."""
    part = head.rows(0, vocabulary)
    logits = states.float() @ part.weight.float().t()
    if part.bias is not None:
        logits += part.bias.float()
    logits *= part.scale
    if part.softcap is not None:
        logits = part.softcap * torch.tanh(logits / part.softcap)
    values, ids = logits.log_softmax(-1).topk(k, dim=-1)
    return ids.to(torch.int32), values
