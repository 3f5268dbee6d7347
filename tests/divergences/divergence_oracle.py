"""The slow float64 oracle: textbook formulas on full logits, gradients by autograd."""

import torch


def divergence(name, z_s, z_t, labels=None, *, beta=0.5, alpha=0.1, mu=0.5, temperature=1.0):
    """Value per row from logits, in the dtype of the logits, differentiable."""
    if name == "nll":
        return -torch.log_softmax(z_s, -1).gather(-1, labels[:, None]).squeeze(-1)
    t = temperature
    if name == "mse":
        a, b = z_s / t, z_t / t
        return ((a - a.mean(-1, keepdim=True)) - (b - b.mean(-1, keepdim=True))).square().mean(-1)
    lp, lq = torch.log_softmax(z_t / t, -1), torch.log_softmax(z_s / t, -1)
    p, q = lp.exp(), lq.exp()
    if name == "forward_kl":
        return (p * (lp - lq)).sum(-1)
    if name == "reverse_kl":
        return (q * (lq - lp)).sum(-1)
    if name == "jsd":
        m = beta * p + (1 - beta) * q
        return (beta * p * (lp - m.log()) + (1 - beta) * q * (lq - m.log())).sum(-1)
    if name == "skew_kl":
        return (p * (lp - (alpha * p + (1 - alpha) * q).log())).sum(-1)
    if name == "skew_rkl":
        return (q * (lq - ((1 - alpha) * p + alpha * q).log())).sum(-1)
    if name == "tvd":
        return 0.5 * (p - q).abs().sum(-1)
    assert name == "adaptive_kl"
    with torch.no_grad():
        head, order = p.sort(-1, descending=True)
        before = head.cumsum(-1) - head
        inside = torch.zeros_like(p).scatter(-1, order, (before < mu).to(p.dtype))
        gap = (p - q).abs()
        of_head, of_tail = (gap * inside).sum(-1), (gap * (1 - inside)).sum(-1)
        total = of_head + of_tail
        share = torch.where(
            total > 0, of_head / total.clamp_min(1e-300), torch.full_like(total, 0.5)
        )
    return share * (p * (lp - lq)).sum(-1) + (1 - share) * (q * (lq - lp)).sum(-1)


def objective(objective, z_s, z_t, labels=None):
    """The whole objective with temperature, factor and hard labels."""
    names = {name: getattr(objective, name) for name in ("beta", "alpha", "mu")}
    given = {name: value for name, value in names.items() if value is not None}
    t = objective.temperature
    value = divergence(objective.name, z_s, z_t, labels, **given, temperature=t)
    if objective.scale_by_t2:
        value = value * t**2
    if objective.normalised:
        value = value / (objective.beta * (1 - objective.beta))
    if objective.hard_weight:
        hard = divergence("nll", z_s, None, labels)
        value = (1 - objective.hard_weight) * value + objective.hard_weight * hard
    return value


def relative_error(found, wanted):
    """Norm of the difference over norm of what is wanted."""
    wanted = wanted.double()
    return float((found.double() - wanted).norm() / wanted.norm().clamp_min(1e-300))
