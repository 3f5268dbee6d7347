"""Whether two models speak of the same tokens: distributions over different ones cannot be compared."""

import hashlib
import json

from transformers import PreTrainedTokenizerBase

from kdscope.errors import ModelError


def vocabulary_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hex digits over tokens with their ids, and the end token."""
    content = [sorted(tokenizer.get_vocab().items()), tokenizer.eos_token_id]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def require_one_vocabulary(
    teacher: PreTrainedTokenizerBase, student: PreTrainedTokenizerBase, *names: str
) -> None:
    """Make sure that teacher and student share their tokens (heads may differ in padding).

    Args:
        teacher: its tokenizer.
        student: its tokenizer.
        names: of the two models, for the message.

    Raises:
        ModelError: they do not.
    """
    if vocabulary_digest(teacher) == vocabulary_digest(student):
        return
    one, two = names or ("the teacher", "the student")
    raise ModelError(
        f"{one} and {two} have different tokenizers ({len(teacher)} and {len(student)} tokens): their "
        "distributions are over different tokens and cannot be compared. Choose models of one family, or "
        "the methods sft and seqkd, which need the teacher's text only"
    )
