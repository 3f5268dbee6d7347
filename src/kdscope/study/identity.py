"""Content keys: what a step is, independent of where and how fast it ran.

A step's key is SHA-256 over the canonical JSON of kind, the kind's version, the fields that can
change its output and the keys of its inputs. Micro-batch, device, workers and paths are not part
of it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHORT = 12  # hex digits of a key in paths: even odds of one clash at 16 million steps of one label
_WHOLE = 1 << 26  # files up to 64 MiB are hashed whole
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
_BLOCK, _BLOCKS = 1 << 20, 48


def canonical(value: Any) -> str:
    """JSON with sorted keys and no blanks; NaN and infinity are refused, 1 and 1.0 differ."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of a value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def step_key(
    kind: str, version: int, fields: Mapping[str, Any], inputs: Mapping[str, Sequence[str]]
) -> str:
    """The content key of a step, from its fields and the keys of its inputs by role."""
    return digest(
        {
            "kind": kind,
            "version": version,
            "fields": dict(fields),
            "inputs": {role: list(keys) for role, keys in inputs.items()},
        }
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content.

    A file above 64 MiB is identified by its size and blocks spread evenly over it: any training
    changes every tensor, and a plan must not read 14 GB of weights.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _WHOLE:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        value = hashlib.sha256(str(size).encode())
        for i in range(_BLOCKS):
            stream.seek((size - _BLOCK) * i // (_BLOCKS - 1))
            value.update(stream.read(_BLOCK))
        return value.hexdigest()


def checkpoint_digest(folder: Path) -> str:
    """Identity of a checkpoint folder: its configuration, tokenizer and weights, not its path."""
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.name in {"config.json", "tokenizer.json"}
        or path.suffix in {".safetensors", ".bin", ".gguf"}
    )
    return digest({name: file_digest(folder / name) for name in names})
