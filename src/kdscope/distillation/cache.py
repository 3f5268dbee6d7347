"""The teacher cache: what the teacher says at the supervised positions, written once, read by memory map.

A folder of safetensors shards with one row per supervised token (final hidden states in the dtype that the
head sees, or in int8, or the k most probable tokens), the teacher's head where it is needed, and an index
that maps each example to its place. Entries are keyed by the example's id and checked against the digest of
its tokens, never by order, so that any student, method, temperature, noise level and seed can read them in
any order. Nothing of vocabulary size is stored per token. ``cache_writing`` writes it.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from kdscope.data.collation import Encoded
from kdscope.distillation.cache_files import HEAD, INDEX, content_digest, shard_name, verify
from kdscope.divergences import Head
from kdscope.errors import CacheError

VERSION = 2


class Place(NamedTuple):
    """Where the rows of an example lie, and what they were computed on."""

    shard: int
    start: int
    tokens: int
    digest: str


def token_digest(example: Encoded) -> str:
    """16 hex digits over prompt and response ids."""
    text = f"{list(example.prompt)}{list(example.response)}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class TeacherCache:
    """A written cache; every byte of it is compared with its checksum on opening.

    Args:
        folder: of the cache.
        about: what it must belong to (teacher, tokenizer, template, ...).

    Raises:
        CacheError: it is incomplete, damaged, of another version, or belongs to something else.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        index = _index(folder)
        for name, value in (about or {}).items():
            if index["about"].get(name) != value:
                raise CacheError(
                    f"{folder} was written for {name} = {index['about'].get(name)!r}, "
                    f"but {value!r} is asked for: its states would be of something else"
                )
        for name, expected in index["files"].items():
            verify(folder / name, expected)
        self.form: str = index["form"]
        self.places = {key: Place(*place) for key, place in index["places"].items()}
        self._shards: dict[int, Any] = {}

    @property
    def tokens(self) -> int:
        """Supervised tokens in the cache."""
        return sum(place.tokens for place in self.places.values())

    def rows(self, example: Encoded) -> dict[str, Tensor]:
        """What was written for the example's supervised positions, ``[N, ...]`` by name.

        Raises:
            CacheError: the example is not in the cache, or its tokens are others than those.
        """
        place = self.places.get(example.id)
        if place is None:
            raise CacheError(
                f"{self.folder} has no states of example {example.id!r}: it was written for other data"
            )
        if place.digest != token_digest(example):
            raise CacheError(
                f"the tokens of example {example.id!r} are not those that {self.folder} was written for: "
                "another tokenizer, template, text or length"
            )
        part = slice(place.start, place.start + place.tokens)
        return {name: tensor[part] for name, tensor in self._shard(place.shard).items()}

    def head(self) -> Head:
        """The teacher's output head."""
        with safe_open(self.folder / HEAD, framework="pt") as file:
            scale, softcap = json.loads(file.metadata()["scale_and_softcap"])
            bias = file.get_tensor("bias") if "bias" in set(file.keys()) else None
            return Head(file.get_tensor("weight"), bias, scale, softcap)

    def _shard(self, number: int) -> dict[str, Any]:
        """Memory-mapped tensors of a shard: a slice of them reads its own pages and no others."""
        if number not in self._shards:
            path = self.folder / shard_name(number)
            try:
                file = safe_open(path, framework="pt")
                self._shards[number] = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            except (OSError, SafetensorError) as error:
                raise CacheError(f"{path} cannot be read: {error}") from None
        return self._shards[number]


def _index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        version = index.get("version")
    except (OSError, ValueError, AttributeError) as error:
        raise CacheError(f"{folder} is not a complete teacher cache: {error}") from None
    if version != VERSION:
        raise CacheError(
            f"{folder} is a teacher cache of version {version}, this is {VERSION}: "
            "delete its step and run again"
        )
    digest = index.pop("digest", None)
    if digest != content_digest(index):
        raise CacheError(
            f"{folder / INDEX} has another checksum than when it was written: delete {folder} and run "
            "again, and the cache is written anew"
        )
    return index
