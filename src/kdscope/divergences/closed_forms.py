"""Every divergence as one function: its value per row and its closed-form gradient.

Each function takes the student's and the teacher's logits ``[n, V]``, already divided by the
temperature, and is allowed to overwrite both. It returns the value per row ``[n]`` in nats; with
``gradient=True`` the gradient of each row's value with respect to the student's logits is left in
``z_s``. No autograd graph is built and nothing of size ``[n, V]`` outlives the call, so that
callers can run it over slices that stay in the processor's cache.

The forms are chosen so that float32 does not cancel: probabilities are normalised by their own
sums, what is constant in a row is subtracted before the row mean is taken, and sums of ``p (log p -
log q)`` carry ``q - p``, which makes them insensitive to the rounding of the normalisers.

A logit of ``-inf`` is a token that its model excludes: probability 0, and ``0 log 0 = 0``. Excluded
by both, it is as if the vocabulary had no such token (gradient 0). Excluded only by the one that a KL
divides by, where the other has mass, it makes that KL ``inf``, as it does ``mse``; the row's gradient
is then not defined. NaN, ``+inf`` and rows that exclude everything give NaN.

Notation: ``p`` teacher, ``q`` student, ``m`` their mixture, ``d`` a difference of
log-probabilities.
"""

import torch
from torch import Tensor

TINY = 1e-37  # keeps 0 / 0 and log 0 out where a probability underflows; its weight is 0 there


def nll(z_s: Tensor, labels: Tensor, *, gradient: bool) -> Tensor:
    """``-log q[y]``; gradient ``q - onehot(y)``."""
    lq = log_softmax_(z_s)
    index = labels.unsqueeze(-1)
    value = lq.gather(-1, index).squeeze(-1).neg_()
    if gradient:
        lq.exp_().scatter_add_(-1, index, value.new_full((1, 1), -1.0).expand_as(index))
    return value


def forward_kl(z_s: Tensor, z_t: Tensor, *, gradient: bool) -> Tensor:
    """``KL(p || q)``; gradient ``q - p``."""
    (q, sum_q), (p, sum_p) = softmax_parts_(z_s), softmax_parts_(z_t)
    d = z_t.sub_(z_s).add_(log_quotient(sum_q, sum_p))
    torch.sub(q, p, out=z_s)
    return expectation_(p, d).add_(z_s.sum(-1))


def reverse_kl(z_s: Tensor, z_t: Tensor, *, gradient: bool) -> Tensor:
    """``KL(q || p)``; gradient ``q (log q - log p - KL(q || p))``."""
    (q, sum_q), (p, sum_p) = softmax_parts_(z_s), softmax_parts_(z_t)
    d = z_s.sub_(z_t).add_(log_quotient(sum_p, sum_q))
    value = expectation_(q, d)
    if gradient:
        d.sub_(value.unsqueeze(-1)).mul_(q)
    return value.add_(p.sub_(q).sum(-1))


def jsd(z_s: Tensor, z_t: Tensor, *, beta: float, gradient: bool) -> Tensor:
    """``b KL(p || m) + (1-b) KL(q || m)``, ``m = b p + (1-b) q``.

    Gradient ``(1-b) q (log q - log m - KL(q || m))``.

    Source: Agarwal et al. 2024, arXiv:2306.13649, equation 1.
    """
    (q, _), (p, _) = softmax_parts_(z_s), softmax_parts_(z_t)
    m = mixture(p, q, beta, out=z_t)
    u = log_ratio(q, m, out=z_s)
    student = row_dot(q, u)
    teacher = row_dot(p, log_ratio(p, m, out=z_t))
    if gradient:
        u.sub_(student.unsqueeze(-1)).mul_(q).mul_(1.0 - beta)
    return teacher.mul_(beta).add_(student, alpha=1.0 - beta)


def skew_kl(z_s: Tensor, z_t: Tensor, *, alpha: float, gradient: bool) -> Tensor:
    """``KL(p || m)``, ``m = a p + (1-a) q``.

    Gradient ``(1-a) ((q - p) r + q W)`` with ``r = (1-a) q / m`` and ``W = a sum(p (q - p) / m)``:
    what ``q sum(p r) - p r`` is after the constant ``1-a`` has been taken out of ``r``.

    Source: Ko et al. 2024, arXiv:2402.03898, equation 3.
    """
    (q, _), (p, _) = softmax_parts_(z_s), softmax_parts_(z_t)
    m = mixture(p, q, alpha, out=z_t)
    gap = torch.sub(q, p, out=z_s)
    drift = gap.sum(-1)
    value = row_dot(p, log_ratio(p, m)).add_(drift, alpha=1.0 - alpha)
    if gradient:
        w = row_dot(p, gap / m).mul_(alpha * (1.0 - alpha)).unsqueeze(-1)
        r = torch.div(q, m, out=z_t).mul_((1.0 - alpha) ** 2)
        gap.mul_(r).add_(q.mul_(w))
    return value


def skew_rkl(z_s: Tensor, z_t: Tensor, *, alpha: float, gradient: bool) -> Tensor:
    """``KL(q || m)``, ``m = (1-a) p + a q``.

    Gradient ``q (g - sum(q g))`` with ``g = log(q / m) - a (1-a) (q - p) / m``, which differs from
    the textbook ``log(q / m) - a q / m`` by a constant.

    Source: Ko et al. 2024, arXiv:2402.03898, equation 4.
    """
    (q, _), (p, _) = softmax_parts_(z_s), softmax_parts_(z_t)
    m = mixture(p, q, 1.0 - alpha, out=z_t)
    g = log_ratio(q, m, out=z_s)
    gap = p.neg_().add_(q)
    value = row_dot(q, g).sub_(gap.sum(-1), alpha=1.0 - alpha)
    if gradient:
        g.sub_(gap.div_(m), alpha=alpha * (1.0 - alpha))
        g.sub_(row_dot(q, g).unsqueeze(-1)).mul_(q)
    return value


def tvd(z_s: Tensor, z_t: Tensor, *, gradient: bool) -> Tensor:
    """Total variation ``sum |p - q| / 2``.

    Gradient ``q (s - sum(q s)) / 2``, ``s = sign(q - p)``, with the row mean taken from the mass of
    q above, below and level with p.
    """
    (q, _), (p, _) = softmax_parts_(z_s), softmax_parts_(z_t)
    gap = torch.sub(q, p, out=z_s)
    value = gap.abs().sum(-1).mul_(0.5)
    if gradient:
        sign = gap.sign_()
        up, down = sign.clamp(min=0.0), sign.clamp(max=0.0)
        level = sign.square_().neg_().add_(1.0)
        above, below = row_dot(q, up).unsqueeze(-1), row_dot(q, down).neg_().unsqueeze(-1)
        tied = row_dot(q, level).unsqueeze(-1)
        factor = level.mul_((below - above) / 2)
        factor.addcmul_(up, below + tied / 2).addcmul_(down, above + tied / 2).mul_(q)
    return value


def mse(z_s: Tensor, z_t: Tensor, *, gradient: bool) -> Tensor:
    """Mean squared difference of centred logits, ``mean(e**2)``; gradient ``2 e / V``.

    Tokens that both exclude are left out of all means.
    """
    gap = torch.sub(z_s, z_t)
    mean = gap.mean(-1, keepdim=True)
    if not known_finite(mean):
        return _mse_of_shared(gap, z_s, z_t, gradient=gradient)
    e = torch.sub(gap, mean, out=z_s)
    value = row_dot(e, e).div_(e.shape[-1])
    if gradient:
        e.mul_(2.0 / e.shape[-1])
    return value


def _mse_of_shared(gap: Tensor, z_s: Tensor, z_t: Tensor, *, gradient: bool) -> Tensor:
    """The same where some tokens are excluded: by both they are left out, by one they give inf."""
    out = (z_s == -torch.inf) & (z_t == -torch.inf)
    gap.masked_fill_(out, 0.0)
    count = (~out).sum(-1, keepdim=True).to(gap.dtype)
    apart = gap.isinf().any(-1) & ~gap.isnan().any(-1)
    e = torch.sub(gap, gap.sum(-1, keepdim=True).div_(count), out=z_s).masked_fill_(out, 0.0)
    value = row_dot(e, e).div_(count.squeeze(-1)).masked_fill_(apart, torch.inf)
    if gradient:
        e.mul_(2.0 / count)
    return value


def adaptive_kl(z_s: Tensor, z_t: Tensor, *, mu: float, gradient: bool) -> Tensor:
    """Forward and reverse KL, weighted by the gaps ``sum |p - q|`` in head and tail of p.

    The head is the smallest set of most probable tokens with mass at least `mu`. The weights are
    held constant in the gradient; both are 1/2 where p = q.

    Source: Wu et al. 2024, arXiv:2404.02657, equations 9 to 11.
    """
    (q, sum_q), (p, sum_p) = softmax_parts_(z_s), softmax_parts_(z_t)
    d = z_s.sub_(z_t).add_(log_quotient(sum_p, sum_q))
    gap = torch.sub(q, p, out=z_t)
    drift = gap.sum(-1)
    size = gap.abs()
    total = size.sum(-1)
    of_head = size.mul_(_head(p, mu)).sum(-1)
    share = torch.where(total > 0, of_head / total, torch.full_like(total, 0.5))
    forward = expectation(p, d).neg_()
    reverse = expectation_(q, d)
    if gradient:
        d.sub_(reverse.unsqueeze(-1)).mul_(q).mul_((1.0 - share).unsqueeze(-1))
        d.addcmul_(gap, share.unsqueeze(-1))
    value = share * (forward + drift) + (1.0 - share) * (reverse - drift)
    return torch.where(forward.isinf() | reverse.isinf(), torch.inf, value)


def log_softmax_(z: Tensor) -> Tensor:
    """Turn logits into log-probabilities in place."""
    return torch.log_softmax(z, dim=-1, out=z)


def softmax_parts_(z: Tensor) -> tuple[Tensor, Tensor]:
    """Shift logits by their row's maximum in place.

    Returns:
        The probabilities ``[n, V]``, and the sums ``[n, 1]`` with which ``z - log(sum)`` are their
        logarithms.
    """
    z.sub_(z.amax(-1, keepdim=True))
    e = z.exp()
    total = e.sum(-1, keepdim=True)
    return e.div_(total), total


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """Row-wise inner products of two ``[n, V]`` matrices: ``[n]``."""
    if a.shape[0] == 1:
        return torch.dot(a.view(-1), b.view(-1)).unsqueeze(0)
    return (a * b).sum(-1)


def expectation(p: Tensor, x: Tensor) -> Tensor:
    """``sum p x`` per row, ``[n]``; what has no probability counts 0, even where `x` is not finite."""
    value = row_dot(p, x)
    return value if known_finite(value) else row_dot(p, x.masked_fill(p == 0, 0.0))


def expectation_(p: Tensor, x: Tensor) -> Tensor:
    """:func:`expectation`, which may set `x` to 0 where `p` is 0."""
    value = row_dot(p, x)
    return value if known_finite(value) else row_dot(p, x.masked_fill_(p == 0, 0.0))


def known_finite(value: Tensor) -> bool:
    """Whether all is finite, where looking does not stop the device: elsewhere assume it is not."""
    if value.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return bool(value.isfinite().all())


def mixture(p: Tensor, q: Tensor, share: float, *, out: Tensor) -> Tensor:
    """``share * p + (1 - share) * q``, weights that sum to 1 exactly, kept away from 0."""
    return torch.lerp(q, p, share, out=out).clamp_min_(TINY)


def log_quotient(a: Tensor, b: Tensor) -> Tensor:
    """``log(a / b)`` of positive numbers, without the rounding of a quotient near 1."""
    excess = (a - b) / b
    return torch.where(excess.abs() < 0.5, excess.log1p(), (a / b).log())


def log_ratio(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``log(a / b)`` of probabilities; finite where `a` underflows."""
    return torch.div(a, b, out=out).clamp_min_(TINY).log_()


def _head(p: Tensor, mu: float) -> Tensor:
    """The smallest set of most probable tokens with mass at least `mu`: ``[n, V]``.

    Only as many tokens are sorted as are needed; ties at the border go to the lower index.
    """
    vocab = p.shape[-1]
    k = min(64, vocab)
    while True:
        top = _largest(p, k)
        mass = top.cumsum(-1)
        if k == vocab or bool((mass[:, -1] >= mu).all()):
            break
        k = min(8 * k, vocab)
    size = (mass < mu).sum(-1, keepdim=True).add_(1).clamp_max_(k)
    border = top.gather(-1, size - 1)
    inside = p >= border
    if bool((inside.sum(-1, keepdim=True) != size).any()):
        above = p > border
        room = size - above.sum(-1, keepdim=True)
        level = p == border
        inside = above | (level & (level.cumsum(-1) <= room))
    return inside


def _largest(p: Tensor, k: int) -> Tensor:
    """The `k` largest values of each row in descending order.

    They lie in the `k` blocks of the row with the largest maxima, so that only those are searched.
    """
    width = 64
    blocks = p.shape[-1] // width
    if blocks <= 2 * k:
        return p.topk(k, dim=-1).values
    whole = p[:, : blocks * width].unflatten(-1, (blocks, width))
    best = whole.amax(-1).topk(k, dim=-1, sorted=False).indices
    found = whole.gather(1, best.unsqueeze(-1).expand(-1, -1, width)).flatten(1)
    return torch.cat([found, p[:, blocks * width :]], dim=-1).topk(k, dim=-1).values
