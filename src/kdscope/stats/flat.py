"""Intervals where resamples never differ: all items are alike, and a bootstrap would call that certain.

Five equal answers are no proof that a sixth would be equal too. Where a bootstrap's interval has no
width, a score interval stands in, which says what so few items leave possible.
"""

from kdscope.stats.paired import mcnemar_p, score_interval
from kdscope.stats.proportions import wilson
from kdscope.stats.records import Estimate

NONE, TANGO = "ci:none:resamples-never-differ", "ci:tango95"


def is_flat(found: Estimate) -> bool:
    """Whether the interval has no width."""
    return found.low is not None and found.low == found.high


def share(found: Estimate, n: float | None = None) -> Estimate:
    """A share of all or none of the items: Wilson's interval; anything else as it is.

    Args:
        found: the share with the interval of its resamples.
        n: items behind it; those of the estimate if not given.
    """
    count = round(n if n is not None else found.n or 0)
    if not is_flat(found) or found.estimate not in (0.0, 1.0) or not count:
        return found
    return wilson(found.estimate * count, count)


def difference(found: Estimate, n: float | None = None) -> Estimate:
    """A difference of two shares of the same items: Tango's score interval, and McNemar's exact p.

    Args:
        found: the difference with the interval and the p of its resamples.
        n: items behind it; those of the estimate if not given.
    """
    count = round(n if n is not None else found.n or 0)
    if not is_flat(found) or not count:
        return found
    gained, lost = (count * max(sign * found.estimate, 0.0) for sign in (1, -1))
    low, high = score_interval(gained, lost, count)
    if found.p is None:
        return found._replace(low=low, high=high, signature=TANGO)
    p = mcnemar_p(round(gained), round(lost))
    return found._replace(low=low, high=high, p=p, signature=f"{TANGO}|mcnemar:exact")


def equivalence(found: Estimate, margin: float) -> Estimate | None:
    """Whether a difference of shares whose resamples never differ is within a margin; None if they do.

    Were the difference at the margin, at least that share of items would tell the two apart, and
    none of n does with a chance of (1 - margin)^n at most, which is p.
    """
    if not is_flat(found) or not found.n:
        return None
    exact = difference(found)
    p = (1 - margin) ** found.n if found.estimate == 0 else 1.0
    return exact._replace(p=p, signature=f"{TANGO}|tost|margin:{margin:g}|p:none-of-n-discordant")


def beyond_chance(found: Estimate, agreed: float, expected: float, n: float) -> Estimate:
    """Kappa where all or none agree: Wilson's interval of agreement, carried through (A - E)/(1 - E).

    Args:
        found: kappa with the interval of its resamples.
        agreed: A, the agreement.
        expected: E, taken as it is.
        n: items behind A.
    """
    if agreed not in (0.0, 1.0) or not expected < 1 or not n >= 1:
        return found
    bounds = wilson(round(agreed * n), round(n))
    ends = (bounds.low or 0.0, bounds.high or 0.0)
    low, high = ((bound - expected) / (1 - expected) for bound in ends)
    return found._replace(low=low, high=high, signature=f"ci:{bounds.signature}:of-agreement")


def without(found: Estimate) -> Estimate:
    """No interval where that of the resamples has no width, and the signature says why."""
    if not is_flat(found):
        return found
    return found._replace(low=None, high=None, signature=f"{found.signature}|{NONE}")
