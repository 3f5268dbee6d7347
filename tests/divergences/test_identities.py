"""Identities of the divergences, over random distributions."""

import math

import pytest
import torch
from divergence_oracle import objective as oracle_objective
from divergence_oracle import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from kdscope.divergences import Objective, per_token
from kdscope.divergences.rows import objective_rows_

SOFT = [
    Objective("forward_kl"),
    Objective("reverse_kl"),
    Objective("jsd", beta=0.2),
    Objective("jsd", beta=0.8, normalised=True),
    Objective("skew_kl"),
    Objective("skew_rkl", alpha=0.4),
    Objective("tvd"),
    Objective("mse"),
    Objective("adaptive_kl"),
]
NAMES = [f"{objective.name}-{objective.beta or ''}" for objective in SOFT]

logits = st.tuples(
    st.integers(0, 2**31 - 1), st.integers(2, 400), st.floats(0.01, 12.0), st.floats(0.3, 4.0)
)


def draw(sample, rows=3):
    seed, vocab, spread, temperature = sample
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(2, rows, vocab, generator=generator, dtype=torch.float64) * spread
    return z[0], z[1], temperature


def value_and_gradient(objective, z_s, z_t, labels=None):
    z = z_s.clone()
    value = objective_rows_(objective, z, z_t.clone(), labels, gradient=True)
    return value, z


@pytest.mark.parametrize("objective", SOFT, ids=NAMES)
@settings(deadline=None, max_examples=25)
@given(sample=logits)
def test_value_and_gradient_equal_the_oracle(objective, sample):
    z_s, z_t, temperature = draw(sample)
    objective = Objective(**{**objective.settings(), "temperature": temperature})
    leaf = z_s.clone().requires_grad_()
    want = oracle_objective(objective, leaf, z_t)
    slope = torch.autograd.grad(want.sum(), leaf)[0]
    value, gradient = value_and_gradient(objective, z_s, z_t)
    assert torch.allclose(value, want, rtol=1e-9, atol=1e-13)
    assert float((gradient - slope).norm()) <= 1e-9 * float(slope.norm()) + 1e-13
    assert torch.equal(value, per_token(objective, z_s, z_t))


@pytest.mark.parametrize("objective", SOFT, ids=NAMES)
@settings(deadline=None, max_examples=15)
@given(sample=logits)
def test_never_negative_and_zero_at_equality(objective, sample):
    z_s, z_t, _ = draw(sample)
    assert (per_token(objective, z_s, z_t) >= 0).all()
    value, gradient = value_and_gradient(objective, z_s, z_s)
    assert value.abs().max() < 1e-15
    assert gradient.abs().max() < 1e-15


@settings(deadline=None, max_examples=15)
@given(sample=logits, share=st.floats(0.05, 0.95))
def test_symmetries(sample, share):
    a, b, _ = draw(sample)

    def value(name, x, y, **parameters):
        return per_token(Objective(name, **parameters), x, y)

    def same(x, y):
        return torch.allclose(x, y, rtol=1e-9, atol=1e-14)

    assert same(value("forward_kl", a, b), value("reverse_kl", b, a))
    assert same(value("jsd", a, b, beta=share), value("jsd", b, a, beta=1 - share))
    assert same(value("skew_kl", a, b, alpha=share), value("skew_rkl", b, a, alpha=share))
    assert same(value("tvd", a, b), value("tvd", b, a))
    assert same(value("mse", a, b), value("mse", b, a))
    assert (value("jsd", a, b) <= math.log(2) + 1e-12).all()
    assert (value("tvd", a, b) <= 1 + 1e-12).all()


@settings(deadline=None, max_examples=15)
@given(sample=logits)
def test_a_constant_added_to_logits_changes_nothing(sample):
    z_s, z_t, _ = draw(sample)
    for objective in SOFT:
        value, gradient = value_and_gradient(objective, z_s, z_t)
        shifted, other = value_and_gradient(objective, z_s + 3.5, z_t - 1.25)
        assert torch.allclose(value, shifted, rtol=1e-8, atol=1e-12)
        assert torch.allclose(gradient, other, rtol=1e-8, atol=1e-12)
        assert gradient.sum(-1).abs().max() < 1e-9


def test_limits_of_the_parameters():
    z_s, z_t, _ = draw((3, 50, 1.0, 1.0))
    small = 1e-6

    def near(objective, limit):
        value, gradient = value_and_gradient(objective, z_s, z_t)
        want, slope = value_and_gradient(Objective(limit), z_s, z_t)
        assert relative_error(value, want) < 1e-4
        assert relative_error(gradient, slope) < 1e-4

    near(Objective("skew_kl", alpha=small), "forward_kl")
    near(Objective("skew_rkl", alpha=small), "reverse_kl")
    near(Objective("jsd", beta=small, normalised=True), "forward_kl")
    near(Objective("jsd", beta=1 - small, normalised=True), "reverse_kl")
    assert per_token(Objective("jsd", beta=small), z_s, z_t).max() < 1e-5


def test_temperature_scales_the_gradient_as_documented():
    z_s, z_t, _ = draw((4, 50, 1.0, 1.0))
    value, gradient = value_and_gradient(Objective("reverse_kl", temperature=2.0), z_s, z_t)
    bare_value, bare = value_and_gradient(Objective("reverse_kl"), z_s / 2, z_t / 2)
    assert torch.allclose(value, bare_value)
    assert torch.allclose(gradient, bare / 2)
    scaled = Objective("reverse_kl", temperature=2.0, scale_by_t2=True)
    assert torch.allclose(value_and_gradient(scaled, z_s, z_t)[0], 4 * value)


@pytest.mark.parametrize("objective", SOFT, ids=NAMES)
def test_extreme_logits_stay_finite(objective):
    z_s = torch.tensor([[200.0, -200.0, 0.0, 5.0], [0.0, 0.0, 0.0, 400.0]])
    z_t = torch.tensor([[-200.0, 200.0, 0.0, 5.0], [400.0, 0.0, 0.0, 0.0]])
    value, gradient = value_and_gradient(objective, z_s, z_t)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("objective", [*SOFT, Objective("nll")], ids=[*NAMES, "nll"])
def test_nan_is_never_hidden(objective):
    z_s, z_t = torch.randn(3, 40), torch.randn(3, 40)
    z_s[1, 7] = torch.nan
    value, gradient = value_and_gradient(objective, z_s, z_t, torch.zeros(3, dtype=torch.long))
    assert torch.isnan(value[1])
    assert torch.isnan(gradient[1]).any()
    assert torch.isfinite(value[[0, 2]]).all()


@pytest.mark.parametrize("spread", [0.5, 3.0])
@pytest.mark.parametrize("gap", [0.05, 1.0])
@pytest.mark.parametrize("objective", SOFT, ids=NAMES)
def test_float32_is_within_a_hundred_thousandth(objective, spread, gap):
    generator = torch.Generator().manual_seed(5)
    z_t = torch.randn(8, 20_000, generator=generator) * spread
    z_s = z_t + torch.randn(8, 20_000, generator=generator) * spread * gap
    leaf = z_s.double().clone().requires_grad_()
    want = oracle_objective(objective, leaf, z_t.double())
    slope = torch.autograd.grad(want.sum(), leaf)[0]
    value, gradient = value_and_gradient(objective, z_s, z_t)
    assert relative_error(value, want.detach()) < 1e-5
    assert relative_error(gradient, slope) < 1e-5
