"""Heads: modules, adapters, sharding, ties; ways of multiplying."""

import datetime

import pytest
import torch
import torch.distributed as dist
from divergence_oracle import relative_error
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from kdscope.divergences import Head, Objective, as_head, fused_objective, model_head, products
from kdscope.errors import ModelError, UserError

GOAL = Objective("reverse_kl")


@pytest.fixture
def states():
    torch.manual_seed(0)
    return torch.randn(7, 6), torch.randn(7, 10), torch.randn(29, 10)


def test_a_linear_module_is_a_head(states):
    module = nn.Linear(6, 29)
    head = as_head(module)
    assert head.weight is module.weight
    assert head.bias is module.bias


def adapted(kind, **settings):
    peft = pytest.importorskip("peft")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)
            self.lm_head = nn.Linear(6, 29)
            self.embed = nn.Embedding(29, 6)

    return peft.get_peft_model(Model(), getattr(peft, kind)(**settings)).base_model.model


@pytest.mark.parametrize(
    ("module", "kind", "settings"),
    [
        ("lm_head", "LoraConfig", {"target_modules": ["lm_head"]}),
        ("lm_head", "LoraConfig", {"target_modules": ["lm_head"], "use_dora": True}),
        ("lm_head", "LoHaConfig", {"target_modules": ["lm_head"]}),
        ("lm_head", "IA3Config", {"target_modules": ["lm_head"], "feedforward_modules": []}),
        ("embed", "LoraConfig", {"target_modules": ["embed"]}),
        ("embed", "LoraConfig", {"target_modules": ["inner"], "trainable_token_indices": {"embed": [0]}}),
    ],
)  # fmt: skip
def test_an_adapter_on_the_head_is_refused(module, kind, settings):
    with pytest.raises(ModelError, match="would neither count nor learn"):
        as_head(getattr(adapted(kind, **settings), module))


def test_a_head_that_is_trained_in_full_beside_adapters_is_the_copy_that_learns():
    model = adapted("LoraConfig", target_modules=["inner"], modules_to_save=["lm_head"])
    head = as_head(model.lm_head)
    assert head.weight is model.lm_head.modules_to_save["default"].weight
    assert head.weight.requires_grad


def test_a_module_without_weight_is_refused():
    with pytest.raises(ModelError, match="no weight matrix"):
        as_head(nn.Identity())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": torch.zeros(3)}, "a matrix"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "3 rows"),
        ({"weight": torch.zeros(3, 2), "scale": 0.0}, "other than 0"),
        ({"weight": torch.zeros(3, 2), "softcap": 0.0}, "above 0"),
    ],
)
def test_impossible_heads(settings, message):
    with pytest.raises(UserError, match=message):
        Head(**settings)


def test_the_head_of_a_model_has_its_cap_and_scale():
    transformers = pytest.importorskip("transformers")
    sizes = {
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
    }  # fmt: skip
    gemma = transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**sizes))
    assert model_head(gemma).softcap == 30.0
    cohere = transformers.CohereForCausalLM(
        transformers.CohereConfig(**{k: v for k, v in sizes.items() if k != "head_dim"})
    )
    assert model_head(cohere).scale == 0.0625
    tokens = torch.arange(5)[None]
    for model in (gemma.eval(), cohere.eval()):
        head = model_head(model)
        hidden = model.get_decoder()(tokens).last_hidden_state[0]
        logits = model(tokens).logits[0]
        labels = torch.arange(1, 6)
        got = fused_objective(hidden, head, labels, torch.ones(5), Objective("nll"))
        want = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        assert relative_error(got.loss.detach(), want.detach()) < 1e-5


def test_a_head_tied_to_the_embeddings_gets_both_gradients(states):
    _, h_t, w_t = states
    embedding = nn.Embedding(29, 6)
    tokens = torch.arange(7)

    def loss(fused):
        hidden = torch.tanh(embedding(tokens))
        if fused:
            given = {"teacher_hidden": h_t, "teacher_head": w_t}
            return fused_objective(
                hidden, embedding.weight, None, torch.ones(7), GOAL, **given
            ).loss
        lq = (hidden @ embedding.weight.T).log_softmax(-1)
        return (lq.exp() * (lq - (h_t @ w_t.T).log_softmax(-1))).sum()

    got = torch.autograd.grad(loss(True), embedding.weight)[0]
    want = torch.autograd.grad(loss(False), embedding.weight)[0]
    assert relative_error(got, want) < 1e-5


def test_a_trainable_bfloat16_head_accumulates_in_float32(states):
    torch.manual_seed(0)
    n = 4000
    hidden = torch.ones(n, 6).bfloat16()
    labels = torch.zeros(n, dtype=torch.long)
    head = torch.zeros(29, 6).bfloat16().requires_grad_()
    options = {"byte_budget": 29 * 4 * 64}
    loss = fused_objective(hidden, head, labels, torch.ones(n), Objective("nll"), **options).loss
    (gradient,) = torch.autograd.grad(loss, head)
    want = torch.full((29, 6), n / 29)
    want[0] -= n
    assert relative_error(gradient, want) < 4e-3  # one rounding at the end, not one per chunk


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group(
        "gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1,
        timeout=datetime.timedelta(seconds=20),
    )  # fmt: skip
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_sharded_heads_are_gathered(states, one_process):
    h_s, h_t, w_t = states
    whole = torch.randn(29, 6).requires_grad_()
    sharded = distribute_tensor(whole.detach(), one_process, [Shard(0)]).requires_grad_()
    teacher = distribute_tensor(w_t, one_process, [Shard(0)])
    given = {"teacher_hidden": h_t, "teacher_head": w_t}
    want = fused_objective(h_s, whole, None, torch.ones(7), GOAL, **given).loss
    given["teacher_head"] = teacher
    got = fused_objective(h_s, sharded, None, torch.ones(7), GOAL, **given).loss
    assert torch.equal(got, want)
    got.backward()
    want.backward()
    assert torch.equal(sharded.grad.full_tensor(), whole.grad)


@pytest.mark.parametrize(
    ("processor", "fast"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R)"}, True),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R)"}, False),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC"}, True),
        ({"avx512_bf16": False, "cpu_name": "AMD EPYC"}, False),
        ({}, False),
    ],
)
def test_which_processors_multiply_bfloat16_fast(processor, fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor, raising=False)
    assert products.narrow_products_are_fast.__wrapped__() is fast


def test_a_tiny_gradient_in_float16_survives_until_it_is_scaled():
    """As under a loss scaler: what backward is given lifts the gradient out of the underflow."""
    torch.manual_seed(0)
    hidden, head = torch.randn(8, 16).half(), torch.randn(97, 16).half()
    given = {
        "teacher_hidden": torch.randn(8, 16).half(),
        "teacher_head": torch.randn(97, 16).half(),
    }

    def gradient(weight, scale):
        leaf = hidden.clone().requires_grad_()
        weights = torch.full((8,), weight)
        (fused_objective(leaf, head, None, weights, GOAL, **given).loss * scale).backward()
        return leaf.grad

    assert relative_error(gradient(2.0**-24, 2.0**24), gradient(1.0, 1.0)) < 1e-3


def test_fast_rounds_logits_and_says_how_much(monkeypatch):
    torch.manual_seed(0)
    h_s, h_t = torch.randn(16, 64).bfloat16(), torch.randn(16, 64).bfloat16()
    w_s, w_t = torch.randn(997, 64).bfloat16() * 0.4, torch.randn(997, 64).bfloat16() * 0.4
    monkeypatch.setattr(products, "narrow_products_are_fast", lambda: True)

    def gradient(precision, trainable):
        hidden, head = h_s.clone().requires_grad_(), w_s.clone().requires_grad_(trainable)
        given = {"teacher_hidden": h_t, "teacher_head": w_t, "precision": precision}
        fused_objective(hidden, head, None, torch.ones(16), GOAL, **given).loss.backward()
        return hidden.grad, head.grad

    for exact, fast in zip(gradient("exact", True), gradient("fast", True), strict=True):
        assert 1e-4 < relative_error(fast, exact) < 5e-2


def test_fast_is_exact_where_narrow_products_are_slow(monkeypatch):
    monkeypatch.setattr(products, "narrow_products_are_fast", lambda: False)
    hidden, head = torch.zeros(2, 3).bfloat16(), Head(torch.zeros(4, 3).bfloat16())
    assert isinstance(products.products_for(hidden, head, "fast"), products.Widened)
    monkeypatch.setattr(products, "narrow_products_are_fast", lambda: True)
    assert isinstance(products.products_for(hidden, head, "fast"), products.Narrow)


def test_hidden_states_and_head_of_different_dtype(states):
    h_s, h_t, w_t = states
    w_s = torch.randn(29, 6).bfloat16()
    given = {"teacher_hidden": h_t.double(), "teacher_head": w_t.bfloat16()}
    hidden = h_s.requires_grad_()
    got = fused_objective(hidden, w_s, None, torch.ones(7), GOAL, **given).loss
    (gradient,) = torch.autograd.grad(got, hidden)
    assert gradient.dtype == torch.float32
    leaf = h_s.detach().double().requires_grad_()
    lq = (leaf @ w_s.double().T).log_softmax(-1)
    lp = (h_t.double() @ w_t.bfloat16().double().T).log_softmax(-1)
    want = (lq.exp() * (lq - lp)).sum()
    assert relative_error(gradient, torch.autograd.grad(want, leaf)[0]) < 1e-5


def test_autocast_around_the_call_changes_nothing(states):
    h_s, h_t, w_t = states
    w_s = torch.randn(29, 6)
    given = {"teacher_hidden": h_t, "teacher_head": w_t}
    want = fused_objective(h_s, w_s, None, torch.ones(7), GOAL, **given).loss
    with torch.autocast("cpu", torch.bfloat16):
        got = fused_objective(h_s, w_s, None, torch.ones(7), GOAL, **given).loss
    assert torch.equal(got, want)
