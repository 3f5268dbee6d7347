"""What is watched, and noise on the teacher."""

import pytest
import torch
from divergence_oracle import divergence as wanted
from divergence_oracle import relative_error

from kdscope.divergences import Objective, fused_objective


@pytest.fixture
def data():
    draw = torch.Generator().manual_seed(2)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    return normal(11, 6), normal(40, 6), normal(11, 10), normal(43, 10)


def run(data, objective=None, **options):
    h_s, w_s, h_t, w_t = data
    weights = torch.ones(11, dtype=torch.float64)
    given = {"teacher_hidden": h_t, "teacher_head": w_t, "vocab_size": 37, **options}
    objective = objective or Objective("jsd", temperature=2.0)
    return fused_objective(h_s, w_s, None, weights, objective, **given)


@pytest.mark.parametrize("byte_budget", [None, 37 * 8 * 12])
def test_telemetry_equals_the_definitions(data, byte_budget):
    h_s, w_s, h_t, w_t = data
    got = run(data, telemetry=True, byte_budget=byte_budget)
    full_q, full_p = (h_s @ w_s.T).softmax(-1), (h_t @ w_t.T).softmax(-1)
    z_s, z_t = (h_s @ w_s.T)[:, :37], (h_t @ w_t.T)[:, :37]
    q, p = z_s.softmax(-1), z_t.softmax(-1)
    want = {
        "student_entropy": -(q * q.log()).sum(-1),
        "teacher_entropy": -(p * p.log()).sum(-1),
        "top1_match": (q.argmax(-1) == p.argmax(-1)).double(),
        "forward_kl": wanted("forward_kl", z_s, z_t),
        "reverse_kl": wanted("reverse_kl", z_s, z_t),
        "dropped_mass": full_p[:, 37:].sum(-1),
        "student_dropped_mass": full_q[:, 37:].sum(-1),
    }
    assert got.telemetry.tokens == 11
    means = got.telemetry.means()
    assert means == pytest.approx({name: float(v.mean()) for name, v in want.items()}, rel=1e-9)


def test_telemetry_changes_neither_loss_nor_gradient(data):
    hidden = data[0].clone().requires_grad_()
    plain, seen = (run((hidden, *data[1:]), telemetry=flag) for flag in (False, True))
    assert torch.equal(plain.loss, seen.loss)
    assert plain.telemetry is None
    one, other = (torch.autograd.grad(got.loss, hidden)[0] for got in (plain, seen))
    assert torch.equal(one, other)


def test_telemetry_without_a_teacher(data):
    h_s, w_s, *_ = data
    weights = torch.ones(11, dtype=torch.float64)
    labels = torch.zeros(11, dtype=torch.long)
    got = fused_objective(h_s, w_s, labels, weights, Objective("nll"), telemetry=True)
    assert set(got.telemetry.means()) == {"student_entropy"}


@pytest.mark.parametrize("byte_budget", [None, 37 * 8 * 12])
def test_noise_is_added_to_the_teachers_logits_row_by_row(data, byte_budget):
    h_s, w_s, h_t, w_t = data
    noise = torch.randn(11, 43, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    got = run(data, teacher_noise=lambda rows: noise[rows], byte_budget=byte_budget)
    z_s, z_t = (h_s @ w_s.T)[:, :37], (h_t @ w_t.T + noise)[:, :37]
    want = wanted("jsd", z_s, z_t, temperature=2.0)
    assert relative_error(got.values, want) < 1e-11
