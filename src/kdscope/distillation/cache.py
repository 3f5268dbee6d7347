"""The teacher cache: final hidden states of the supervised positions, written once.

A folder of safetensors shards of [tokens, H] in the dtype that the head sees, an index that maps each
example to its place, and the teacher's head. Entries are keyed by the example's id and checked against the
digest of its tokens, never by order, so that any student, method, temperature, noise level and seed can
read them in any order. Nothing of vocabulary size is stored per token.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdscope.data.collation import Encoded, pad_batch
from kdscope.divergences import Head
from kdscope.errors import CacheError, NumericalError

VERSION = 1
SHARD_BYTES = 256 * 2**20


class Place(NamedTuple):
    """Where the states of an example lie, and what they were computed on."""

    shard: int
    start: int
    tokens: int
    digest: str


def token_digest(example: Encoded) -> str:
    """16 hex digits over prompt and response ids."""
    text = f"{list(example.prompt)}{list(example.response)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_cache(
    folder: Path,
    examples: Sequence[Encoded],
    signal: Any,
    *,
    pad_id: int,
    about: dict[str, Any],
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the states of all examples; returns the number of tokens that the teacher read.

    Args:
        folder: an empty folder; the index is written last.
        examples: what to read; batches are sorted by length.
        signal: a live teacher (``states(examples, batch)`` and ``head``).
        pad_id: padding id.
        about: what the cache belongs to (teacher, tokenizer digest, template); compared on opening.
        batch_size: sequences per forward pass.
        progress: called with (examples done, examples in all).

    Raises:
        NumericalError: the teacher gives states that are not finite; the example is named.
    """
    order = sorted(range(len(examples)), key=lambda i: (-examples[i].length, i))
    places: dict[str, Place] = {}
    pending: list[Tensor] = []
    shard, fill, done = 0, 0, 0
    device = signal.head.weight.device
    for start in range(0, len(order), batch_size):
        chunk = [examples[i] for i in order[start : start + batch_size]]
        batch = pad_batch(chunk, pad_id)
        states = signal.states(chunk, type(batch)(*(part.to(device) for part in batch))).cpu()
        for example, part in zip(
            chunk, states.split([len(e.response) for e in chunk]), strict=True
        ):
            if not torch.isfinite(part).all():
                raise NumericalError(
                    f"the teacher's states of example {example.id!r} are not finite"
                )
            places[example.id] = Place(shard, fill, len(part), token_digest(example))
            pending.append(part)
            fill += len(part)
        if sum(part.nbytes for part in pending) >= SHARD_BYTES:
            _write_shard(folder, shard, pending)
            pending, fill, shard = [], 0, shard + 1
        done += len(chunk)
        if progress is not None:
            progress(done, len(examples))
    if pending:
        _write_shard(folder, shard, pending)
    _write_head(folder, signal.head)
    index = {"version": VERSION, "about": about, "places": places}
    (folder / "index.json").write_text(json.dumps(index))
    return sum(example.length for example in examples)


def _write_shard(folder: Path, shard: int, parts: list[Tensor]) -> None:
    save_file({"states": torch.cat(parts).contiguous()}, folder / _shard_name(shard))


def _write_head(folder: Path, head: Head) -> None:
    tensors = {"weight": head.weight.detach().cpu().contiguous()}
    if head.bias is not None:
        tensors["bias"] = head.bias.detach().cpu().contiguous()
    transforms = {"scale": repr(head.scale), "softcap": repr(head.softcap)}
    save_file(tensors, folder / "head.safetensors", metadata=transforms)


def _shard_name(shard: int) -> str:
    return f"states-{shard:05d}.safetensors"


class TeacherCache:
    """A written cache, read by memory map.

    Raises:
        CacheError: it is incomplete, of another version, or belongs to something else than ``about``.
    """

    def __init__(self, folder: Path, about: dict[str, Any] | None = None) -> None:
        self.folder = folder
        try:
            index = json.loads((folder / "index.json").read_text())
        except (OSError, ValueError) as error:
            raise CacheError(f"{folder} is not a complete teacher cache: {error}") from None
        if index.get("version") != VERSION:
            raise CacheError(
                f"{folder} is a teacher cache of version {index.get('version')}, this is {VERSION}: "
                "delete its step and run again"
            )
        for name, value in (about or {}).items():
            if index["about"].get(name) != value:
                raise CacheError(
                    f"{folder} was written for {name} = {index['about'].get(name)!r}, "
                    f"but {value!r} is asked for: its states would be of something else"
                )
        self.places = {key: Place(*place) for key, place in index["places"].items()}
        self._shards: dict[int, Any] = {}

    @property
    def tokens(self) -> int:
        """Supervised tokens in the cache."""
        return sum(place.tokens for place in self.places.values())

    def states(self, example: Encoded) -> Float[Tensor, "N H"]:
        """The teacher's states at the example's supervised positions.

        Raises:
            CacheError: the example is not in the cache, or its tokens are others than those.
        """
        place = self.places.get(example.id)
        if place is None:
            raise CacheError(f"{self.folder} has no states of example {example.id!r}")
        if place.digest != token_digest(example):
            raise CacheError(
                f"the tokens of example {example.id!r} are not those that {self.folder} was written for: "
                "another tokenizer, template, text or length"
            )
        return self._shard(place.shard)[place.start : place.start + place.tokens]

    def head(self) -> Head:
        """The teacher's output head."""
        with safe_open(self.folder / "head.safetensors", framework="pt") as file:
            about, names = file.metadata(), set(file.keys())
            softcap = None if about["softcap"] == "None" else float(about["softcap"])
            bias = file.get_tensor("bias") if "bias" in names else None
            return Head(file.get_tensor("weight"), bias, float(about["scale"]), softcap)

    def _shard(self, number: int) -> Any:
        if number not in self._shards:
            path = self.folder / _shard_name(number)
            try:
                self._shards[number] = safe_open(path, framework="pt").get_slice("states")
            except (OSError, SafetensorError) as error:
                raise CacheError(f"{path} cannot be read: {error}") from None
        return self._shards[number]
