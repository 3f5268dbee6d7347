"""A pair as Qwen2.5-7B and 0.5B are one: heads of 152,064 and 151,936 rows over 151,665 tokens."""

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from kdscope.data.collation import Encoded, pad_batch
from kdscope.distillation.signals import LiveTeacher
from kdscope.distillation.training import Machine, Teaching, fit
from kdscope.divergences import Objective
from kdscope.models.adapters import add_adapter
from tests.distillation.test_training import LORA, TRAIN

TOKENS, STUDENT_ROWS, TEACHER_ROWS = 151_665, 151_936, 152_064
EXAMPLES = [Encoded(f"e/{i}", (5 + i, 151_000, 7), (9, 150_000 + i, TOKENS - 1)) for i in range(4)]


@pytest.fixture(scope="module")
def tokenizer():
    words = {f"w{i}": i for i in range(TOKENS)}
    model = WordLevel(words, unk_token="w0")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(model), eos_token="w0", pad_token="w0", unk_token="w0"
    )


def narrow_model(rows, width, seed):
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=rows, hidden_size=width, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
        tie_word_embeddings=False, bos_token_id=0, eos_token_id=0, pad_token_id=0,
        initializer_range=1.0,
    )  # fmt: skip
    return Qwen2ForCausalLM(config).eval()


def dropped(model):
    """Mean probability of the rows that are no tokens, at the supervised positions."""
    batch = pad_batch(EXAMPLES, 0)
    with torch.no_grad():
        logits = model(batch.input_ids, attention_mask=batch.attention_mask).logits[:, :-1].double()
    supervised = batch.labels[:, 1:] != -100
    return float(logits[supervised].softmax(-1)[:, TOKENS:].sum(-1).mean())


def test_it_trains_and_the_dropped_mass_is_logged(tmp_path, tokenizer):
    teacher, student = narrow_model(TEACHER_ROWS, 12, 1), narrow_model(STUDENT_ROWS, 8, 0)
    assert len(tokenizer) == TOKENS
    expected = {"dropped_mass": dropped(teacher), "student_dropped_mass": dropped(student)}
    trained = fit(
        add_adapter(student, LORA, 0), tokenizer, EXAMPLES, Objective("forward_kl"),
        TRAIN | {"batch_size": 4, "epochs": 8, "learning_rate": 3e-2}, 0, Machine("cpu", 2, tmp_path / "c"),
        teaching=Teaching(LiveTeacher(teacher)),
    )  # fmt: skip
    curves = {}
    for row in trained.curves:
        curves.setdefault(row["measure"], []).append(row["value"])
    for measure, value in expected.items():
        assert 0.0 < value < 0.1
        assert curves[measure][0] == pytest.approx(value, rel=1e-3), measure
    assert curves["loss"][-1] < 0.98 * curves["loss"][0]
    assert curves["loss"][0] == pytest.approx(curves["forward_kl"][0], rel=1e-4)
