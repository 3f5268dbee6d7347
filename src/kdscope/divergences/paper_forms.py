"""The objectives exactly as the paper's reference implementation computes them per token.

They differ from the forms of the same name in an epsilon that is added to probabilities without
normalising them again, and in the mixture of the JSD. Positions, reduction and the on-policy coin
of that implementation are conventions of the trainer, not of these formulas. The contract is that
of :mod:`kdscope.divergences.closed_forms`.

Source: Ramesh et al. 2025, arXiv:2505.15442, reference code.
"""

import torch
from torch import Tensor

from kdscope.divergences.closed_forms import log_ratio, mixture, row_dot, softmax_parts_

EPSILON = 1e-9


def paper_forward_kl(z_s: Tensor, z_t: Tensor, *, gradient: bool) -> Tensor:
    """``sum (p + e)(log(p + e) - log q)``; gradient ``(1 + V e) q - p - e``."""
    (q, sum_q), (p, _) = softmax_parts_(z_s), softmax_parts_(z_t)
    lq, p = z_s.sub_(sum_q.log()), p.add_(EPSILON)
    value = row_dot(p, torch.log(p, out=z_t).sub_(lq))
    if gradient:
        torch.mul(q, 1.0 + q.shape[-1] * EPSILON, out=z_s).sub_(p)
    return value


def paper_reverse_kl(z_s: Tensor, z_t: Tensor, *, gradient: bool) -> Tensor:
    """``sum (q + e) d``, ``d = log(q / p)``; gradient ``q (d - sum(q d)) + e (1 - V q)``."""
    (q, sum_q), (_, sum_p) = softmax_parts_(z_s), softmax_parts_(z_t)
    d = z_s.sub_(z_t).add_(sum_p.log_()).sub_(sum_q.log_())
    value = row_dot(q, d)
    extra = d.sum(-1)
    if gradient:
        d.sub_(value.unsqueeze(-1)).sub_(EPSILON * q.shape[-1]).mul_(q).add_(EPSILON)
    return value.add_(extra, alpha=EPSILON)


def paper_jsd(z_s: Tensor, z_t: Tensor, *, beta: float, gradient: bool) -> Tensor:
    """``b KL(p || m) + (1-b) KL(q || m)`` with ``m = (1-b) p + b q``: ``jsd`` at b = 1/2 alone.

    Gradient ``q (g - sum(q g))``, ``g = (1-b) log(q / m) - b (b p + (1-b) q) / m``.
    """
    (q, _), (p, _) = softmax_parts_(z_s), softmax_parts_(z_t)
    m = mixture(p, q, 1.0 - beta, out=z_t)
    u = log_ratio(q, m, out=z_s)
    value = row_dot(p, log_ratio(p, m)).mul_(beta).add_(row_dot(q, u), alpha=1.0 - beta)
    if gradient:
        other = mixture(p, q, beta, out=p).div_(m)
        g = u.mul_(1.0 - beta).sub_(other, alpha=beta)
        g.sub_(row_dot(q, g).unsqueeze(-1)).mul_(q)
    return value
