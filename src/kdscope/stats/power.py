"""How many items and seeds a difference needs to be seen."""

import bisect
import math
from typing import NamedTuple

from scipy import stats

from kdscope.errors import NotEstimableError

_MOST_SEEDS = 1_000_000


def items_needed(
    difference: float, discordant: float, *, power: float = 0.8, level: float = 0.95
) -> int:
    """Items for McNemar's test to see a difference in accuracy of two systems on the same items.

    Args:
        difference: in accuracy, e.g. 0.01 for one point.
        discordant: share of items that exactly one of the two has right.
        power: probability of seeing it.
        level: of confidence, two-sided.

    Raises:
        NotEstimableError: the difference is 0 or exceeds the discordant share.

    Source: Connor 1987, Biometrics 43.
    """
    if not 0 < abs(difference) <= discordant <= 1:
        raise NotEstimableError(
            f"a difference of {difference:g} cannot arise from {discordant:g} discordant items; "
            "the discordant share lies between the difference and 1"
        )
    z, beta = stats.norm.ppf((1 + level) / 2), stats.norm.ppf(power)
    spread = math.sqrt(max(discordant - difference**2, 0.0))
    return math.ceil(((z * math.sqrt(discordant) + beta * spread) / difference) ** 2)


def smallest_difference(
    items: int, discordant: float, *, power: float = 0.8, level: float = 0.95
) -> float:
    """The smallest difference in accuracy that McNemar's test sees on so many items (bisection).

    Raises:
        NotEstimableError: not even one as large as the discordant share can be seen.
    """
    if items_needed(discordant, discordant, power=power, level=level) > items:
        raise NotEstimableError(f"{items} items with {discordant:g} discordant show no difference")
    low, high = 0.0, discordant
    for _ in range(60):
        middle = (low + high) / 2
        if items_needed(middle, discordant, power=power, level=level) > items:
            low = middle
        else:
            high = middle
    return high


def seeds_needed(
    difference: float,
    seed_sd: float,
    item_se: float = 0.0,
    *,
    power: float = 0.8,
    level: float = 0.95,
) -> int:
    """Training seeds per method to see a difference of means on a fixed set of items.

    Args:
        difference: in the measure's unit.
        seed_sd: standard deviation of the paired difference over seeds.
        item_se: standard error of the difference from the items, which no seed removes.
        power: probability of seeing it.
        level: of confidence, two-sided, by Student's t.

    Raises:
        NotEstimableError: the items' error alone hides the difference however many seeds there are.
    """
    gap = abs(difference)

    def seen(seeds: int) -> bool:
        error = math.sqrt(seed_sd**2 / seeds + item_se**2)
        if error == 0:
            return True
        critical = _critical(seeds, seed_sd, item_se, level)
        return gap / error >= critical + stats.norm.ppf(power)

    if not seen(_MOST_SEEDS):
        raise NotEstimableError(
            f"no number of seeds shows a difference of {difference:g} beside an item error of "
            f"{item_se:g}: more items are needed"
        )
    return bisect.bisect_left(range(2, _MOST_SEEDS), True, key=seen) + 2


def _critical(seeds: int, seed_sd: float, item_se: float, level: float) -> float:
    """Critical value with Satterthwaite's degrees of freedom; Student's where items bring no error."""
    between = seed_sd**2 / seeds
    if between == 0:
        return float(stats.norm.ppf((1 + level) / 2))
    df = (seeds - 1) * ((between + item_se**2) / between) ** 2
    return float(stats.t.ppf((1 + level) / 2, df))


class Needed(NamedTuple):
    """Items and training seeds that show a difference; seeds are None where their spread is unknown."""

    items: int
    seeds: int | None


def needed(
    difference: float, discordant: float, seed_sd: float | None, *, power: float = 0.8
) -> Needed:
    """Items and seeds to see a difference in accuracy of two methods.

    Items are those that leave half of the difference's room to the seeds: an item error of a
    quarter of the difference. Without a known spread over seeds they are McNemar's alone.

    Args:
        difference: in accuracy, e.g. 0.01 for one point.
        discordant: share of items that exactly one of the two has right.
        seed_sd: standard deviation of the paired difference over seeds, None if unknown.
        power: probability of seeing it.
    """
    items = items_needed(difference, discordant, power=power)
    if seed_sd is None:
        return Needed(items, None)
    items = max(items, math.ceil(discordant / (difference / 4) ** 2))
    item_se = math.sqrt(discordant / items)
    return Needed(items, seeds_needed(difference, seed_sd, item_se, power=power))


def what_it_takes(difference: float, found: Needed) -> str:
    """The sentence: to see so many points you need n items and k seeds."""
    points = 100 * abs(difference)
    unit = "point" if points == 1 else "points"
    seeds = f" and {found.seeds} seeds" if found.seeds is not None else ""
    return f"to see {points:g} {unit} you need {found.items:,} items{seeds}"
