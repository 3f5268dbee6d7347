"""vLLM itself on a CPU (`make test-vllm`): it answers as transformers does, follows a training, and serves a teacher."""

import os
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest
import requests
import torch

from kdscope.data.collation import Encoded
from kdscope.data.prompts import TEMPLATES, encode_prompts
from kdscope.data.sources import load_items
from kdscope.distillation.server import ServedTopK, TeacherServer
from kdscope.distillation.server_tokens import TokenReader
from kdscope.generation.decoder import TransformersDecoder
from kdscope.generation.settings import RUN_ON, Decoding
from kdscope.generation.vllm_decoder import VllmDecoder
from kdscope.generation.vllm_limits import MEMORY
from kdscope.generation.vllm_student import StudentInVllm
from kdscope.models.adapters import add_adapter
from kdscope.models.loading import load_model, load_tokenizer
from tests.generation.test_vllm_student import moved

pytest.importorskip("vllm")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TEACHER = {"name": "tiny-teacher", "source": "embedded", "dtype": "float32"}
STUDENT = {**TEACHER, "dtype": "bfloat16"}  # its heads are wide enough for vLLM's kernels
SHARE = "0.08"  # of the memory, for each engine
LORA = {"r": 4, "alpha": 8, "targets": ["q_proj", "down_proj"]}


def questions(tokenizer, count):
    """Prompts as token ids, and a key for each."""
    items = load_items("tiny-math", limit=count)
    texts = [TEMPLATES["clean"].prompt(item.question) for item in items]
    return encode_prompts(tokenizer, TEMPLATES["clean"], texts), [item.item for item in items]


def by_transformers(reference, model, decoding, count=40):
    tokenizer = load_tokenizer(reference)
    return TransformersDecoder(model.eval(), tokenizer, 16).decode(
        *questions(tokenizer, count), decoding
    )


def told(answers):
    return [(answer.tokens, answer.finish_reason) for answer in answers]


@pytest.fixture(scope="module")
def teacher():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MEMORY, SHARE)
        yield VllmDecoder(TEACHER, None, None, "cpu")


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    monkeypatch.setenv(MEMORY, SHARE)


@pytest.mark.parametrize("length", [16, 100])
def test_greedy_answers_and_their_ends_are_those_of_transformers(teacher, length):
    decoding = Decoding(length, stop=(*RUN_ON, "+"))
    expected = by_transformers(TEACHER, load_model(TEACHER), decoding)
    found = teacher.decode(*questions(teacher.tokenizer, 40), decoding)
    assert told(found) == told(expected)
    means = [answer.mean_logprob for answer in expected]
    assert [answer.mean_logprob for answer in found] == pytest.approx(means, abs=1e-3)
    reasons = {answer.finish_reason for answer in found}
    assert "run_on" in reasons
    assert len(reasons) > 1


def test_first_tokens_are_drawn_with_their_probabilities(teacher):
    (prompt, *_), _ = questions(teacher.tokenizer, 1)
    decoding = Decoding(1, temperature=2.0, seed=5, stop=())
    draws = teacher.decode([prompt] * 2000, [str(i) for i in range(2000)], decoding)
    counted = Counter(draw.tokens[0] for draw in draws)
    model = load_model(TEACHER)
    with torch.inference_mode():
        logits = model(torch.tensor([prompt])).logits[0, -1, : len(teacher.tokenizer)]
    p = (logits / 2.0).softmax(-1)
    likely = p.topk(8)
    for share, token in zip(likely.values.tolist(), likely.indices.tolist(), strict=True):
        spread = (share * (1 - share) / 2000) ** 0.5
        assert abs(counted[token] / 2000 - share) < 4 * spread
    again = teacher.decode([prompt] * 10, [str(i) for i in range(10)], decoding)
    assert told(again) == told(draws[:10])


@torch.inference_mode()
def scored(model, prompts, answers):
    """Mean log-probability of each answer under a model of transformers."""
    means = []
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = model(torch.tensor([[*prompt, *answer.tokens]])).logits[0, len(prompt) - 1 : -1]
        chosen = torch.tensor(answer.tokens)[:, None]
        means.append(float(logits.float().log_softmax(-1).gather(-1, chosen).mean()))
    return torch.tensor(means)


@pytest.mark.parametrize(("lora", "by"), [(LORA, 0.3), (None, 0.1)])
def test_a_student_under_training_answers_with_the_weights_of_the_moment(tmp_path, lora, by):
    student = add_adapter(load_model(STUDENT), lora, 0).eval()
    rollouts = StudentInVllm(STUDENT, None, tmp_path / "student", "cpu")
    tokenizer, decoding = load_tokenizer(STUDENT), Decoding(12, stop=())
    prompts, keys = questions(tokenizer, 40)
    for step in range(3):
        found = rollouts(student, tokenizer, 8).decode(prompts, keys, decoding)
        told_by_vllm = torch.tensor([answer.mean_logprob for answer in found])

        def apart(answers=found, told=told_by_vllm):
            return float((told - scored(student, prompts, answers)).abs().median())

        assert apart() < 0.02, f"step {step}"  # bfloat16, other kernels
        moved(student, step, by)
        assert apart() > 0.1, f"step {step}: weights that moved would do as well"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def server():
    """vLLM's server with the embedded teacher; its address."""
    from kdscope.models.loading import checkpoint_location

    folder, port = checkpoint_location(TEACHER)[0], free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--host", "127.0.0.1",
               "--port", str(port), "--dtype", "float32", "--enforce-eager", "--served-model-name", "big",
               "--gpu-memory-utilization", SHARE, "--max-model-len", "512"]  # fmt: skip
    about = {
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
    }
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env={**os.environ, **about}) as process:
        try:
            for _ in range(150):
                try:
                    if requests.get(f"{url}/health", timeout=2).status_code == 200:
                        break
                except requests.RequestException:
                    assert process.poll() is None, "the server ended"
                time.sleep(2)
            yield f"{url}/v1"
        finally:
            process.terminate()


def test_a_real_server_tells_the_teachers_own_probabilities(server):
    tokenizer = load_tokenizer(TEACHER)
    prompts, keys = questions(tokenizer, 6)
    answers = [tuple(tokenizer(" 3 + 4 = 7\nThe answer is 7")["input_ids"])] * 6
    examples = [Encoded(k, tuple(p), a) for k, p, a in zip(keys, prompts, answers, strict=True)]
    served = ServedTopK(TeacherServer(server, "big", TokenReader(tokenizer, 20)))
    rows = served.rows(examples)
    model, expected = load_model(TEACHER), []
    with torch.inference_mode():
        for example in examples:
            logits = model(torch.tensor([[*example.prompt, *example.response]])).logits[0]
            expected.append(logits[len(example.prompt) - 1 : -1].log_softmax(-1))
    p = torch.cat(expected)
    assert len(rows["ids"]) == len(p) == 6 * len(answers[0])
    known = rows["ids"] >= 0
    own = p.gather(-1, rows["ids"].long().clamp_min(0))
    torch.testing.assert_close(rows["logprobs"][known], own[known], rtol=1e-4, atol=1e-3)
    assert (rows["ids"][:, 0] == p.argmax(-1)).all()
