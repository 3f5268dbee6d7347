"""The fused head against the float64 oracle: value, gradients, vocabulary padding, chunks."""

import divergence_oracle as oracle
import pytest
import torch

from kdscope.divergences import Head, Objective, fused_objective, sweep

OBJECTIVES = [
    Objective("nll"),
    Objective("forward_kl"),
    Objective("forward_kl", temperature=2.0, scale_by_t2=True),
    Objective("forward_kl", temperature=2.0, hard_weight=0.3),
    Objective("reverse_kl"),
    Objective("reverse_kl", temperature=0.5),
    Objective("jsd"),
    Objective("jsd", beta=0.1),
    Objective("jsd", beta=0.9, normalised=True, temperature=2.0),
    Objective("skew_kl"),
    Objective("skew_kl", alpha=0.7, temperature=2.0),
    Objective("skew_rkl"),
    Objective("skew_rkl", alpha=0.7, temperature=2.0, hard_weight=0.5),
    Objective("tvd"),
    Objective("tvd", temperature=3.0, scale_by_t2=True),
    Objective("mse"),
    Objective("mse", temperature=2.0),
    Objective("adaptive_kl"),
    Objective("adaptive_kl", mu=0.9, temperature=2.0),
]
IDS = [
    "-".join(f"{name}={value}" for name, value in objective.settings().items() if value)
    for objective in OBJECTIVES
]


def make(dtype=torch.float64, n=13, v_s=61, v_t=61, h_s=8, h_t=12, seed=0, spread=1.0):
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return (torch.randn(*shape, generator=draw, dtype=torch.float64) * scale).to(dtype)

    return {
        "hidden": normal(n, h_s),
        "head": normal(v_s, h_s, scale=spread),
        "labels": torch.randint(0, min(v_s, v_t) - 3, (n,), generator=draw),
        "weights": torch.rand(n, generator=draw, dtype=torch.float64).to(dtype),
        "teacher_hidden": normal(n, h_t),
        "teacher_head": normal(v_t, h_t, scale=spread),
    }


def wanted(objective, data, vocab=None):
    """Loss, gradient of hidden states and of the head by the oracle."""
    hidden = data["hidden"].double().clone().requires_grad_()
    head = data["head"].double().clone().requires_grad_()
    vocab = vocab or min(len(data["head"]), len(data["teacher_head"]))
    z_s = (hidden @ head.T)[:, :vocab]
    z_t = (data["teacher_hidden"].double() @ data["teacher_head"].double().T)[:, :vocab]
    loss = (oracle.objective(objective, z_s, z_t, data["labels"]) * data["weights"].double()).sum()
    return loss.detach(), *torch.autograd.grad(loss, (hidden, head))


def found(objective, data, *, trainable=True, **options):
    hidden = data["hidden"].clone().requires_grad_()
    head = data["head"].clone().requires_grad_(trainable)
    got = fused_objective(
        hidden, head, data["labels"], data["weights"], objective,
        teacher_hidden=data["teacher_hidden"], teacher_head=data["teacher_head"], **options,
    )  # fmt: skip
    got.loss.backward()
    return got.loss.detach(), hidden.grad, head.grad


@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_equals_the_oracle(objective, dtype, bound):
    data = make(dtype)
    for got, want in zip(found(objective, data), wanted(objective, data), strict=True):
        assert oracle.relative_error(got, want) < bound


@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
def test_heads_of_different_size_and_a_smaller_vocabulary(objective):
    data = make(v_s=61, v_t=70)
    for vocab in (None, 58):
        got, want = found(objective, data, vocab_size=vocab), wanted(objective, data, vocab)
        for one, other in zip(got, want, strict=True):
            assert oracle.relative_error(one, other) < 1e-12


@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
def test_chunks_do_not_change_the_result(objective):
    data = make()
    whole = found(objective, data)
    for budget in (1, 61 * 8 * 10, 61 * 8 * 17):
        for got, want in zip(found(objective, data, byte_budget=budget), whole, strict=True):
            assert oracle.relative_error(got, want) < 1e-13


@pytest.mark.parametrize("objective", OBJECTIVES, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_dtypes_are_exact_within_one_percent(objective, dtype):
    data = make(dtype, n=40, v_s=503, v_t=503, h_s=64, h_t=96, spread=0.5)
    for got, want in zip(found(objective, data), wanted(objective, data), strict=True):
        assert oracle.relative_error(got, want) < 1e-2


def test_a_frozen_head_gets_no_gradient():
    data = make()
    _, hidden, head = found(Objective("forward_kl"), data, trainable=False)
    assert head is None
    assert oracle.relative_error(hidden, wanted(Objective("forward_kl"), data)[1]) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["nll", "jsd"])
def test_what_is_alive_fits_the_budget(dtype, name, monkeypatch):
    vocab, budget = 50_000, 64 * 2**20
    data = make(dtype, n=400, v_s=vocab, v_t=vocab, h_s=4, h_t=4)
    made = []
    matrix = sweep.Sweep._matrix
    monkeypatch.setattr(
        sweep.Sweep, "_matrix", lambda *given: made.append(matrix(*given)) or made[-1]
    )
    found(Objective(name), data, trainable=False, byte_budget=budget)
    total = sum(tensor.nbytes for tensor in made)
    assert budget / 2 < total < budget - 8 * sweep.SLICE_BYTES


def test_no_positions_give_zero():
    data = make(n=0)
    loss, hidden, _ = found(Objective("jsd"), data)
    assert loss == 0
    assert hidden.shape == (0, 8)


def test_nll_needs_no_teacher():
    data = make()
    hidden = data["hidden"].clone().requires_grad_()
    head = Head(data["head"])
    got = fused_objective(hidden, head, data["labels"], data["weights"], Objective("nll"))
    got.loss.backward()
    want = wanted(Objective("nll"), data)
    assert oracle.relative_error(got.loss.detach(), want[0]) < 1e-12
    assert oracle.relative_error(hidden.grad, want[1]) < 1e-12
