"""Packed weights: the same products, and a model that is as it was afterwards."""

import pytest
import torch

from kdscope.generation import packed
from kdscope.generation.packed import packed_weights
from kdscope.models.adapters import add_adapter
from tests.tiny import random_model

IDS = torch.arange(24).reshape(4, 6)


@pytest.fixture(autouse=True)
def _small_models_count(monkeypatch):
    monkeypatch.setattr(packed, "FEWEST_BYTES", 0)


def logits(model):
    with torch.inference_mode():
        return model(IDS).logits


def is_packed(model) -> bool:
    return any("forward" in vars(layer) for layer in model.modules())


@pytest.mark.parametrize("adapted", [False, True])
def test_products_are_the_same_and_layers_are_restored(adapted):
    model = random_model()
    if adapted:
        model = add_adapter(model, {"r": 2, "alpha": 4, "targets": ["q_proj"]}, 0).eval()
    before = logits(model)
    with packed_weights(model, 8):
        assert is_packed(model) == packed._is_possible()
        torch.testing.assert_close(logits(model), before, atol=1e-4, rtol=1e-4)
        with packed_weights(model, 8):  # within itself it does nothing
            pass
        assert is_packed(model) == packed._is_possible()
    assert not is_packed(model)
    assert torch.equal(logits(model), before)


def test_an_error_restores_the_layers_too():
    model = random_model()
    with pytest.raises(RuntimeError, match="stop"), packed_weights(model, 8):
        raise RuntimeError("stop")
    assert not is_packed(model)


def test_a_bias_is_added():
    layer = torch.nn.Linear(16, 8)
    states = torch.randn(5, 3, 16)
    with packed_weights(layer, 8), torch.inference_mode():
        torch.testing.assert_close(layer(states), states @ layer.weight.T + layer.bias)


@pytest.mark.parametrize(
    "reason", ["few rows", "no operators", "too small", "too large", "bfloat16"]
)
def test_ordinary_products_where_packing_does_not_serve(monkeypatch, reason):
    model = random_model()
    if reason == "no operators":
        monkeypatch.setattr(packed, "_is_possible", lambda: False)
    if reason == "too small":
        monkeypatch.setattr(packed, "FEWEST_BYTES", 1 << 40)
    if reason == "too large":
        monkeypatch.setattr(packed, "MOST_BYTES", 1000)
    if reason == "bfloat16":
        model = model.to(torch.bfloat16)
    with packed_weights(model, 1 if reason == "few rows" else 8):
        assert not is_packed(model)
