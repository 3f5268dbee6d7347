"""Tokenizers of real families from the vocabularies that packages ship; nothing of these packages is imported.

``pip install --no-deps dashscope llama-models`` puts the files in place (9 MB); what else the packages
depend on is not needed.
"""

import base64
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

QWEN_ADDED = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>",
    "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
LLAMA_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PLACES = {
    "qwen2.5": ("dashscope", "resources/qwen.tiktoken"),
    "llama3": ("llama_models", "llama3/tokenizer.model"),
}


def vocabulary_file(family: str) -> Path | None:
    """Where the installed package keeps the family's vocabulary; None without the package."""
    package, name = PLACES[family]
    spec = find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return next((path for folder in folders if (path := Path(folder) / name).is_file()), None)


@lru_cache(maxsize=2)
def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a family."""
    path = vocabulary_file(family)
    assert path is not None
    vocabulary, merges = byte_pairs(path)
    return _qwen(vocabulary, merges) if family == "qwen2.5" else _llama(vocabulary, merges)


def byte_pairs(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a tiktoken file: lines of a token in base64 and its rank."""
    lines = (line.split() for line in path.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    letters = bytes_to_unicode()

    def spelled(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    merges = []
    for token in ranks:
        splits = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [(a, b) for a, b in splits if a in ranks and b in ranks]
        merges += [
            (spelled(a), spelled(b))
            for a, b in sorted(known, key=lambda p: (ranks[p[0]], ranks[p[1]]))
        ]
    return {spelled(token): rank for token, rank in ranks.items()}, merges


def _qwen(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=merges, eos_token="<|endoftext|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_ADDED[1:])})
    return tokenizer


def _llama(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    added = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        *(f"<|reserved_special_token_{i}|>" for i in range(254)),
    ]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=added[0], eos_token=added[1]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": added[2:]})
    return tokenizer
