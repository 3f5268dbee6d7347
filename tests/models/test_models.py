"""Models: states without the head, adapters that are really there, cuts, and where weights come from."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from kdscope.data.collation import Encoded, pad_batch
from kdscope.errors import ModelError
from kdscope.models.adapters import add_adapter, load_trained, merged, plain
from kdscope.models.loading import keep_layers, load_model, load_tokenizer
from kdscope.models.sources import EMBEDDED, embedded_folder
from kdscope.models.states import put_head_back, supervised_states, take_head_out
from tests.tiny import STUDENT, TEACHER, random_model, tokenizer

LORA = {"r": 4, "alpha": 8, "targets": ["q_proj", "down_proj"]}


def batch():
    return pad_batch([Encoded("a", (5, 6, 7), (8, 9, 0)), Encoded("b", (5,), (6, 0))], 0)


def test_states_are_what_the_head_sees_and_labels_are_shifted():
    model, (ids, mask, labels) = random_model(), batch()
    with torch.no_grad():
        logits = model(ids, attention_mask=mask).logits
    take_head_out(model)
    states, targets = supervised_states(model, ids, mask, labels)
    assert targets.tolist() == [8, 9, 0, 6, 0]
    expected = torch.cat([logits[0, 2:5], logits[1, 0:2]])
    torch.testing.assert_close(model.lm_head.head(states), expected)
    put_head_back(model)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, logits)


def test_heads_that_transform_their_logits_are_refused():
    model = random_model()
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(ModelError, match="final_logit_softcapping"):
        take_head_out(model)


def test_adapter_is_saved_loaded_and_merged(tmp_path):
    student = add_adapter(random_model(), LORA, seed=0)
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    student.eval().save_pretrained(tmp_path)
    loaded = load_trained(random_model(), tmp_path)
    ids = torch.tensor([[4, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, student(ids).logits)
        assert not torch.allclose(loaded(ids).logits, random_model()(ids).logits)
        expected = loaded(ids).logits
        torch.testing.assert_close(merged(loaded)(ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_adapter_that_changes_nothing_is_an_error(tmp_path):
    add_adapter(random_model(), LORA, seed=0).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="changes nothing"):
        load_trained(random_model(), tmp_path)


def test_whole_weights_are_trained_and_loaded_too(tmp_path):
    model = add_adapter(random_model(), None, seed=0)
    assert all(weight.requires_grad for weight in model.parameters())
    with torch.no_grad():
        plain(model).lm_head.weight.add_(1.0)
    model.save_pretrained(tmp_path)
    loaded = load_trained(random_model(), tmp_path)
    torch.testing.assert_close(plain(loaded).lm_head.weight, plain(model).lm_head.weight)


def test_empty_folder_is_no_trained_model(tmp_path):
    with pytest.raises(ModelError, match="no trained model"):
        load_trained(random_model(), tmp_path)


def test_adapters_of_one_seed_are_equal_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    one, two, other = (add_adapter(random_model(), LORA, seed) for seed in (3, 3, 4))
    parts = [
        torch.cat([w.flatten() for n, w in m.named_parameters() if "lora_A" in n])
        for m in (one, two, other)
    ]
    assert torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])
    random_model()
    state = torch.get_rng_state()
    add_adapter(random_model(), LORA, 0)
    random_model()
    assert torch.equal(torch.get_rng_state(), state)
    assert before is not None


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["lm_head"], "LoRA on the head"),
        (["nothing"], "cannot add LoRA"),
        (["q_proj", "c_attn"], r"cannot add LoRA to \['c_attn'\]"),
    ],
)
def test_bad_targets_are_refused(targets, message):
    with pytest.raises(ModelError, match=message):
        add_adapter(random_model(), LORA | {"targets": targets}, 0)


def test_cutting_keeps_first_and_last_layer_and_still_decodes():
    model = load_model(TEACHER)
    first, last = model.model.layers[0], model.model.layers[-1]
    keep_layers(model, 3)
    assert model.model.layers[0] is first
    assert model.model.layers[-1] is last
    assert model.config.num_hidden_layers == 3
    model.generate(torch.tensor([[4, 5, 6]]), max_new_tokens=3, pad_token_id=0)
    with pytest.raises(ModelError, match="cannot keep 9"):
        keep_layers(model, 9)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_load_like_any_checkpoint(name):
    model = load_model({"name": name, "source": "embedded", "dtype": "float32"})
    assert not model.training
    assert model.config.vocab_size >= len(tokenizer())
    assert list(embedded_folder(name).glob("*.safetensors"))


def test_the_family_has_heads_of_different_size_and_one_tokenizer():
    teacher, student = load_model(TEACHER), load_model(STUDENT)
    assert teacher.config.vocab_size != student.config.vocab_size
    assert load_tokenizer(TEACHER).get_vocab() == load_tokenizer(STUDENT).get_vocab()
    assert 1000 <= len(tokenizer()) <= 2000


def test_the_family_is_small_enough_to_ship():
    files = [f for name in EMBEDDED for f in embedded_folder(name).rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 12e6


def test_missing_checkpoint_is_one_clear_message(tmp_path):
    with pytest.raises(ModelError, match="cannot load 'gone'"):
        load_model({"name": "gone", "source": "folder", "dtype": "float32"}, str(tmp_path / "gone"))
    with pytest.raises(ModelError, match="tiny-teacher, tiny-student"):
        embedded_folder("tiny-professor")


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_attention_kernels_agree(kernel):
    model = load_model(TEACHER | {"attention": kernel})
    assert model.config._attn_implementation == kernel
    ids = torch.arange(4, 40).reshape(2, 18)
    with torch.no_grad():
        torch.testing.assert_close(
            model(ids).logits, load_model(TEACHER)(ids).logits, rtol=1e-4, atol=1e-4
        )


def test_a_kernel_that_is_not_installed_is_one_clear_message():
    with pytest.raises(ModelError, match=r"attention: flash_attention_2.*write attention: sdpa"):
        load_model(TEACHER | {"attention": "flash_attention_2"})


def test_a_device_map_spreads_the_same_model():
    ids = torch.arange(4, 40).reshape(2, 18)
    spread = load_model(TEACHER | {"device_map": "auto"})
    assert {weight.device.type for weight in spread.parameters()} == {"cpu"}
    with torch.no_grad():
        torch.testing.assert_close(spread(ids).logits, load_model(TEACHER)(ids).logits)


def test_a_spread_model_whose_head_stayed_on_the_disk_is_refused(monkeypatch):
    model = random_model()
    model.lm_head.to("meta")
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: model)
    with pytest.raises(ModelError, match="left its head on the disk"):
        load_model(TEACHER | {"device_map": "auto"})
