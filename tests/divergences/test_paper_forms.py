"""The paper's formulas against a transcription of their definition, in value and gradient."""

import pytest
import torch
from divergence_oracle import relative_error

from kdscope.divergences import Objective, per_token
from kdscope.divergences.rows import objective_rows_
from kdscope.errors import UserError

EPSILON = 1e-9


def defined(name, z_s, z_t, beta):
    lp, lq = z_t.log_softmax(-1), z_s.log_softmax(-1)
    p, q = lp.exp(), lq.exp()
    if name == "paper_forward_kl":
        return ((p + EPSILON) * ((p + EPSILON).log() - lq)).sum(-1)
    if name == "paper_reverse_kl":
        return ((q + EPSILON) * (lq - lp)).sum(-1)
    lm = ((1 - beta) * p + beta * q).log()
    return (beta * p * (lp - lm) + (1 - beta) * q * (lq - lm)).sum(-1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("name", "beta", "temperature"),
    [
        ("paper_forward_kl", None, 1.0),
        ("paper_forward_kl", None, 2.0),
        ("paper_reverse_kl", None, 1.0),
        ("paper_reverse_kl", None, 2.0),
        ("paper_jsd", 0.5, 1.0),
        ("paper_jsd", 0.2, 1.0),
    ],
)
def test_equals_its_definition(name, beta, temperature, dtype):
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = (3 * torch.randn(2, 5, 50_000, generator=draw)).to(dtype)
    objective = Objective(name, beta=beta, temperature=temperature)
    leaf = z_s.double().clone().requires_grad_()
    want = defined(name, leaf / temperature, z_t.double() / temperature, beta)
    slope = torch.autograd.grad(want.sum(), leaf)[0]
    gradient = z_s.clone()
    value = objective_rows_(objective, gradient, z_t.clone(), None, gradient=True)
    bound = 1e-12 if dtype == torch.float64 else 1e-5
    assert relative_error(value, want.detach()) < bound
    assert relative_error(gradient, slope) < bound


def test_the_papers_mixture_is_ours_at_one_half_alone():
    draw = torch.Generator().manual_seed(0)
    z_s, z_t = torch.randn(2, 5, 100, generator=draw, dtype=torch.float64)

    def gap(beta):
        ours = per_token(Objective("jsd", beta=beta), z_s, z_t)
        return relative_error(per_token(Objective("paper_jsd", beta=beta), z_s, z_t), ours)

    assert gap(0.5) < 1e-12
    assert gap(0.2) > 0.1


def test_the_papers_jsd_has_no_temperature():
    with pytest.raises(UserError, match="not part of it"):
        Objective("paper_jsd", temperature=2.0)
