"""Families of models that share a tokenizer, and the shapes of those that the presets name.

Pure data, so that a study of hub models can be planned, priced and checked where nothing can be
downloaded. What a checkpoint really is, its own files say when it is loaded.

Sources: Qwen2.5 as in torchtune's builders, Llama as in `llama-models`' list of models.
"""

import re
from typing import NamedTuple


class Family(NamedTuple):
    """Models with one tokenizer.

    Attributes:
        name: of the family.
        pattern: of the hub ids that belong to it, in lower case.
        gated: the hub asks for an accepted licence and a token.
    """

    name: str
    pattern: re.Pattern[str]
    gated: bool = False


class Shape(NamedTuple):
    """What the cost of a model depends on: layers, widths, heads of attention, rows of the head."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    rows: int
    tied: bool

    @property
    def body(self) -> float:
        """Weights of all layers, biases and norms left out (below 0.1 %)."""
        head_width = self.width // self.heads
        attention = 2 * self.width * head_width * (self.heads + self.kv_heads)
        return float(self.layers * (attention + 3 * self.width * self.inner))

    @property
    def head(self) -> float:
        """Weights of the output head."""
        return float(self.rows * self.width)

    @property
    def weights(self) -> float:
        """All parameters."""
        return self.body + self.head * (1 if self.tied else 2)


FAMILIES = (
    Family("qwen2.5", re.compile(r"qwen/qwen2\.5-")),
    Family("qwen3", re.compile(r"qwen/qwen3-")),
    Family("llama3", re.compile(r"meta-llama/(meta-)?llama-3"), gated=True),
    Family("smollm2", re.compile(r"huggingfacetb/smollm2-")),
    Family("gemma2", re.compile(r"google/gemma-2-"), gated=True),
    Family("gemma3", re.compile(r"google/gemma-3-"), gated=True),
)

# Names of the linear layers in every family above, and in the embedded models.
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

SHAPES = {
    "Qwen/Qwen2.5-0.5B": Shape(24, 896, 4864, 14, 2, 151_936, True),
    "Qwen/Qwen2.5-1.5B": Shape(28, 1536, 8960, 12, 2, 151_936, True),
    "Qwen/Qwen2.5-3B": Shape(36, 2048, 11_008, 16, 2, 151_936, True),
    "Qwen/Qwen2.5-7B": Shape(28, 3584, 18_944, 28, 4, 152_064, False),
    "Qwen/Qwen2.5-14B": Shape(48, 5120, 13_824, 40, 8, 152_064, False),
    "meta-llama/Llama-3.2-1B": Shape(16, 2048, 8192, 32, 8, 128_256, True),
    "meta-llama/Llama-3.2-3B": Shape(28, 3072, 8192, 24, 8, 128_256, True),
    "meta-llama/Llama-3.1-8B": Shape(32, 4096, 14_336, 32, 8, 128_256, False),
    "smollm2-135m": Shape(30, 576, 1536, 9, 3, 49_152, True),
}


def family_of(model: str) -> Family | None:
    """The family of a hub id, None where it is not known."""
    return next((family for family in FAMILIES if family.pattern.match(model.lower())), None)


def shape_of(model: str) -> Shape | None:
    """The shape of a hub id or packaged model; an instruction-tuned model has that of its base."""
    return SHAPES.get(model.removesuffix("-Instruct"))
