"""The float32 product on a CPU, by oneDNN or by torch.mm: right, repeatable, and given up when in doubt."""

import pytest
import torch
from divergence_oracle import relative_error

from kdscope.divergences import Objective, fused_objective, onednn


@pytest.fixture(autouse=True)
def fresh():
    onednn.onednn_product.cache_clear()
    yield
    onednn.onednn_product.cache_clear()


@pytest.fixture(params=["as it is", "without"])
def product(request, monkeypatch):
    if request.param == "without":
        monkeypatch.setattr(onednn, "onednn_product", lambda: None)


@pytest.mark.parametrize("rows", [0, 1, 7])
@pytest.mark.parametrize("vocab", [40, 2 * onednn.BLOCK + 5])
@pytest.mark.usefixtures("product")
def test_both_products_are_right_and_repeat_themselves(rows, vocab):
    draw = torch.Generator().manual_seed(0)
    x, w = torch.randn(rows, 24, generator=draw), torch.randn(vocab, 24, generator=draw)
    wide = torch.zeros(rows, vocab + 9)
    results = []
    for _ in range(2):
        out, total = wide[:, 4:-5], torch.ones(rows, 24)
        onednn.project_into(x, w, out)
        onednn.add_back(out, w, total)
        results.append((out.clone(), total))
    logits = x.double() @ w.double().t()
    assert relative_error(results[0][0], logits) < 1e-6
    assert relative_error(results[0][1], 1 + results[0][0].double() @ w.double()) < 1e-6
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not wide[:, :4].any()
    assert not wide[:, -5:].any()


def test_an_operator_that_is_wrong_or_unsteady_is_not_used():
    calls = iter(range(100))

    def right(x, w, *_):
        return x @ w.t()

    assert onednn._is_right(right)
    assert not onednn._is_right(lambda x, w, *_: 1.001 * right(x, w))
    assert not onednn._is_right(lambda x, w, *_: right(x, w) + 1e-6 * next(calls))


def amd(monkeypatch, name="AMD EPYC"):
    able = {"avx512_f": True, "cpu_name": name}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)


def test_it_is_used_on_measured_processors_alone(monkeypatch):
    amd(monkeypatch, "Intel Xeon")
    assert onednn.onednn_product() is None


def test_a_build_without_the_operator_uses_torch(monkeypatch):
    amd(monkeypatch)

    def gone(_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(onednn, "_is_right", gone)
    assert onednn.onednn_product() is None


@pytest.mark.filterwarnings("ignore:TF32")
def test_switching_onednn_off_is_heeded(monkeypatch):
    monkeypatch.setattr(onednn, "onednn_product", pytest.fail)
    with torch.backends.mkldnn.flags(enabled=False):
        assert onednn._product_for(torch.zeros(2, 2)) is None
    assert onednn._product_for(torch.zeros(2, 2, dtype=torch.float64)) is None


def test_the_loss_is_the_same_with_and_without_it(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    h_s, w_s, h_t, w_t = (
        torch.randn(*shape, generator=draw) for shape in ((9, 8), (5000, 8), (9, 12), (5000, 12))
    )

    def run():
        hidden = h_s.clone().requires_grad_()
        weights = torch.full((9,), 1 / 9)
        loss = fused_objective(
            hidden, w_s, None, weights, Objective("jsd"), teacher_hidden=h_t, teacher_head=w_t
        ).loss
        loss.backward()
        return loss.detach(), hidden.grad

    first, again = run(), run()
    assert torch.equal(first[1], again[1])
    monkeypatch.setattr(onednn, "onednn_product", lambda: None)
    for one, other in zip(run(), first, strict=True):
        assert relative_error(one, other) < 1e-5
