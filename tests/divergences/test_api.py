"""The public function: reductions, ignored positions, what it refuses."""

import pytest
import torch
from divergence_oracle import divergence as wanted
from divergence_oracle import relative_error

import kdscope
from kdscope.divergences import Head
from kdscope.errors import UserError

NAMES = [
    "nll",
    "forward_kl",
    "reverse_kl",
    "jsd",
    "skew_kl",
    "skew_rkl",
    "tvd",
    "mse",
    "adaptive_kl",
]


@pytest.fixture
def data():
    draw = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    labels = torch.randint(0, 31, (9,), generator=draw)
    labels[[0, 4, 8]] = -100
    return normal(9, 6), normal(31, 6), normal(9, 10), normal(37, 10), labels


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("trainable", [False, True])
def test_reductions_and_ignored_positions(data, name, reduction, trainable):
    h_s, w_s, h_t, w_t, labels = data
    h_s, w_s = h_s.clone().requires_grad_(), w_s.clone().requires_grad_(trainable)
    leaves = [h_s, w_s] if trainable else [h_s]
    counts = labels != -100
    rows = wanted(name, (h_s @ w_s.T)[counts], (h_t @ w_t.T)[counts, :31], labels[counts])
    want = torch.zeros(9, dtype=torch.float64).masked_scatter(counts, rows)
    if reduction != "none":
        want = want.sum() / (6 if reduction == "mean" else 1)
    got = kdscope.divergence(h_s, w_s, h_t, w_t, objective=name, labels=labels, reduction=reduction)
    assert relative_error(got.detach(), want.detach()) < 1e-11
    scale = torch.linspace(0.5, 2, 9, dtype=torch.float64) if reduction == "none" else 3.0
    found_gradients = torch.autograd.grad((got * scale).sum(), leaves)
    for one, other in zip(
        found_gradients, torch.autograd.grad((want * scale).sum(), leaves), strict=True
    ):
        assert relative_error(one, other) < 1e-11


def test_second_backward_without_retaining_is_refused(data):
    h_s, w_s, h_t, w_t, _ = data
    loss = kdscope.divergence(h_s.clone().requires_grad_(), w_s, h_t, w_t)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_the_graph_can_be_used_twice_where_it_is_retained(data):
    h_s, w_s, h_t, w_t, _ = data
    h_s = h_s.clone().requires_grad_()
    loss = kdscope.divergence(h_s, w_s, h_t, w_t)
    (first,) = torch.autograd.grad(loss, h_s, retain_graph=True)
    (second,) = torch.autograd.grad(2 * loss, h_s)
    assert torch.equal(second, 2 * first)


def test_a_second_derivative_is_refused(data):
    h_s, w_s, h_t, w_t, _ = data
    h_s = h_s.clone().requires_grad_()
    loss = kdscope.divergence(h_s, w_s, h_t, w_t)
    with pytest.raises(UserError, match="leave out create_graph"):
        torch.autograd.grad(loss, h_s, create_graph=True)


@pytest.mark.parametrize("name", NAMES)
def test_large_logits_stay_finite_and_equality_is_exactly_zero(name):
    draw = torch.Generator().manual_seed(0)
    h_s, h_t = torch.randn(2, 5, 8, generator=draw)
    head = torch.randn(50, 8, generator=draw)
    labels = torch.zeros(5, dtype=torch.long)
    for teacher, scale in ((h_t, 3e3), (h_s, 1.0)):
        leaf = h_s.clone().requires_grad_()
        loss = kdscope.divergence(
            leaf, head * scale, teacher, head * scale, objective=name, labels=labels
        )
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(leaf.grad).all()
    if name != "nll":
        assert loss == 0
        assert not leaf.grad.any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", ["student_hidden", "teacher_hidden"])
def test_nan_of_a_hidden_state_is_not_hidden(data, name, who):
    h_s, w_s, h_t, w_t, labels = data
    given = {
        "student_hidden": h_s.clone(),
        "student_head": w_s,
        "teacher_hidden": h_t.clone(),
        "teacher_head": w_t,
    }
    given[who][1, 2] = torch.nan
    rows = kdscope.divergence(**given, objective=name, labels=labels, reduction="none")
    wrong = {1} if name != "nll" or who == "student_hidden" else set()
    assert set(torch.isnan(rows).nonzero().flatten().tolist()) == wrong


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # dynamo's own
def test_compiled_callers_get_the_same_gradient(data):
    h_s, w_s, h_t, w_t, _ = data
    leaves = [h_s.clone().requires_grad_() for _ in range(2)]

    def loss(hidden):
        return kdscope.divergence(hidden, w_s, h_t, w_t)

    loss(leaves[0]).backward()
    torch.compile(loss, backend="aot_eager")(leaves[1]).backward()
    assert torch.equal(leaves[0].grad, leaves[1].grad)


def test_all_positions_ignored_is_zero(data):
    h_s, w_s, h_t, w_t, labels = data
    h_s = h_s.clone().requires_grad_()
    loss = kdscope.divergence(h_s, w_s, h_t, w_t, labels=torch.full_like(labels, -100))
    loss.backward()
    assert loss == 0
    assert h_s.grad is not None
    assert not h_s.grad.any()


def test_no_gradient_is_made_where_none_is_wanted(data):
    h_s, w_s, h_t, w_t, _ = data
    assert not kdscope.divergence(h_s, w_s, h_t, w_t).requires_grad
    with torch.no_grad():
        assert not kdscope.divergence(h_s.clone().requires_grad_(), w_s, h_t, w_t).requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "reverse_lk"}, "Did you mean 'reverse_kl'"),
        ({"beta": 0.3}, "beta=0.3 does not belong to it"),
        ({"objective": "jsd", "beta": 1.0}, "forward_kl or reverse_kl"),
        ({"objective": "skew_kl", "alpha": 0}, "forward_kl at 0"),
        ({"temperature": 0.0}, "above 0"),
        ({"objective": "nll", "temperature": 2.0}, "not part of it"),
        ({"objective": "nll"}, "needs labels"),
        ({"objective": "nll", "labels": torch.full((9,), 33)}, "33 to 33, but .* 31 tokens"),
        ({"objective": "nll", "labels": torch.zeros(8)}, "one number each"),
        ({"vocab_size": 36}, "student 31, teacher 37"),
        ({"reduction": "batchmean"}, "mean, sum, none"),
        ({"precision": "half"}, "exact, fast"),
        ({"teacher_hidden": None}, "compares with the teacher"),
        ({"teacher_hidden": torch.zeros(8, 10)}, "9 positions of the student but 8"),
        ({"student_hidden": torch.zeros(3, 3, 6)}, "gather the supervised positions"),
        ({"student_bias": torch.zeros(5)}, "31 rows"),
        ({"labels": torch.tensor([0, -100, 1])}, "one number each"),
        ({"objective": "nll", "labels": torch.zeros(9)}, "token ids"),
        ({"byte_budget": 0}, "above 0"),
        ({"student_hidden": torch.zeros(9, 6, dtype=torch.long)}, "floating point is needed"),
        ({"student_head": torch.zeros(31, 6, device="meta")}, "move one of them"),
        ({"temperature": torch.ones(9)}, "a finite number above 0"),
    ],
)
def test_mistakes_are_named(data, change, message):
    h_s, w_s, h_t, w_t, _ = data
    given = {"student_hidden": h_s, "student_head": w_s, "teacher_hidden": h_t, "teacher_head": w_t}
    with pytest.raises(UserError, match=message):
        kdscope.divergence(**{**given, **change})


def test_bias_cap_and_scale_of_a_head(data):
    h_s, w_s, h_t, w_t, _ = data
    h_s, w_s = h_s.clone().requires_grad_(), w_s.clone().requires_grad_()
    b_s = torch.linspace(-1, 1, 31, dtype=torch.float64).requires_grad_()
    b_t = torch.linspace(1, -1, 37, dtype=torch.float64)
    z_s = 3.0 * torch.tanh(0.7 * (h_s @ w_s.T + b_s) / 3.0)
    z_t = 0.5 * (h_t @ w_t.T + b_t)[:, :31]
    want = wanted("jsd", z_s, z_t, beta=0.3).mean()
    got = kdscope.divergence(
        h_s, Head(w_s, scale=0.7, softcap=3.0), h_t, Head(w_t, scale=0.5),
        student_bias=b_s, teacher_bias=b_t, objective="jsd", beta=0.3,
    )  # fmt: skip
    assert relative_error(got.detach(), want.detach()) < 1e-12
    leaves = (h_s, w_s, b_s)
    for one, other in zip(
        torch.autograd.grad(got, leaves), torch.autograd.grad(want, leaves), strict=True
    ):
        assert relative_error(one, other) < 1e-12
