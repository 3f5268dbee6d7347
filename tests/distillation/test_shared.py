"""One base model for teacher and student: the numbers of two models, the memory of one."""

import pytest
import torch

from kdscope.data.collation import pad_batch
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.shared import SharedTeacher, can_share
from kdscope.distillation.signals import LiveTeacher
from kdscope.distillation.training import Teaching
from kdscope.errors import ModelError
from kdscope.models.adapters import add_adapter, load_trained, merged
from kdscope.models.states import take_head_out
from kdscope.study.context import StepContext
from kdscope.study.steps import distill
from tests.distillation.test_training import LORA, examples, train, weights
from tests.tiny import random_model


@pytest.fixture
def tuned(tmp_path):
    """The folder of a teacher's adapter, fine-tuned from the student's base."""
    trained = train(tmp_path / "t", epochs=3, learning_rate=3e-2, seed=4)
    trained.model.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


def apart(adapter):
    model = random_model()
    return LiveTeacher(merged(load_trained(model, adapter)).eval() if adapter else model)


def test_states_are_those_of_a_teacher_of_its_own(tuned):
    some = examples(5)
    batch = pad_batch(some, 0)
    for adapter in (None, tuned):
        student = add_adapter(random_model(), LORA | {"dropout": 0.5}, 0)
        shared = SharedTeacher(student, adapter)
        take_head_out(student.train())
        before = {n: w.requires_grad for n, w in student.named_parameters()}
        torch.testing.assert_close(
            shared.states(batch), apart(adapter).states(some, batch), rtol=1e-5, atol=1e-5
        )
        assert student.training
        assert student.active_adapter == "default"
        assert {n: w.requires_grad for n, w in student.named_parameters()} == before
        assert not any(w.requires_grad for n, w in student.named_parameters() if "teacher" in n)


@pytest.mark.parametrize("tuned_teacher", [False, True])
def test_the_student_is_the_one_that_two_models_train(tmp_path, tuned, tuned_teacher):
    adapter = tuned if tuned_teacher else None

    def beginner():  # one that is not its teacher
        if tuned_teacher:
            return add_adapter(random_model(), LORA, 0)
        return load_trained(random_model(), tuned, trainable=True)

    rolled = Rollouts(0.5, 1.0, 6, seed=3)
    live = apart(adapter)
    two = train(
        tmp_path / "a", "jsd", teaching=Teaching(live, rolled, live), student=beginner(), epochs=4
    )
    student = beginner()
    shared = SharedTeacher(student, adapter)
    base = sum(w.nbytes for w in random_model().parameters())
    added = sum(w.nbytes for w in student.parameters()) - base
    assert added < base  # adapters only: no second model
    one = train(
        tmp_path / "b", "jsd", teaching=Teaching(shared, rolled, shared), student=student, epochs=4
    )
    shared.leave()
    assert not any("teacher" in name for name, _ in one.model.named_parameters())
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-4, atol=1e-5)


def test_a_killed_training_goes_on_with_the_teachers_adapter_in_place(tmp_path, tuned, monkeypatch):
    def run(folder):
        student = add_adapter(random_model(), LORA, 0)
        shared = SharedTeacher(student, tuned)
        return train(folder, "forward_kl", teaching=Teaching(shared), student=student, epochs=4)

    whole = run(tmp_path / "a")
    monkeypatch.setattr("kdscope.distillation.training.CHECKPOINT_SECONDS", -1.0)
    calls, targets = [], SharedTeacher.targets

    def die(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return targets(self, *arguments)

    monkeypatch.setattr(SharedTeacher, "targets", die)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b")
    monkeypatch.setattr(SharedTeacher, "targets", targets)
    assert torch.equal(weights(run(tmp_path / "b")), weights(whole))


def test_an_adapter_that_does_nothing_is_no_teacher(tmp_path):
    add_adapter(random_model(), LORA, 0).save_pretrained(tmp_path / "idle")
    with pytest.raises(ModelError, match="changes nothing"):
        SharedTeacher(add_adapter(random_model(), LORA, 0), tmp_path / "idle")


def test_only_adapters_can_share_a_base(tmp_path, tuned):
    assert can_share(add_adapter(random_model(), LORA, 0), tuned)
    assert can_share(add_adapter(random_model(), LORA, 0), None)
    assert not can_share(add_adapter(random_model(), None, 0), None)
    assert not can_share(add_adapter(random_model(), LORA, 0), tmp_path)  # all weights were trained


def test_the_step_loads_one_checkpoint_once(tmp_path, monkeypatch):
    def model(**more):
        return {"name": "tiny-student-small", "source": "embedded", "model": "tiny-student-small",
                "dtype": "float32", "layers": None} | more  # fmt: skip

    loaded = []
    monkeypatch.setattr(
        "kdscope.study.steps.distill.load_teacher", lambda *_: loaded.append(1) or random_model()
    )
    student = add_adapter(random_model(), LORA, 0)
    context = StepContext(tmp_path, tmp_path)
    for teacher, expected in ((model(name="me"), SharedTeacher), (model(layers=1), LiveTeacher)):
        fields = {
            "teacher": teacher,
            "student": model(),
            "adapted": False,
            "signal": "live",
            "train": {"lora": LORA},
        }
        signal = distill._on_the_spot(fields, {}, context, distill.load_tokenizer(model()), student)
        assert isinstance(signal, expected)
    assert loaded == [1]
    assert not distill._one_checkpoint(
        fields | {"train": {"lora": {"base": "nf4"}}, "teacher": model()}
    )
