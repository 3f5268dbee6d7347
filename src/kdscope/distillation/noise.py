"""Noise on the teacher's logits, drawn the same whatever the micro-batches and chunks are."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdscope.data.collation import Encoded


@dataclass(frozen=True)
class TeacherNoise:
    """``sigma * e`` with ``e ~ N(0, 1)``, keyed by seed, optimizer step, example and position.

    Attributes:
        sigma: standard deviation, in the unit of logits.
        seed: of the cell.
        vocabulary: entries per position.
    """

    sigma: float
    seed: int
    vocabulary: int

    def of(
        self, examples: Sequence[Encoded], optimizer_step: int, device: torch.device
    ) -> Callable[[slice], Tensor]:
        """The noise of a micro-batch: a function from a slice of its supervised rows to [n, V]."""
        keys = [
            f"{self.seed}/{optimizer_step}/{example.id}/{position}"
            for example in examples
            for position in range(len(example.response))
        ]
        return lambda rows: torch.stack([self._row(key) for key in keys[rows]]).to(device)

    def _row(self, key: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little", signed=True)
        generator = torch.Generator().manual_seed(seed)
        return self.sigma * torch.randn(self.vocabulary, generator=generator)
