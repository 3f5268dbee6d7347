"""The vLLM decoder against a stand-in with the real names: the same answers as transformers', one engine per base."""

import os
import sys

import pytest
import torch

from kdscope.errors import ConfigError, DataError, MissingExtraError, ModelError
from kdscope.generation import vllm_decoder as decoder_module
from kdscope.generation import vllm_limits
from kdscope.generation.decoder import Decoder, TransformersDecoder
from kdscope.generation.journal import Journal
from kdscope.generation.settings import Decoding
from kdscope.generation.vllm_decoder import VllmDecoder
from kdscope.models.adapters import add_adapter, merged
from tests import fake_vllm
from tests.tiny import PROMPTS, random_model, tokenizer

REFERENCE = {"name": "random", "source": "folder", "dtype": "bfloat16"}
KEYS = [f"task/{i}/0" for i in range(len(PROMPTS))]


def ids():
    return tokenizer()(list(PROMPTS))["input_ids"]


def saved(folder, model):
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def vllm(monkeypatch):
    return fake_vllm.install(monkeypatch)


@pytest.fixture
def model():
    return random_model()


@pytest.fixture
def base(tmp_path, model):
    return saved(tmp_path / "base", model)


def served(base, trained=None, **other):
    return VllmDecoder({**REFERENCE, **other}, base, trained, "cuda")


def adapter(folder, seed, rank=4):
    student = add_adapter(
        random_model(), {"r": rank, "alpha": 8, "targets": ["q_proj", "down_proj"]}, seed
    )
    torch.manual_seed(seed)
    for name, weight in student.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    student.save_pretrained(folder)
    return student.eval()


def told(answers):
    return [(answer.tokens, answer.finish_reason) for answer in answers]


def both(model, decoder, decoding, rows=None):
    """Answers of transformers and of the decoder, which must be the same; returns how they ended."""
    one: Decoder = TransformersDecoder(model, tokenizer(), 3)
    expected = one.decode(ids()[:rows], KEYS[:rows], decoding)
    found = decoder.decode(ids()[:rows], KEYS[:rows], decoding)
    assert told(found) == told(expected)
    return [answer.finish_reason for answer in found]


@pytest.mark.parametrize(
    ("length", "ends"),
    [(5, {"length"}), (16, {"run_on", "length"}), (40, {"run_on", "stop", "length"})],
)
def test_greedy_answers_and_their_ends_are_those_of_transformers(
    vllm, model, tmp_path, length, ends
):
    free = TransformersDecoder(model, tokenizer()).decode(ids(), KEYS, Decoding(48, stop=()))
    model.generation_config.eos_token_id = [0, free[1].tokens[25]]  # a token that comes late
    decoder = served(saved(tmp_path / "base", model))
    texts = [tokenizer().decode(free[i].tokens[a : a + 3]) for i, a in ((0, 2), (2, 13), (3, 33))]
    assert set(both(model, decoder, Decoding(length, stop=tuple(texts)))) == ends
    both(model, decoder, Decoding(length % 16 + 8, stop=()))


def test_after_a_stop_text_the_length_or_an_end_may_come_before_the_next_look(
    vllm, model, tmp_path
):
    free = TransformersDecoder(model, tokenizer()).decode(ids(), KEYS, Decoding(48, stop=()))[0]
    text = tokenizer().decode(free.tokens[17:20])
    model.generation_config.eos_token_id = [0, free.tokens[27]]
    decoder = served(saved(tmp_path / "base", model))
    lengths = (20, 24, 27, 32, 48)
    ends = [both(model, decoder, Decoding(length, stop=(text,)), 1)[0] for length in lengths]
    assert ends == ["length", "length", "length", "stop", "stop"]
    model.generation_config.eos_token_id = 0
    other = served(saved(tmp_path / "other", model))
    ends = [both(model, other, Decoding(length, stop=(text,)), 1)[0] for length in lengths]
    assert ends == ["length", "length", "length", "run_on", "run_on"]


def test_log_probabilities_are_those_of_transformers_without_padded_rows(vllm, tmp_path):
    model = random_model(extra_rows=0)
    decoder, decoding = served(saved(tmp_path, model)), Decoding(40, stop=("e",))
    expected = TransformersDecoder(model, tokenizer()).decode(ids(), KEYS, decoding)
    found = decoder.decode(ids(), KEYS, decoding)
    means = [answer.mean_logprob for answer in expected]
    assert [answer.mean_logprob for answer in found] == pytest.approx(means, abs=1e-4)
    assert vllm.built[0].asked[0][1].logit_bias is None


def test_padded_rows_of_the_head_are_never_chosen(vllm, model, tmp_path):
    with torch.no_grad():
        model.lm_head.weight[len(tokenizer()) :] *= 4
    decoder = served(saved(tmp_path, model))
    both(model, decoder, Decoding(20, stop=()))
    drawn = decoder.decode(ids(), KEYS, Decoding(20, 1.5, stop=()))
    assert max(max(answer.tokens) for answer in drawn) < len(tokenizer())


def test_one_engine_serves_the_base_and_all_its_students(vllm, model, base, tmp_path):
    students = [adapter(tmp_path / name, seed) for seed, name in enumerate("ab")]
    decoders = [served(base, tmp_path / name) for name in "ab"] + [served(base)]
    for student, decoder in zip([*students, None], decoders, strict=True):
        both(model if student is None else merged(student), decoder, Decoding(20, stop=()))
    both(random_model(), decoders[2], Decoding(20, stop=()))
    both(merged(adapter(tmp_path / "a", 0)), decoders[0], Decoding(6, stop=()))
    assert len(vllm.built) == 1
    engine = vllm.built[0]
    assert engine.given["max_lora_rank"] == 8
    folders = {number: path for number, (path, _) in engine.adapters.items()}
    assert folders == {1: str(tmp_path / "a"), 2: str(tmp_path / "b")}
    assert engine.sleeps == 5


def test_an_engine_that_takes_no_such_adapter_is_built_anew(vllm, base, tmp_path):
    adapter(tmp_path / "small", 0)
    adapter(tmp_path / "large", 1, rank=20)
    for trained in (None, tmp_path / "small", tmp_path / "large", tmp_path / "small", None):
        served(base, trained)
    ranks = [engine.given.get("max_lora_rank") for engine in vllm.built]
    assert ranks == [None, 8, 32]
    assert [engine.ended for engine in vllm.built] == [True, True, False]


def test_whole_weights_of_a_training_are_a_base_of_their_own(vllm, base, tmp_path):
    trained = random_model(seed=5)
    trained.save_pretrained(tmp_path / "whole")
    both(trained, served(base, tmp_path / "whole"), Decoding(12, stop=()))
    given = vllm.built[0].given
    assert (given["model"], given["tokenizer"]) == (str(tmp_path / "whole"), base)


def test_two_engines_are_kept_and_the_one_used_longest_ago_is_ended(vllm, tmp_path):
    bases = [saved(tmp_path / str(i), random_model(seed=i)) for i in range(3)]
    for i in (0, 1, 0, 2):
        served(bases[i])
    assert [engine.ended for engine in vllm.built] == [False, True, False]


def test_samples_depend_on_seed_and_key_alone(vllm, base):
    decoder, decoding = served(base), Decoding(20, 1.0, seed=3, top_p=0.9)
    together = told(decoder.decode(ids(), KEYS, decoding))
    backwards = told(decoder.decode(ids()[::-1], KEYS[::-1], decoding))
    assert backwards[::-1] == together
    assert told(decoder.decode(ids(), KEYS, Decoding(20, 1.0, seed=4, top_p=0.9))) != together
    others = told(decoder.decode(ids(), [f"{key}1" for key in KEYS], decoding))
    assert others != together
    seeds = [params.seed for _, params, _ in vllm.built[0].asked]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_token_ids_are_handed_over_as_they_are(vllm, base):
    served(base).decode(ids(), KEYS, Decoding(2))
    assert [prompt for prompt, _, _ in vllm.built[0].asked] == ids()


def test_what_an_engine_is_told(vllm, base, monkeypatch):
    monkeypatch.setenv("KDSCOPE_VLLM_MEMORY", "0.35")
    served(base)
    given = vllm.built[0].given
    assert given["gpu_memory_utilization"] == 0.35
    assert given["dtype"] == "bfloat16"
    assert given["generation_config"] == "vllm"
    assert "enable_lora" not in given
    assert "trust_remote_code" not in given
    assert os.environ["VLLM_NO_USAGE_STATS"] == "1"


def test_a_killed_answering_repeats_whole_portions_only(vllm, base, tmp_path, monkeypatch):
    monkeypatch.setattr(decoder_module, "PORTION", 2)
    decoding, seen = Decoding(8, stop=()), []
    expected = served(base).decode(ids(), KEYS, decoding)

    def killed(done, total):
        seen.append((done, total))
        if done == 4:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        served(base).decode(ids(), KEYS, decoding, progress=killed, journal=Journal(tmp_path / "j"))
    assert seen == [(0, 5), (2, 5), (4, 5)]
    assert vllm.built[0].ended  # nothing is known of an engine after an error
    again = served(base).decode(ids(), KEYS, decoding, journal=Journal(tmp_path / "j"))
    assert again == expected
    assert len(vllm.built[1].asked) == 1


def test_prompts_that_do_not_fit_are_refused(vllm, base):
    decoder = served(base)
    assert decoder.context == 512
    with pytest.raises(DataError, match="exceed the model's context of 512"):
        decoder.decode([[1] * 500], ["task/7/0"], Decoding(20))
    with pytest.raises(ConfigError, match=r"from 0\.01 to 2, not at 3"):
        decoder.decode(ids(), KEYS, Decoding(20, 3.0))


def test_what_memory_is_too_small_for_is_an_error_and_no_item_left_out(vllm, base, monkeypatch):
    monkeypatch.setattr(vllm, "memory", 40)
    decoder = served(base)
    assert decoder.context == 512
    with pytest.raises(ConfigError, match=r"has memory for 40: .*KDSCOPE_VLLM_MEMORY"):
        decoder.decode(ids(), KEYS, Decoding(30))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"layers": 1}, "is cut"),
        ({"quantize": "nf4"}, "rounded"),
        ({"device_map": "auto"}, "spread"),
    ],
)
def test_models_that_it_cannot_serve_are_refused(vllm, base, other, reason):
    with pytest.raises(ModelError, match=f"cannot serve 'random'.*{reason}"):
        served(base, **other)
    assert not vllm.built


def test_adapters_that_it_cannot_serve_are_refused(vllm, base, tmp_path):
    adapter(tmp_path / "a", 0)
    with pytest.raises(ModelError, match="16 bits"):
        served(base, tmp_path / "a", dtype="float32")
    idle = add_adapter(random_model(), {"r": 2, "alpha": 2, "targets": ["q_proj"]}, 0)
    idle.save_pretrained(tmp_path / "idle")
    with pytest.raises(ModelError, match="changes nothing"):
        served(base, tmp_path / "idle")
    adapter(tmp_path / "huge", 0, rank=600)
    with pytest.raises(ModelError, match="up to rank 512"):
        served(base, tmp_path / "huge")


def test_a_head_with_too_many_rows_without_a_token_is_refused(vllm, tmp_path):
    with pytest.raises(ModelError, match="1025 rows of its head have no token"):
        served(saved(tmp_path, random_model(extra_rows=1025)))


def test_without_a_gpu_the_library_or_a_share_it_says_so(vllm, base, monkeypatch):
    monkeypatch.setattr(vllm_limits, "_built_for_cpus", lambda: False)
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        VllmDecoder(REFERENCE, base, None, "cpu")
    monkeypatch.setenv("KDSCOPE_VLLM_MEMORY", "80%")
    with pytest.raises(ConfigError, match="KDSCOPE_VLLM_MEMORY is '80%'"):
        served(base)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[train,vllm\]'"):
        served(base)


def test_an_engine_that_cannot_start_says_why(vllm, base, monkeypatch):
    def full(self, model, **given):
        raise ValueError("Free memory is less than desired.\nmore")

    monkeypatch.setattr(vllm, "__init__", full)
    with pytest.raises(
        ModelError, match=r"could not start .*less than desired\. .*KDSCOPE_VLLM_MEMORY"
    ):
        served(base)


def test_a_request_that_was_given_up_is_no_answer(vllm, base, monkeypatch):
    answer = vllm.answer

    def lost(self, *given):
        found = answer(self, *given)
        found.finish_reason = "abort"
        return found

    monkeypatch.setattr(vllm, "answer", lost)
    with pytest.raises(RuntimeError, match="gave up on some requests: abort"):
        served(base).decode(ids(), KEYS, Decoding(4))


def test_the_stand_in_refuses_names_that_vllm_does_not_have():
    with pytest.raises(TypeError, match="best_of"):
        fake_vllm.SamplingParams(best_of=2)
    with pytest.raises(TypeError, match="lora_local_path"):
        fake_vllm.LoRARequest(lora_name="a", lora_int_id=1, lora_path="a", lora_local_path="a")
    with pytest.raises(TypeError, match="lora_rank"):
        fake_vllm.LLM("x", tokenizer="x", lora_rank=8)
