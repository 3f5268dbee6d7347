"""Teachers in 8 and 4 bits: what they cost in distribution and bytes, and in a study from end to end."""

from importlib.util import find_spec

import pytest
import torch
import yaml

from kdscope.data.collation import Encoded, pad_batch
from kdscope.distillation.signals import LiveTeacher
from kdscope.errors import MissingExtraError, ModelError
from kdscope.models.loading import load_model
from kdscope.models.quantization import quantised, weight_bytes
from tests.tiny import TEACHER, tokenizer

WITH = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (extra `quant`)"
)
TEXT = "How much is 3 + 4? Tom has 12 books and buys 3 more."


def logits(model):
    ids = torch.tensor([tokenizer()(TEXT)["input_ids"]])
    with torch.no_grad():
        return model(ids).logits.float()[..., : len(tokenizer())].log_softmax(-1)


@WITH
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize(("kind", "share", "most"), [("int8", 0.31, 0.02), ("nf4", 0.19, 0.2)])
def test_rounding_saves_bytes_and_costs_little(kind, share, most):
    exact = load_model(TEACHER)
    p, before = logits(exact), weight_bytes(exact)
    rounded = quantised(exact, kind)
    kl = (p.exp() * (p - logits(rounded))).sum(-1).mean()
    assert 0 < float(kl) < most
    assert weight_bytes(rounded) < share * before
    assert rounded.lm_head.weight.dtype == torch.float32
    assert not any(weight.requires_grad for weight in rounded.parameters())


@WITH
@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_a_rounded_teacher_gives_states_for_its_own_head(kind):
    rounded = quantised(load_model(TEACHER), kind)
    expected = logits(rounded)
    ids = tokenizer()(TEXT)["input_ids"]
    teacher = LiveTeacher(rounded.eval())
    examples = [Encoded("a", tuple(ids[:1]), tuple(ids[1:]))]
    states = teacher.states(examples, pad_batch(examples, 0))
    found = states @ teacher.head.weight[: len(tokenizer())].t()
    torch.testing.assert_close(found.log_softmax(-1), expected[0, :-1], rtol=1e-3, atol=1e-3)


def test_nothing_is_asked_of_the_library_where_nothing_is_rounded():
    model = load_model(TEACHER)
    assert quantised(model, None) is model


def test_an_unknown_kind_is_refused():
    with pytest.raises(ModelError, match="int8, nf4"):
        quantised(load_model(TEACHER), "int3")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"\.\[quant\]"):
        quantised(load_model(TEACHER), "nf4")


@WITH
@pytest.mark.slow
def test_a_study_of_quantised_teachers_runs_to_its_end(tmp_path):
    from kdscope.study.api import Study

    study = {
        "name": "rounded",
        "teachers": ["tiny-teacher"],
        "students": ["tiny-student-small"],
        "train": {"data": "tiny-train", "limit": 8, "epochs": 1, "batch_size": 4},
        "methods": {"sft": {}, "fkl": {}, "gkd": {"on_policy": 1.0}},
        "ablations": {"teacher_quantize": ["int8", "nf4"]},
        "evaluate": {"tasks": ["tiny-math"], "limit": 2, "distributions": 1,
                     "decoding": {"max_new_tokens": 8}},
        "statistics": {"resamples": 20},
    }  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    run = Study(path, out=tmp_path / "run")
    outcome = run.run()
    assert not outcome.failed
    rows = run.results()["fidelity"]
    references = set(rows[rows["relation"] == "teacher"]["reference"])
    assert references == {
        "tiny-teacher/teacher/s0",
        "tiny-teacher/teacher/teacher_quantize=int8/s0",
        "tiny-teacher/teacher/teacher_quantize=nf4/s0",
    }
