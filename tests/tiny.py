"""Very small random models and the embedded tokenizer, for tests that need no trained weights."""

from functools import lru_cache

import torch
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from kdscope.models.loading import load_tokenizer

TEACHER = {"name": "tiny-teacher", "source": "embedded", "dtype": "float32"}
STUDENT = {"name": "tiny-student-small", "source": "embedded", "dtype": "float32"}
PROMPTS = (
    "### Instruction:\nHow much is 3 + 4?\n\n### Response:",
    "Mia has 4 apples.",
    "Tom has 12 books. Tom buys 3 more books. How many books does Tom have now?",
    "Which number is even? (A) 3 (B) 4 (C) 5 (D) 7",
    "7 + 8 =",
)


@lru_cache(maxsize=1)
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of the embedded family."""
    return load_tokenizer(STUDENT)


def random_model(seed: int = 0, width: int = 32, extra_rows: int = 12) -> Qwen2ForCausalLM:
    """An untrained two-layer Qwen2 whose head is padded beyond the tokenizer."""
    torch.manual_seed(seed)
    end = tokenizer().eos_token_id
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer()) + extra_rows,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            initializer_range=0.3,
        )
    )
    return model.eval()
