"""What the model names in a study refer to, found without loading any of them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdscope.models.families import family_of, shape_of
from kdscope.models.sources import EMBEDDED, SMOLLM2, TINY
from kdscope.study.config import Model
from kdscope.study.identity import checkpoint_digest, digest
from kdscope.study.source import nearest

# Models that come with a package: name -> parameters, for the cost model.
PARAMETERS = {
    "tiny-teacher": 3.0e6,
    "tiny-student": 0.6e6,
    "tiny-student-small": 0.15e6,
    SMOLLM2: 134.5e6,
}
KNOWN = (*EMBEDDED, SMOLLM2)
_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w.-]+)?$")
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


class UnresolvedError(Exception):
    """A name that refers to nothing usable; the message is for the user."""


@dataclass(frozen=True)
class ModelRef:
    """A model as steps see it.

    Attributes:
        name: as tables and folders call it.
        fields: identity, part of content keys: name, source, what pins the weights, dtype, layers.
        path: folder of a local checkpoint; None for embedded and hub models. Never part of a key.
        parameters: number of weights, where known or guessed from the name; for the cost model.
        tokenizer: digest of the tokenizer's vocabulary, ``family:<name>`` of a known hub model, None
            where only the hub has it.
        whole: identity before quantisation, with which it is fine-tuned; ``fields`` if there is none.
    """

    name: str
    fields: dict[str, Any]
    path: str | None
    parameters: float
    tokenizer: str | None
    whole: dict[str, Any]


def model_ref(entry: Model, folder: Path) -> ModelRef:
    """Resolve a model entry; relative paths are relative to ``folder``.

    Raises:
        UnresolvedError: an unknown name, a folder without weights, or more layers than can be.
    """
    text, at, revision = entry.model.partition("@")
    local = _local_folder(entry.model, folder)
    if local is not None:
        name, path = entry.name or local.name, str(local)
        pin = {"source": "folder", "content": checkpoint_digest(local)}
        parameters, tokenizer = _folder_parameters(local), tokenizer_digest(local)
    elif entry.model in KNOWN:
        name, path = entry.name or entry.model, None
        pin = {
            "source": "embedded",
            "model": entry.model,
            "content": _embedded_content(entry.model),
        }
        parameters = PARAMETERS[entry.model]
        tokenizer = _embedded_tokenizer(entry.model)
    elif _HUB.match(entry.model):
        name, path = entry.name or text.split("/")[-1], None
        pin = {
            "source": "hub",
            "id": text,
            "revision": entry.revision or (revision if at else None),
        }
        parameters, tokenizer = _hub_parameters(text), _hub_tokenizer(text)
    else:
        raise UnresolvedError(
            f"there is no model {entry.model!r}{nearest(entry.model, KNOWN)}; give an embedded "
            "name, a hub id such as 'Qwen/Qwen2.5-0.5B', or a checkpoint folder such as './model'"
        )
    if entry.layers and not entry.name:
        name = f"{name}-{entry.layers}l"
    whole = name
    if entry.quantize and not entry.name:
        name = f"{name}-{entry.quantize}"
    fields = {"name": name, **pin, "dtype": _dtype(entry, pin["source"]), "layers": entry.layers}
    written = {name: getattr(entry, name) for name in ("quantize", "attention", "device_map")}
    fields |= {name: value for name, value in written.items() if value is not None}
    plain = {n: value for n, value in fields.items() if n != "quantize"} | {"name": whole}
    return ModelRef(name, fields, path, parameters, tokenizer, plain)


def existing(name: str, folder: Path) -> Path | None:
    """A path as written, relative to the study's folder or to the current one; None if neither is there."""
    path = Path(name).expanduser()
    for candidate in (folder / path, path):
        if candidate.exists():
            return candidate
    return None


def places(folder: Path) -> str:
    """Where relative paths of a study are looked for, in words."""
    here = folder.resolve() == Path.cwd()
    return "the current folder" if here else f"{folder} and the current folder"


def _local_folder(name: str, folder: Path) -> Path | None:
    """The checkpoint folder that a model string names, or None if it is no path at all."""
    looks_local = name.startswith((".", "/", "~")) or (name not in KNOWN and "/" not in name)
    path = existing(name, folder)
    if path is None or name in KNOWN or not path.is_dir():
        if name.startswith((".", "/", "~")):
            raise UnresolvedError(
                f"there is no checkpoint folder {name!r} (looked in {places(folder)})"
            )
        return None
    if not (path / "config.json").is_file():
        if not looks_local:
            return None  # a folder that happens to be called like a hub id
        raise UnresolvedError(f"{path} is not a checkpoint: it has no config.json")
    if not any(next(path.glob(pattern), None) for pattern in _WEIGHTS):
        raise UnresolvedError(
            f"{path} is a checkpoint folder without weights (no {', '.join(_WEIGHTS)}): "
            "training would start from random numbers"
        )
    return path.resolve()


def _dtype(entry: Model, source: str) -> str:
    if entry.dtype != "auto":
        return entry.dtype
    return "float32" if source == "embedded" else "bfloat16"


def _embedded_content(name: str) -> str:
    folder = TINY / name
    return checkpoint_digest(folder) if (folder / "config.json").is_file() else f"{name}@1"


def _embedded_tokenizer(name: str) -> str | None:
    if name not in EMBEDDED:
        return f"package:{name}"
    return tokenizer_digest(TINY / name) or "package:tiny"


def tokenizer_digest(folder: Path) -> str | None:
    """Digest of a tokenizer's vocabulary, merges and added tokens; None without the file."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model = content["model"]
    except (ValueError, KeyError, TypeError):
        raise UnresolvedError(f"{path} is not a tokenizer file") from None
    added = sorted((token["id"], token["content"]) for token in content.get("added_tokens", ()))
    return digest([model.get("type"), model.get("vocab"), model.get("merges"), added])


def _folder_parameters(folder: Path) -> float:
    size = sum(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern))
    return size / 2


def tokenizers_differ(one: ModelRef, other: ModelRef) -> bool:
    """Whether two models are known to have different tokenizers; loading them finds out the rest."""
    if one.tokenizer is None or other.tokenizer is None or one.tokenizer == other.tokenizer:
        return False
    kinds = {name.partition(":")[0] == "family" for name in (one.tokenizer, other.tokenizer)}
    embedded = "embedded" in {one.fields["source"], other.fields["source"]}
    return len(kinds) == 1 or embedded  # no family of the hub shares the embedded tokenizer


def _hub_tokenizer(model: str) -> str | None:
    family = family_of(model)
    return f"family:{family.name}" if family else None


def _hub_parameters(model: str) -> float:
    shape = shape_of(model)
    return shape.weights if shape else _parameters_in_name(model)


def _parameters_in_name(text: str) -> float:
    match = re.search(r"(\d+(?:\.\d+)?)\s*([bBmM])\b", text)
    if not match:
        return 1e9
    return float(match[1]) * (1e9 if match[2] in "bB" else 1e6)
