"""A student under training in vLLM's stand-in: it answers with the weights of the moment."""

import subprocess
import sys
import time

import psutil
import pytest
import torch

from kdscope.distillation.rollouts import Rollouts
from kdscope.errors import ModelError
from kdscope.generation.decoder import TransformersDecoder
from kdscope.generation.settings import Decoding
from kdscope.generation.vllm_decoder import VllmDecoder
from kdscope.generation.vllm_student import StudentInVllm
from kdscope.models.adapters import add_adapter
from tests import fake_vllm
from tests.generation.test_vllm import KEYS, REFERENCE, ids, saved, told
from tests.tiny import random_model, tokenizer

LORA = {"r": 4, "alpha": 8, "targets": ["q_proj", "down_proj"]}
DECODING = Decoding(12, stop=())


@pytest.fixture
def vllm(monkeypatch):
    return fake_vllm.install(monkeypatch)


@pytest.fixture
def base(tmp_path):
    return saved(tmp_path / "base", random_model())


def moved(model, seed, by=0.3):
    """As an optimizer step leaves it."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * by)
    return model


def by_transformers(model):
    return told(TransformersDecoder(model.eval(), tokenizer()).decode(ids(), KEYS, DECODING))


@pytest.mark.parametrize("lora", [LORA, None])
def test_it_answers_with_the_weights_of_the_moment(vllm, base, tmp_path, lora):
    student = add_adapter(random_model(), lora, 0)
    rollouts = StudentInVllm(REFERENCE, base, tmp_path / "student", "cuda")
    seen = []
    for step in range(3):
        found = told(rollouts(student, tokenizer(), 8).decode(ids(), KEYS, DECODING))
        assert found == by_transformers(student), f"step {step}"
        seen.append(found)
        moved(student, step)
    assert seen[0] != seen[1] != seen[2]
    assert len(vllm.built) == 1
    assert vllm.built[0].sleeps == 3


def test_of_two_adapters_the_active_one_is_the_students(vllm, base, tmp_path):
    student = moved(add_adapter(random_model(), LORA, 0), 1)
    moved(add_adapter(random_model(), LORA, 1), 2).save_pretrained(tmp_path / "teacher")
    expected = by_transformers(student)
    student.load_adapter(str(tmp_path / "teacher"), "teacher")
    rollouts = StudentInVllm(REFERENCE, base, tmp_path / "student", "cuda")
    assert told(rollouts(student, tokenizer(), 8).decode(ids(), KEYS, DECODING)) == expected


def test_an_adapter_that_changes_nothing_is_refused_only_where_it_should_be_trained(
    vllm, base, tmp_path
):
    student = add_adapter(random_model(), LORA, 0)
    StudentInVllm(REFERENCE, base, tmp_path / "student", "cuda")(student, tokenizer(), 8)
    with pytest.raises(ModelError, match="changes nothing"):
        VllmDecoder(REFERENCE, base, tmp_path / "student", "cuda")


def test_rollouts_are_those_of_the_decoder_that_they_name(vllm, base, tmp_path):
    from kdscope.data.collation import Encoded

    student = moved(add_adapter(random_model(), LORA, 0), 1)
    examples = [Encoded(str(i), tuple(prompt), ()) for i, prompt in enumerate(ids())]
    decoder = StudentInVllm(REFERENCE, base, tmp_path / "student", "cuda")
    found = Rollouts(1.0, 0.7, 9, 0, decoder=decoder).sample(student, tokenizer(), examples, 4)
    assert [one.prompt for one in found] == [one.prompt for one in examples]
    assert all(0 < len(one.response) <= 9 for one in found)
    (asked,) = {params.temperature for _, params, _ in vllm.built[0].asked}
    assert asked == 0.7
    assert student.training


HOLDS_AN_ENGINE = """
import subprocess, sys, time
from kdscope.generation import vllm_engine
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
guard = vllm_engine._guard(vllm_engine._children())
print(child.pid, guard.pid, flush=True)
time.sleep(600)
"""


def test_what_an_engine_has_started_ends_with_us_however_we_end():
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_AN_ENGINE], stdout=subprocess.PIPE
    ) as process:
        child, guard = map(int, process.stdout.readline().split())
        process.kill()
    for pid in (child, guard):
        for _ in range(100):
            if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"{pid} lives on")
