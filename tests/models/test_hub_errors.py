"""What a user reads when a model of the hub cannot be had."""

import json
import os
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

from kdscope.errors import ModelError
from kdscope.models.loading import load_model
from kdscope.models.sources import embedded_folder
from tests.models.hub_stub import COMMIT, GATED, OPEN, hub

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


ASK = """
import json, sys
from kdscope.errors import ModelError
from kdscope.models.loading import load_model, load_tokenizer
for model, revision in json.loads(sys.argv[1]):
    reference = {"name": "it", "source": "hub", "id": model, "revision": revision, "dtype": "float32"}
    for load in (load_tokenizer, load_model):
        try:
            print(json.dumps(type(load(reference)).__name__))
        except ModelError as error:
            print(json.dumps(str(error)))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What loading says of five models of a hub of our own, and which paths of it were asked for."""
    wanted = [(OPEN, "v1"), (OPEN, COMMIT), (OPEN, "nope"), (GATED, None), ("someone/absent", None)]
    with hub(embedded_folder("tiny-student-small")) as (address, asked):
        home = tmp_path_factory.mktemp("hub")
        environment = {
            **os.environ,
            "HF_ENDPOINT": address,
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(home),
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK, json.dumps(wanted)],
            capture_output=True, text=True, env=environment, timeout=300, check=True,
        )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {model: lines[2 * i : 2 * i + 2] for i, model in enumerate(wanted)}, asked


def test_a_pinned_revision_is_what_is_loaded(answers):
    found, asked = answers
    for revision in ("v1", COMMIT):  # the commit of v1: its files are here by then
        assert found[OPEN, revision] == ["Qwen2Tokenizer", "Qwen2ForCausalLM"]
    assert any("/resolve/v1/model.safetensors" in path for path in asked)
    assert not any("/resolve/main/" in path and OPEN in path for path in asked)


def test_what_a_hub_refuses_is_told_apart(answers):
    found, _ = answers
    expected = {
        (OPEN, "nope"): ("there is no revision 'nope'", "/commits"),
        (GATED, None): ("is gated", "accept its licence at https://huggingface.co/someone/gated"),
        ("someone/absent", None): ("check the id's spelling", "if the model is private"),
    }
    for model, words in expected.items():
        for message in found[model]:
            assert "\n" not in message
            for word in words:
                assert word in message


def test_offline_the_command_that_fetches_the_pinned_model_is_named(refused, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"hf download Qwen/Qwen2\.5-0\.5B --revision v7"):
        load_model(reference("Qwen/Qwen2.5-0.5B") | {"revision": "v7"})
