"""The objective on k tokens and the rest, against autograd in float64 on the k + 1 outcomes."""

import pytest
import torch

from kdscope.distillation.grouped import check_grouped, grouped_objective
from kdscope.distillation.methods import GROUPED
from kdscope.distillation.targets import TopK
from kdscope.divergences import Head, Objective
from kdscope.errors import ConfigError

N, V, H, K = 70, 23, 8, 4  # more rows than live at once


def outcomes(log_p, ids, there):
    kept = [torch.where(there[:, i], log_p.gather(-1, ids[:, i : i + 1])[:, 0].exp(), 0.0)
            for i in range(K)]  # fmt: skip
    kept = torch.stack(kept, -1)
    return torch.cat([kept, 1 - kept.sum(-1, keepdim=True)], -1)


def divergence(name, p, q):
    def kl(a, b):
        return (
            torch.where(a > 0, a * (a.clamp_min(1e-300).log() - b.clamp_min(1e-300).log()), 0.0)
        ).sum(-1)

    mix = 0.5 * (p + q)
    return {
        "forward_kl": lambda: kl(p, q),
        "reverse_kl": lambda: kl(q, p),
        "jsd": lambda: 0.5 * kl(p, mix) + 0.5 * kl(q, mix),
        "skew_kl": lambda: kl(p, 0.1 * p + 0.9 * q),
        "skew_rkl": lambda: kl(q, 0.9 * p + 0.1 * q),
        "tvd": lambda: 0.5 * (p - q).abs().sum(-1),
    }[name]()


@pytest.mark.parametrize("hard", [0.0, 0.3])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("name", GROUPED)
def test_value_and_gradients_are_those_of_autograd(name, softcap, hard):
    torch.manual_seed(0)
    hidden = torch.randn(N, H, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(V + 3, H, dtype=torch.float64, requires_grad=True)
    labels, each = torch.randint(V, (N,)), torch.rand(N, dtype=torch.float64)
    teacher = torch.randn(N, V, dtype=torch.float64).log_softmax(-1)
    logprobs, ids = teacher.topk(K, -1)
    there = torch.ones(N, K, dtype=torch.bool)
    there[::3, -1] = False
    targets = TopK(ids.masked_fill(~there, -1), logprobs.masked_fill(~there, -torch.inf))

    z = 0.7 * (hidden @ weight[:V].T)
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    log_q = z.log_softmax(-1)
    values = divergence(name, outcomes(teacher, ids, there), outcomes(log_q, ids, there))
    values = (1 - hard) * values - hard * log_q.gather(-1, labels[:, None])[:, 0]
    expected = (values * each).sum()
    wanted = torch.autograd.grad(expected, (hidden, weight))

    loss = grouped_objective(
        hidden, Head(weight, scale=0.7, softcap=softcap), labels, each,
        Objective(name, hard_weight=hard), targets, V,
    )  # fmt: skip
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=1e-9)
    for found, right in zip(torch.autograd.grad(loss, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("objective", "sigma", "word"),
    [
        (Objective("mse"), 0.0, "the objective mse"),
        (Objective("forward_kl", temperature=2.0), 0.0, "temperature 2"),
        (Objective("forward_kl"), 1.0, "teacher_noise 1"),
    ],
)
def test_what_needs_all_logits_is_refused(objective, sigma, word):
    with pytest.raises(ConfigError, match=word):
        check_grouped(objective, sigma)
    check_grouped(Objective("forward_kl"))
