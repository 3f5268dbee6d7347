"""The Triton kernels against the float64 oracle; test_row_kernels.py runs this."""

import pytest
import torch
from divergence_oracle import objective as wanted
from divergence_oracle import relative_error

from kdscope.divergences import Head, Objective, fused_objective, row_kernels, sweep
from kdscope.divergences.rows import objective_rows_

OBJECTIVES = [
    Objective("nll"),
    Objective("forward_kl"),
    Objective("forward_kl", temperature=2.0, scale_by_t2=True),
    Objective("reverse_kl"),
    Objective("reverse_kl", temperature=0.5),
    Objective("jsd", beta=0.3),
    Objective("jsd", beta=0.8, temperature=2.0, normalised=True),
]
IDS = [f"{o.name}-{o.temperature}" for o in OBJECTIVES]


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("vocab", [100, 4999])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
def test_equals_the_oracle(objective, vocab):
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = (3 * torch.randn(2, 3, vocab, generator=draw)).to(DEVICE)
    labels = torch.randint(0, vocab, (3,), generator=draw).to(DEVICE)
    leaf = z_s.double().requires_grad_()
    want = wanted(objective, 0.7 * leaf, 0.4 * z_t.double(), labels)
    slope = torch.autograd.grad(want.sum(), leaf)[0]
    teacher = None if objective.name == "nll" else z_t
    for target in (torch.empty_like(z_s), z_s):
        value = row_kernels.rows_by_kernel(
            objective, z_s.clone(), teacher, labels, None, (0.7, 0.4)
        )
        again = row_kernels.rows_by_kernel(objective, z_s, teacher, labels, target, (0.7, 0.4))
        assert torch.equal(value, again)
        assert relative_error(value, want.detach()) < 1e-5
        assert relative_error(0.7 * target, slope) < 1e-5


def test_nan_and_extremes():
    z_s = torch.tensor([[200.0, -200.0, 0.0], [0.0, 0.0, 400.0], [0.0, torch.nan, 0.0]])
    z_s = z_s.to(DEVICE)
    z_t = torch.tensor([[-200.0, 200.0, 0.0], [400.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).to(DEVICE)
    for objective in OBJECTIVES[1:]:
        gradient = torch.empty_like(z_s)
        value = row_kernels.rows_by_kernel(objective, z_s, z_t, None, gradient, (1.0, 1.0))
        assert torch.isfinite(value[:2]).all()
        assert torch.isfinite(gradient[:2]).all()
        assert torch.isnan(value[2])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, in the interpreter
@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
def test_excluded_tokens(objective):
    """-inf in both rows is as if the token were not there; in one of them as in the closed forms."""
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = 3 * torch.randn(2, 3, 4100, generator=draw)
    labels = torch.arange(3)
    z_s[:, 4000:] = z_t[:, 4000:] = -torch.inf
    z_t[1, 100:200] = -torch.inf
    z_s[2, 100:200] = -torch.inf
    want = z_s.clone()
    values = objective_rows_(objective, want, z_t.clone(), labels, gradient=True)
    found = torch.empty_like(z_s, device=DEVICE)
    teacher = None if objective.name == "nll" else z_t.to(DEVICE)
    got = row_kernels.rows_by_kernel(
        objective, z_s.to(DEVICE), teacher, labels.to(DEVICE), found, (1.0, 1.0)
    ).cpu()
    assert torch.equal(got.isinf(), values.isinf())
    fine = values.isfinite()
    assert fine[0]
    assert relative_error(got[fine], values[fine]) < 1e-5
    assert relative_error(found.cpu()[fine], want[fine]) < 1e-5


@pytest.mark.parametrize("objective", OBJECTIVES[:2], ids=IDS[:2])
def test_the_fused_head_with_the_kernel_equals_the_one_without(objective, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    h_s, h_t, w_s, w_t = (
        torch.randn(*shape, generator=draw) for shape in ((9, 8), (9, 12), (70, 8), (75, 12))
    )
    h_s, h_t, w_s, w_t = (tensor.to(DEVICE) for tensor in (h_s, h_t, w_s, w_t))
    noise = torch.randn(9, 75, generator=draw).to(DEVICE)
    labels = torch.randint(0, 60, (9,), generator=draw).to(DEVICE)
    weights = torch.linspace(0, 1, 9, device=DEVICE)

    def run():
        hidden, weight = h_s.clone().requires_grad_(), w_s.clone().requires_grad_()
        got = fused_objective(
            hidden, Head(weight, scale=0.5), labels, weights, objective,
            teacher_hidden=h_t, teacher_head=w_t, teacher_noise=lambda rows: noise[rows],
            vocab_size=66, byte_budget=66 * 4 * 2 * 10, telemetry=True,
        )  # fmt: skip
        got.loss.backward()
        return got.values, hidden.grad, weight.grad, got.telemetry.means()

    monkeypatch.setattr(sweep, "kernels_for", lambda *_: None)
    plain = run()
    monkeypatch.setattr(sweep, "kernels_for", lambda *_: row_kernels)
    for one, other in zip(run()[:3], plain[:3], strict=True):
        assert relative_error(one, other) < 1e-5
    assert run()[3] == plain[3]
