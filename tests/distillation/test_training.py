"""Training: one optimizer step is the same however it is split; the student learns what it should."""

import pytest
import torch

from kdscope.data.collation import Encoded, encode, pad_batch
from kdscope.data.prompts import TEMPLATES
from kdscope.data.records import Example
from kdscope.distillation.cache import TeacherCache
from kdscope.distillation.cache_writing import write_cache
from kdscope.distillation.noise import TeacherNoise
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.signals import CachedTeacher, LiveTeacher
from kdscope.distillation.sources import ExactStates
from kdscope.distillation.training import Machine, Teaching, fit
from kdscope.divergences import Objective
from kdscope.errors import DataError
from kdscope.models.adapters import add_adapter
from tests.tiny import random_model, tokenizer

LORA = {"r": 4, "alpha": 8, "targets": ["q_proj", "v_proj", "up_proj"]}
TRAIN = {
    "epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "schedule": "constant", "warmup_steps": 0,
    "weight_decay": 0.0, "max_grad_norm": 1.0, "reduction": "token", "select": "last",
    "gradient_checkpointing": False,
}  # fmt: skip


def examples(count=8) -> list[Encoded]:
    texts = [Example(f"e/{i}", f"How much is {i} + {i * 3}?", "", f"{i} + {i * 3} = {i * 4}." * (1 + i % 3))
             for i in range(count)]  # fmt: skip
    return encode(texts, tokenizer(), TEMPLATES["clean"], 128).examples


def teacher():
    return LiveTeacher(random_model(seed=7, width=48, extra_rows=40))


def train(
    folder, objective="nll", *, micro=None, teaching=None, seed=0, count=8, student=None, **changes
):
    student = student or add_adapter(random_model(), LORA, seed)
    machine = Machine("cpu", micro, folder / "checkpoints")
    return fit(
        student, tokenizer(), examples(count), Objective(objective), TRAIN | changes, seed, machine,
        teaching=teaching or Teaching(),
    )  # fmt: skip


def weights(trained) -> torch.Tensor:
    parts = [w.detach().flatten() for n, w in trained.model.named_parameters() if "lora_" in n]
    return torch.cat(parts)


@pytest.mark.parametrize("reduction", ["token", "sequence"])
@pytest.mark.parametrize("objective", ["nll", "reverse_kl"])
def test_one_step_does_not_depend_on_the_micro_batch(tmp_path, objective, reduction):
    signal = teacher() if objective != "nll" else None
    whole, *split = (
        train(tmp_path, objective, micro=micro, teaching=Teaching(signal), reduction=reduction)
        for micro in (None, 3, 2, 1)
    )
    for other in split:
        assert other.steps == whole.steps == 1
        torch.testing.assert_close(weights(whole), weights(other), rtol=1e-5, atol=1e-6)


def test_token_reduction_is_the_mean_over_the_supervised_tokens(tmp_path):
    trained = train(tmp_path, learning_rate=1e-12)
    batch = pad_batch(examples(), tokenizer().pad_token_id)
    model = random_model()
    with torch.no_grad():
        logits = model(batch.input_ids, attention_mask=batch.attention_mask).logits
    logits = logits[:, :-1, : len(tokenizer())].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch.labels[:, 1:].flatten())
    loss = next(row["value"] for row in trained.curves if row["measure"] == "loss")
    assert loss == pytest.approx(float(expected), rel=1e-4)


def test_prompts_and_padding_are_not_supervised():
    batch = pad_batch(examples(), 0)
    for row, example in enumerate(examples()):
        supervised = batch.labels[row][batch.labels[row] != -100].tolist()
        assert supervised == list(example.response)
        assert supervised[-1] == tokenizer().eos_token_id


def test_cached_states_train_the_same_student_as_live_ones(tmp_path):
    live = teacher()
    (tmp_path / "cache").mkdir()
    write_cache(tmp_path / "cache", examples(), ExactStates(live, 0), about={})
    cached = CachedTeacher(TeacherCache(tmp_path / "cache"), "cpu")
    by_cache = train(tmp_path, "forward_kl", teaching=Teaching(cached))
    by_live = train(tmp_path, "forward_kl", teaching=Teaching(live))
    torch.testing.assert_close(weights(by_cache), weights(by_live), rtol=1e-4, atol=1e-6)


def test_a_run_repeats_itself_bit_for_bit(tmp_path):
    rollouts = Rollouts(0.5, 1.0, 12, seed=1)
    runs = [
        train(tmp_path, "jsd", teaching=Teaching(live, rollouts, live), seed=1, epochs=4)
        for live in (teacher(), teacher())
    ]
    assert torch.equal(weights(runs[0]), weights(runs[1]))


def test_every_seed_is_another_run_and_zero_is_one_of_them(tmp_path):
    zero, one = train(tmp_path, seed=0, epochs=2), train(tmp_path, seed=1, epochs=2)
    assert not torch.equal(weights(zero), weights(one))


def test_a_killed_training_goes_on_at_its_checkpoint(tmp_path, monkeypatch):
    undisturbed = train(tmp_path / "a", epochs=4)

    class Killed(Exception):
        pass

    def die(done, total, loss):
        if done == 3:
            raise Killed

    monkeypatch.setattr("kdscope.distillation.training.CHECKPOINT_SECONDS", -1.0)
    student = add_adapter(random_model(), LORA, 0)
    machine = Machine("cpu", None, tmp_path / "b" / "checkpoints", die)
    with pytest.raises(Killed):
        fit(student, tokenizer(), examples(), Objective("nll"), TRAIN | {"epochs": 4}, 0, machine)
    resumed = train(tmp_path / "b", epochs=4)
    assert resumed.steps == 4
    assert torch.equal(weights(undisturbed), weights(resumed))
    assert resumed.supervised_tokens == undisturbed.supervised_tokens


def test_rollouts_are_keyed_and_need_no_teacher_text(tmp_path):
    student = add_adapter(random_model(), LORA, 0)
    rollouts = Rollouts(1.0, 1.0, 10, seed=5)
    first = rollouts.sample(student, tokenizer(), examples(4), 3)
    again = rollouts.sample(student, tokenizer(), examples(4)[::-1], 3)[::-1]
    other = rollouts.sample(student, tokenizer(), examples(4), 4)
    assert first == again
    assert first != other
    assert all(len(r.response) <= 10 for r in first)
    coins = [Rollouts(0.5, 1.0, 10, seed=5).chosen(step, 1)[0] for step in range(400)]
    assert 160 < sum(coins) < 240


def test_noise_is_keyed_by_example_and_position_not_by_batch():
    noise, some = TeacherNoise(2.0, 0, 50), examples(4)
    whole = noise.of(some, 3, torch.device("cpu"))(slice(None))
    first = len(some[0].response)
    alone = noise.of(some[1:2], 3, torch.device("cpu"))(slice(2, 5))
    torch.testing.assert_close(whole[first + 2 : first + 5], alone, rtol=0, atol=0)
    assert float(whole.std()) == pytest.approx(2.0, rel=0.05)
    assert not torch.equal(whole, noise.of(some, 4, torch.device("cpu"))(slice(None)))


def test_the_best_validation_weights_come_back(tmp_path, monkeypatch):
    seen = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr(
        "kdscope.distillation.training._Validation._nll", lambda self, size: next(seen)
    )
    student, machine = add_adapter(random_model(), LORA, 0), Machine("cpu", None, tmp_path / "c")
    settings = TRAIN | {"epochs": 3, "select": "best_nll"}
    trained = fit(
        student, tokenizer(), examples(), Objective("nll"), settings, 0, machine,
        validation=examples(12)[8:],
    )  # fmt: skip
    curve = [row["value"] for row in trained.curves if row["measure"] == "validation_nll"]
    assert curve == [3.0, 1.0, 2.0]
    assert torch.equal(weights(trained), weights(train(tmp_path, epochs=2)))


def test_validation_is_the_mean_nll_of_held_out_tokens(tmp_path):
    student, machine = add_adapter(random_model(), LORA, 0), Machine("cpu", None, tmp_path / "c")
    held = examples(12)[8:]
    trained = fit(
        student, tokenizer(), examples(), Objective("nll"), TRAIN, 0, machine, validation=held
    )
    value = next(row["value"] for row in trained.curves if row["measure"] == "validation_nll")
    batch = pad_batch(held, 0)
    with torch.no_grad():
        logits = trained.model(batch.input_ids, attention_mask=batch.attention_mask).logits
    logits = logits[:, :-1, : len(tokenizer())].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, batch.labels[:, 1:].flatten())
    assert value == pytest.approx(float(expected), rel=1e-4)


def test_an_example_without_room_for_its_answer_is_counted_and_all_of_them_an_error():
    texts = [Example("a", "word " * 60, "", "yes."), Example("b", "Short?", "", "yes " * 100)]
    encoded = encode(texts, tokenizer(), TEMPLATES["clean"], 64)
    assert (len(encoded.examples), encoded.cut, encoded.dropped) == (1, 1, 1)
    assert encoded.examples[0].length == 64
    with pytest.raises(DataError, match="max_length = 8"):
        encode(texts, tokenizer(), TEMPLATES["clean"], 8)
