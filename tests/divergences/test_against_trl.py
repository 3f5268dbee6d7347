"""A second oracle: trl's kernel, where the conventions agree."""

import pytest
import torch
from divergence_oracle import relative_error

from kdscope.divergences import Head, Objective, fused_objective

trl = pytest.importorskip("trl")
trl_kernel = pytest.importorskip("trl.kernels.chunked_divergence")

PAIRS = {
    "forward_kl": (Objective("forward_kl"), 0.0),
    "reverse_kl": (Objective("reverse_kl"), 1.0),
    "jsd": (Objective("jsd", beta=0.3), 0.3),
    "jsd-2": (Objective("jsd", beta=0.7, temperature=2.0), 0.7),
    "reverse_kl-2": (Objective("reverse_kl", temperature=2.0), 1.0),
}


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_equals_trl_in_value_and_gradients(name, capped):
    objective, beta = PAIRS[name]
    torch.manual_seed(0)
    h_s, h_t, w_t = torch.randn(9, 16), torch.randn(9, 24), torch.randn(333, 24)
    w_s, b_s = torch.randn(333, 16), torch.randn(333)
    settings = (0.5, 5.0) if capped else (1.0, None)
    leaves = [tensor.clone().requires_grad_() for tensor in (h_s, w_s, b_s)]
    values, _ = trl_kernel.ChunkedDivergenceFunction.apply(
        *leaves, h_t, w_t, None, beta, objective.temperature, *settings, *settings
    )
    want = torch.autograd.grad(values.sum(), leaves)
    ours = [tensor.clone().requires_grad_() for tensor in (h_s, w_s, b_s)]
    scale, cap = settings
    got = fused_objective(
        ours[0], Head(ours[1], ours[2], scale, cap), None, torch.ones(9), objective,
        teacher_hidden=h_t, teacher_head=Head(w_t, None, scale, cap),
    )  # fmt: skip
    assert relative_error(got.values, values.detach()) < 2e-5
    for one, other in zip(torch.autograd.grad(got.loss, ours), want, strict=True):
        assert relative_error(one, other) < 2e-5
