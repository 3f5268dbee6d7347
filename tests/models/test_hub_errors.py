"""What a user reads when a model of the hub cannot be had."""

import pytest
from transformers import AutoModelForCausalLM

from kdscope.errors import ModelError
from kdscope.models.loading import load_model

LLAMA = "meta-llama/Llama-3.2-1B"


def reference(model: str) -> dict:
    return {"name": model.split("/")[-1], "source": "hub", "id": model, "dtype": "float32"}


@pytest.fixture
def refused(monkeypatch):
    def refuse(*_, **__):
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def test_a_gated_model_names_its_licence_page_and_the_login(refused):
    with pytest.raises(ModelError) as caught:
        load_model(reference(LLAMA))
    message = str(caught.value)
    assert f"https://huggingface.co/{LLAMA}" in message
    assert "hf auth login" in message
    assert "gated repo" in message
    assert "\n" not in message


def test_an_open_model_is_not_called_gated(refused):
    with pytest.raises(ModelError, match="check the id and revision"):
        load_model(reference("Qwen/Qwen2.5-0.5B"))


def test_without_network_the_licence_is_not_blamed(refused, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE"):
        load_model(reference(LLAMA))
