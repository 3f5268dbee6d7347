"""Logits of -inf: tokens that a model excludes; and where a loss that is not finite comes from."""

import re

import pytest
import torch
from divergence_oracle import objective as oracle_objective
from divergence_oracle import relative_error

import kdscope
from kdscope.divergences import Head, Objective, first_fault, fused_objective, per_token
from kdscope.divergences.rows import objective_rows_
from kdscope.divergences.telemetry import observe

SOFT = [
    Objective("forward_kl", temperature=2.0),
    Objective("reverse_kl"),
    Objective("jsd", beta=0.3, temperature=0.5),
    Objective("skew_kl"),
    Objective("skew_rkl", alpha=0.4),
    Objective("tvd"),
    Objective("mse", temperature=2.0),
    Objective("adaptive_kl", hard_weight=0.3),
]
NAMES = [objective.name for objective in SOFT]
PADDED, ONLY = 5, 3  # columns that both exclude, and those that one does


def logits(rows=4, vocab=40):
    draw = torch.Generator().manual_seed(7)
    return 2 * torch.randn(2, rows, vocab, generator=draw, dtype=torch.float64)


def found(objective, z_s, z_t):
    z = z_s.clone()
    labels = torch.zeros(len(z), dtype=torch.long)
    return objective_rows_(objective, z, z_t.clone(), labels, gradient=True), z


def wanted(objective, z_s, z_t):
    leaf = z_s.clone().requires_grad_()
    value = oracle_objective(objective, leaf, z_t, torch.zeros(len(leaf), dtype=torch.long))
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("objective", SOFT, ids=NAMES)
def test_tokens_that_both_exclude_are_as_if_they_were_not_there(objective):
    z_s, z_t = logits()
    value, gradient = wanted(objective, z_s[:, PADDED:], z_t[:, PADDED:])
    z_s, z_t = z_s.roll(-PADDED, -1), z_t.roll(-PADDED, -1)
    z_s[:, -PADDED:] = z_t[:, -PADDED:] = -torch.inf
    got, slope = found(objective, z_s, z_t)
    assert relative_error(got, value) < 1e-12
    assert relative_error(slope[:, :-PADDED], gradient) < 1e-12
    assert not slope[:, -PADDED:].any()


NEVER_INFINITE = {"jsd", "skew_kl", "skew_rkl", "tvd"}
FINITE = {
    "teacher": {*NEVER_INFINITE, "forward_kl"},
    "student": {*NEVER_INFINITE, "reverse_kl"},
}


@pytest.mark.parametrize("who", ["teacher", "student"])
@pytest.mark.parametrize("objective", SOFT, ids=NAMES)
def test_tokens_that_one_excludes(objective, who):
    """Logits of -4,000 underflow to probabilities of 0 in the oracle and leave its sums finite."""
    z_s, z_t = logits()
    excluding = {"teacher": z_t, "student": z_s}[who]
    excluding[:, -ONLY:] = -4000.0
    value, gradient = wanted(objective, z_s, z_t)
    excluding[:, -ONLY:] = -torch.inf
    got, slope = found(objective, z_s, z_t)
    if objective.name in FINITE[who]:
        assert relative_error(got, value) < 1e-12
        assert relative_error(slope, gradient) < 1e-12
    else:
        assert (got == torch.inf).all()


@pytest.mark.parametrize("objective", SOFT, ids=NAMES)
@pytest.mark.parametrize("wrong", ["nan", "+inf", "all excluded"])
def test_what_is_no_distribution_is_never_finite(objective, wrong):
    for at in (0, 1):
        z = logits()
        z[:, :, -PADDED:] = -torch.inf
        z[at, 1, 2 if wrong != "nan" else -1] = torch.nan if wrong == "nan" else torch.inf
        if wrong == "all excluded":
            z[at, 1] = -torch.inf
        value, _ = found(objective, *z)
        assert not torch.isfinite(value[1])
        assert torch.isfinite(value[[0, 2, 3]]).all()


def test_telemetry_counts_excluded_tokens_as_nothing():
    z_s, z_t = logits()
    want = observe(z_s[:, :-PADDED].clone(), z_t[:, :-PADDED].clone()).means()
    z_s[:, -PADDED:] = z_t[:, -PADDED:] = -torch.inf
    assert observe(z_s, z_t).means() == pytest.approx(want, rel=1e-12)
    z_s[:, 0] = -torch.inf
    seen = observe(z_s, z_t).means()
    assert seen["forward_kl"] == float("inf")
    assert seen["reverse_kl"] == pytest.approx(
        float(per_token(Objective("reverse_kl"), z_s, z_t).mean())
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", [*NAMES, "nll"])
def test_rows_of_a_head_that_are_biased_away(name, dtype):
    """As some models pad: the rows exist, their bias is -inf."""
    draw = torch.Generator().manual_seed(1)
    h_s, w_s, h_t, w_t = (
        torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)
        for shape in ((9, 6), (31, 6), (9, 10), (31, 10))
    )
    labels = torch.arange(9)
    bias = torch.zeros(31, dtype=dtype)
    bias[24:] = -torch.inf

    def run(vocab, **biases):
        hidden, head = h_s.clone().requires_grad_(), w_s.clone().requires_grad_()
        loss = kdscope.divergence(
            hidden, head, h_t, w_t, objective=name, labels=labels, vocab_size=vocab, **biases
        )
        loss.backward()
        return loss.detach(), hidden.grad, head.grad

    bound = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 5e-3}[dtype]
    masked, cut = run(None, student_bias=bias, teacher_bias=bias), run(24)
    for one, other in zip(masked, cut, strict=True):
        assert relative_error(one, other) < bound
    assert not masked[2][24:].any()


def broken(change):
    draw = torch.Generator().manual_seed(1)
    given = {
        name: torch.randn(*shape, generator=draw)
        for name, shape in {
            "student_hidden": (9, 6), "student_weight": (31, 6), "student_bias": (31,),
            "teacher_hidden": (9, 10), "teacher_weight": (33, 10), "teacher_bias": (33,),
        }.items()
    }  # fmt: skip
    change(given)
    return {
        "student_hidden": given["student_hidden"],
        "student_head": Head(given["student_weight"], given["student_bias"]),
        "teacher_hidden": given["teacher_hidden"],
        "teacher_head": Head(given["teacher_weight"], given["teacher_bias"]),
        "labels": torch.full((9,), 5),
    }


def put(name, where, value):
    return lambda given: given[name].__setitem__(where, value)


EVERYWHERE = slice(None)


@pytest.mark.parametrize(
    ("name", "change", "row", "place"),
    [
        ("jsd", put("student_hidden", (4, 1), torch.nan), 4, "the student's last hidden state"),
        ("jsd", put("teacher_hidden", (6, 1), torch.inf), 6, "the teacher's last hidden state"),
        ("jsd", put("student_weight", (7, 0), torch.nan), 0, "student's head .token 7."),
        ("jsd", put("student_hidden", (3, EVERYWHERE), 3e38), 3, "student's logits .token"),
        ("jsd", put("teacher_bias", EVERYWHERE, -torch.inf), 0, "teacher's logits .all are -inf"),
        ("forward_kl", put("student_bias", 8, -torch.inf), 0, "student's .* token 8, which"),
        ("reverse_kl", put("teacher_bias", 9, -torch.inf), 0, "teacher's .* token 9, which"),
        ("nll", put("student_bias", 5, -torch.inf), 0, "for the label, token 5"),
    ],
)  # fmt: skip
def test_the_first_fault_is_named(name, change, row, place):
    given = broken(change)
    labels = given.pop("labels")
    fault = first_fault(**given, labels=labels, objective=Objective(name))
    assert fault is not None
    assert fault.row == row
    assert re.search(place, fault.place)
    values = fused_objective(**given, labels=labels, weights=None, objective=Objective(name)).values
    assert not torch.isfinite(values[row])
    assert torch.isfinite(values[:row]).all()


def test_noise_is_blamed_where_all_else_is_finite():
    given = broken(lambda _: None)
    noise = torch.zeros(9, 33)
    assert first_fault(**given, objective=Objective("jsd")) is None
    noise[2, 3] = torch.nan
    fault = first_fault(**given, objective=Objective("jsd"), teacher_noise=lambda rows: noise[rows])
    assert fault == (2, "the comparison of both models' logits (noise included)")
