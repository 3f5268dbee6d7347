"""Out of memory in a training step: the same step again, in smaller pieces."""

import pytest
import torch

from kdscope.distillation.memory import is_out_of_memory
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.training import Teaching
from kdscope.distillation.windows import MicroBatch, micro_batches, share
from kdscope.generation.decoder import TransformersDecoder
from kdscope.models.adapters import add_adapter
from tests.distillation.test_training import LORA, examples, teacher, train, weights
from tests.tiny import random_model


def student_that_fails(when):
    """A student whose forward pass raises when ``when(rows, number of the call)`` says so."""
    student, calls = add_adapter(random_model(), LORA, 0), []

    def hook(module, args, kwargs):
        calls.append(len(kwargs["input_ids"]))
        if when(calls[-1], len(calls)):
            raise torch.OutOfMemoryError("CUDA out of memory (made up)")

    student.register_forward_pre_hook(hook, with_kwargs=True)
    return student, calls


@pytest.mark.parametrize("objective", ["nll", "forward_kl"])
def test_a_step_that_does_not_fit_is_made_of_smaller_micro_batches(tmp_path, objective):
    teaching = Teaching(teacher() if objective != "nll" else None)
    whole = train(tmp_path / "a", objective, teaching=teaching, epochs=2)
    student, calls = student_that_fails(lambda rows, number: rows > 2)
    again = train(tmp_path / "b", objective, teaching=teaching, epochs=2, student=student)
    assert calls == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]  # halved twice, and not tried in full again
    assert (whole.micro_batch, again.micro_batch) == (8, 2)
    torch.testing.assert_close(weights(again), weights(whole), rtol=1e-5, atol=1e-5)
    for left, right in zip(again.curves, whole.curves, strict=True):
        assert left["measure"] == right["measure"]
        assert left["value"] == pytest.approx(right["value"], rel=1e-5, abs=1e-6)


def test_gradients_of_an_attempt_that_failed_half_way_do_not_count(tmp_path):
    student, calls = student_that_fails(lambda rows, number: number == 2)
    again = train(tmp_path / "b", micro=4, student=student)
    assert calls == [4, 4, 2, 2, 2, 2]
    torch.testing.assert_close(weights(again), weights(train(tmp_path / "a")), rtol=1e-5, atol=1e-6)


def test_one_example_that_does_not_fit_is_an_error(tmp_path):
    student, calls = student_that_fails(lambda rows, number: True)
    with pytest.raises(torch.OutOfMemoryError):
        train(tmp_path, student=student)
    assert calls == [8, 4, 2, 1]


def test_other_errors_are_not_tried_again(tmp_path):
    student, calls = student_that_fails(lambda rows, number: False)
    student.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, student=student)
    assert calls == [8]


def test_rollouts_that_do_not_fit_are_sampled_fewer_at_a_time(tmp_path):
    sizes = []

    class Narrow(TransformersDecoder):
        def decode(self, *given):
            sizes.append(self.batch_size)
            if self.batch_size > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: made up")
            return super().decode(*given)

    def trained(folder, **how):
        teaching = Teaching(teacher(), Rollouts(1.0, 1.0, 8, seed=1, **how), teacher())
        return train(folder, "jsd", teaching=teaching)

    whole, again = trained(tmp_path / "a"), trained(tmp_path / "b", decoder=Narrow)
    assert sizes == [64, 4, 2]
    torch.testing.assert_close(weights(again), weights(whole), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_want_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


@pytest.mark.parametrize(("count", "world", "size"), [(8, 1, 3), (7, 2, 2), (1, 2, 4), (5, 3, 1)])
def test_shares_cover_a_window_once_and_take_equally_many_passes(count, world, size):
    window = examples(count)
    parts = [micro_batches(share(window, rank, world), size) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    counted = [e.id for part in parts for micro in part if micro.counts for e in micro.examples]
    assert sorted(counted) == sorted(e.id for e in window)
    assert all(isinstance(m, MicroBatch) and 0 < len(m.examples) <= size for p in parts for m in p)
