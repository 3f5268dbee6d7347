"""Values that are not finite stop the run, and are traced to step, example and layer."""

import pytest
import torch

from kdscope.distillation.diagnosis import first_bad_layer
from kdscope.distillation.targets import TopK
from kdscope.distillation.training import Machine, Teaching, fit
from kdscope.divergences import Objective
from kdscope.errors import NumericalError
from kdscope.models.adapters import add_adapter
from kdscope.models.states import take_head_out
from tests.distillation.test_training import LORA, TRAIN, examples, teacher, train
from tests.tiny import random_model, tokenizer

NAN = float("nan")


def student(harm):
    model = add_adapter(random_model(), LORA, 0)
    harm(model.get_base_model())
    return model


def test_the_layer_whose_weights_are_broken_is_named(tmp_path):
    def harm(model):
        model.model.layers[1].mlp.gate_proj.weight.data[0, 0] = NAN

    with pytest.raises(NumericalError) as caught:
        train(tmp_path, student=student(harm))
    message = str(caught.value)
    assert "optimizer step 0, from the student's layer model.layers.1.mlp.gate_proj" in message
    assert "(its weight is not finite), examples 'e/" in message
    assert "the loss (nll) is nan" in message


def test_only_the_example_with_the_bad_token_is_named(tmp_path):
    some = examples()
    alone = next(t for t in some[5].response if all(t not in (*e.prompt, *e.response)
                 for e in some if e is not some[5]))  # fmt: skip

    def harm(model):
        model.model.embed_tokens.weight.data[alone] = torch.inf

    with pytest.raises(NumericalError, match=r"layer model.embed_tokens .*, example 'e/5':"):
        train(tmp_path, student=student(harm))


def test_activations_that_overflow_are_traced_though_all_weights_are_finite(tmp_path):
    def harm(model):
        model.model.layers[0].mlp.down_proj.weight.data.fill_(3e38)

    with pytest.raises(NumericalError, match=r"layer model.layers.0.mlp.down_proj, examples"):
        train(tmp_path, student=student(harm))


def test_a_live_teachers_layer_is_named(tmp_path):
    live = teacher()
    live.model.model.layers[0].self_attn.v_proj.bias.data[0] = NAN
    with pytest.raises(
        NumericalError, match=r"teacher's layer model.layers.0.self_attn.v_proj \(its bias"
    ):
        train(tmp_path, "forward_kl", teaching=Teaching(live))


def test_a_teachers_head_is_named(tmp_path):
    live = teacher()
    live.head.weight.data[:3] = NAN
    with pytest.raises(NumericalError, match=r"optimizer step 0, from .*the teacher's head.*'e/"):
        train(tmp_path, "forward_kl", teaching=Teaching(live))


def test_log_probabilities_that_are_no_numbers_are_named(tmp_path):
    class Odd:
        def prefetch(self, batches):
            pass

        def targets(self, some, batch):
            count = sum(len(e.response) for e in some)
            logprobs = torch.full((count, 2), -1.0)
            logprobs[-1] = NAN
            return TopK(torch.tensor([[5, 6]] * count), logprobs)

    with pytest.raises(NumericalError, match="the teacher's log-probabilities of example 'e/"):
        train(tmp_path, "forward_kl", teaching=Teaching(Odd()))


def test_a_gradient_that_is_not_finite_changes_no_weight(tmp_path):
    model = add_adapter(random_model(), LORA, 0)
    name, weight = next((n, w) for n, w in model.named_parameters() if "lora_A" in n)
    before = weight.detach().clone()
    weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(NumericalError, match=f"gradient is not finite at optimizer step 0.*{name}"):
        train(tmp_path, student=model)
    assert torch.equal(weight, before)


def test_the_checkpoint_before_stays_and_is_good(tmp_path, monkeypatch):
    monkeypatch.setattr("kdscope.distillation.training.CHECKPOINT_SECONDS", -1.0)
    model = add_adapter(random_model(), LORA, 0)

    def break_at_the_third_step(done, total, loss):
        if done == 2:
            model.get_base_model().model.norm.weight.data[0] = NAN

    machine = Machine("cpu", None, tmp_path / "b" / "checkpoints", break_at_the_third_step)
    with pytest.raises(
        NumericalError, match=r"optimizer step 2, from the student's layer model.norm"
    ):
        fit(model, tokenizer(), examples(), Objective("nll"), TRAIN | {"epochs": 4}, 0, machine)
    assert [path.name for path in machine.checkpoints.iterdir()] == ["checkpoint-2"]
    assert train(tmp_path / "b", epochs=4).steps == 4


def test_a_sound_model_has_no_bad_layer():
    model = random_model()
    take_head_out(model)
    assert first_bad_layer(model, examples()[0], 0) is None
