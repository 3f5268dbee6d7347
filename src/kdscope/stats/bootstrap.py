"""The resampling engine: paired, clustered, stratified.

Every measure of this project is a function of sums over items, so one engine serves all of them. A
resample is a row of integer weights over the units that are drawn together; all columns of all
systems are summed under the same weights with one matrix product, which makes every comparison
paired and a further system almost free.

Axes: items ``I``, units ``U`` (clusters of items), groups ``G`` (tasks), resamples ``R``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from kdscope.stats.design import Block, Design, design
from kdscope.stats.records import Estimate

Array = NDArray[np.float64]
Sums = Mapping[str, Array]
"""Sums of columns, name -> [..., G]; ``"n"`` is the number of items."""
Statistic = Callable[[Sums], Array]
"""A function of sums: [..., G] -> [...]; undefined values are NaN."""

RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK_BYTES = 32 << 20
_DRAWS_AT_ONCE = 1 << 17
_MANY_UNITS = 5_000
_EXACT_FLOAT32 = float(1 << 24)


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """The generator of a seed; 0 is a seed like any other."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


@dataclass(frozen=True)
class Draws:
    """Sums of named columns on the data, in each resample, and with each unit left out.

    Attributes:
        place: name of a column -> its place among the C distinct ones; ``n`` counts items.
        observed: [G, C].
        drawn: [G, C, R], so that the resamples of a column lie side by side.
        left_out: [G, C, U], or None if they were not asked for (only BCa needs them).
        signature: what was drawn, for the estimates made from it.
        n: number of items.
        block: [U] the block of each unit.
    """

    place: dict[str, int]
    observed: Array
    drawn: Array
    left_out: Array | None
    signature: str
    n: int
    block: NDArray[np.intp]

    def apply(self, statistic: Statistic, prefix: str = "") -> tuple[float, Array]:
        """The statistic on the data and in each resample, [R].

        With a prefix it sees the columns that start with it, under the rest of their names.
        """
        point = float(statistic(_View(self.place, self.observed, prefix)))
        return point, self._many(statistic, self.drawn, prefix)

    def by_group(self, statistic: Statistic, prefix: str = "") -> tuple[Array, Array]:
        """The statistic of each group alone, on the data [G] and in each resample [R, G].

        With a prefix the statistic sees the columns that start with it, under the rest of their
        names.
        """
        point = statistic(_View(self.place, self.observed[..., None, :], prefix))
        by_resample = self.drawn.transpose(2, 0, 1)
        return point, statistic(_View(self.place, by_resample[..., None, :], prefix))

    def _many(self, statistic: Statistic, sums: Array, prefix: str = "") -> Array:
        return statistic(_View(self.place, sums.transpose(2, 0, 1), prefix))

    def jackknife(self, statistic: Statistic, prefix: str = "") -> Array:
        """The statistic with each unit left out, [U]."""
        if self.left_out is None:
            raise ValueError("draw with jackknife=True for BCa intervals")
        return self._many(statistic, self.left_out, prefix)


class _View(Mapping[str, Array]):
    """Named columns of an array of sums, without copying it."""

    def __init__(self, place: dict[str, int], sums: Array, prefix: str = "") -> None:
        self._place, self._sums, self._prefix = place, sums, prefix

    def __getitem__(self, name: str) -> Array:
        return self._sums[..., self._place[self._prefix + name]]

    def __iter__(self) -> Iterator[str]:
        start = len(self._prefix)
        return (name[start:] for name in self._place if name.startswith(self._prefix))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def draw(
    columns: Mapping[str, ArrayLike],
    plan: Design,
    *,
    resamples: int = RESAMPLES,
    seed: int | np.random.Generator = 0,
    jackknife: bool = False,
) -> Draws:
    """Sum columns over items in each of R resamples of the units.

    Args:
        columns: name -> [I] finite numbers (what is undefined for an item is left out of numerator
            and denominator alike by giving 0 to both).
        plan: what is drawn with what.
        resamples: R.
        seed: a seed, 0 included, or a generator.
        jackknife: also keep the sums with each unit left out, which BCa needs.

    The same seed and plan give the same resamples whatever the columns are.
    """
    rng, items = generator(seed), len(plan.group)
    place, table = _distinct({"n": np.ones(items), **columns})
    shape = (len(plan.labels), table.shape[1])
    observed, drawn = np.zeros(shape), np.zeros((*shape, resamples))
    unit_sums: list[tuple[Block, dict[int, Array]]] = []
    for block in plan.blocks:
        by_group = {int(g): _unit_sums(table, plan, block, int(g)) for g in block.groups}
        unit_sums.append((block, by_group))
        for g, sums in by_group.items():
            observed[g] += sums.sum(axis=0)
        _add_resamples(drawn, by_group, block.units, rng)
    left = _left_out(observed, unit_sums) if jackknife else None
    named = str(seed) if isinstance(seed, int | np.integer) else "generator"
    unit = "cluster" if plan.clustered else "item"
    strata = f"|strata:{len(plan.labels)}" if len(plan.labels) > 1 else ""
    signature = f"bootstrap:paired|R:{resamples}|unit:{unit}{strata}|seed:{named}"
    of_unit = np.repeat(np.arange(len(plan.blocks)), [block.units for block in plan.blocks])
    return Draws(place, observed, drawn, left, signature, items, of_unit)


def _distinct(columns: Mapping[str, ArrayLike]) -> tuple[dict[str, int], Array]:
    """Places of the columns, and the table [I, C] of the distinct ones: flags often repeat."""
    place: dict[str, int] = {}
    seen: dict[bytes, int] = {}
    kept: list[Array] = []
    for name, values in columns.items():
        column = np.asarray(values, np.float64)
        if not np.isfinite(column).all():
            raise ValueError(
                f"column {name!r} has undefined values; give 0 to numerator and denominator"
            )
        key = column.tobytes()
        if key not in seen:
            seen[key] = len(kept)
            kept.append(column)
        place[name] = seen[key]
    return place, np.column_stack(kept)


def _unit_sums(table: Array, plan: Design, block: Block, group: int) -> Array:
    """Sums of the block's units over their items in one group, [U, C]."""
    inside = plan.group[block.items] == group
    rows, unit = table[block.items[inside]], block.unit[inside]
    if len(unit) == block.units and (unit == np.arange(block.units)).all():
        return rows
    sums = np.zeros((block.units, table.shape[1]))
    np.add.at(sums, unit, rows)
    return sums


def _add_resamples(
    drawn: Array, by_group: dict[int, Array], units: int, rng: np.random.Generator
) -> None:
    """Add one block's weighted sums to ``drawn``, a chunk of resamples at a time."""
    parts: list[tuple[int, NDArray[np.intp], NDArray[np.intp] | slice, NDArray[Any]]] = []
    for g, sums in by_group.items():
        for chosen, kind in _precisions(sums, units):
            rows = sums[:, chosen]
            active = np.flatnonzero(rows.any(axis=1))
            dense = 2 * len(active) > units
            table = (rows if dense else rows[active]).T.astype(kind, order="C")
            parts.append((g, np.flatnonzero(chosen), slice(None) if dense else active, table))
    resamples = drawn.shape[-1]
    chunk = max(1, _CHUNK_BYTES // (4 * units))
    for start in range(0, resamples, chunk):
        weights = _weights(min(chunk, resamples - start), units, rng).T
        rows = slice(start, start + weights.shape[1])
        for g, columns, active, table in parts:
            drawn[g, columns, rows] += table @ weights[active].astype(table.dtype, copy=False)


def _precisions(sums: Array, units: int) -> list[tuple[NDArray[np.bool_], type]]:
    """Columns that are not all zero, by the precision in which their products are taken.

    Whole numbers below 2^24 are exact in float32, whose products cost half as much. Other numbers
    take float64, unless there are so many units that float32's rounding (10^-6 of a sum) is nothing
    beside the resampling error, which falls only with the root of their number.
    """
    largest = np.abs(sums).max(axis=0)
    exact = (sums == np.rint(sums)).all(axis=0) & (largest * units < _EXACT_FLOAT32)
    sparse = 2 * np.count_nonzero(sums, axis=0) < units
    single = (largest > 0) & (exact | (units >= _MANY_UNITS))
    found = [
        (single & ~sparse, np.float32),
        (single & sparse, np.float32),
        (~single & (largest > 0), np.float64),
    ]
    return [(chosen, kind) for chosen, kind in found if chosen.any()]


def _weights(count: int, units: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each unit is drawn in each of ``count`` resamples, [count, U]."""
    weights = np.empty((count, units), np.float32)
    step = max(1, _DRAWS_AT_ONCE // units)
    for start in range(0, count, step):
        rows = min(step, count - start)
        drawn = rng.integers(0, units, (rows, units), dtype=np.int32)
        drawn += units * np.arange(rows, dtype=np.int32)[:, None]
        flat = np.bincount(drawn.reshape(-1), minlength=rows * units)
        weights[start : start + rows] = flat.reshape(rows, units)
    return weights


def _left_out(observed: Array, unit_sums: list[tuple[Block, dict[int, Array]]]) -> Array:
    """Sums with each unit left out, [G, C, U]."""
    parts = []
    for block, by_group in unit_sums:
        part = np.repeat(observed[..., None], block.units, axis=-1)
        for g, sums in by_group.items():
            part[g] -= sums.T
        parts.append(part)
    return np.concatenate(parts, axis=-1)


def estimate(
    draws: Draws, statistic: Statistic, *, ci: str = "percentile", prefix: str = ""
) -> Estimate:
    """A statistic with its 95 % interval.

    Args:
        draws: from :func:`draw`.
        statistic: function of the sums.
        ci: ``percentile`` or ``bca`` (bias-corrected and accelerated, Efron 1987).
        prefix: of the columns that the statistic sees.

    Returns:
        NaN with no interval if the statistic is undefined on the data; resamples where it is
        undefined are left out, and the interval is None if these are more than half.
    """
    if ci not in ("percentile", "bca"):
        raise ValueError(f"ci={ci!r} does not exist; choose percentile or bca")
    point, drawn = draws.apply(statistic, prefix)
    signature = f"{draws.signature}|ci:{ci}95"
    low, high = interval(
        drawn, None if ci == "percentile" else _bca(draws, statistic, point, drawn, prefix)
    )
    if not np.isfinite(point):
        low = high = None
    return Estimate(point, low, high, n=draws.n, signature=signature)


def interval(
    drawn: Array, probabilities: tuple[float, float] | None = None
) -> tuple[float | None, float | None]:
    """Quantiles of the defined resamples; None if more than half are undefined."""
    defined = drawn[np.isfinite(drawn)]
    if 2 * len(defined) < len(drawn) or not len(defined):
        return None, None
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(defined, probabilities or (tail, 1 - tail))
    return float(low), float(high)


def _bca(
    draws: Draws, statistic: Statistic, point: float, drawn: Array, prefix: str = ""
) -> tuple[float, float] | None:
    """The two probabilities at which BCa reads the resamples; None falls back to percentile.

    Source: Efron and Tibshirani 1993, equations 14.9 to 14.15, the acceleration summed over strata.
    """
    defined = drawn[np.isfinite(drawn)]
    left = draws.jackknife(statistic, prefix)
    if not len(defined) or not np.isfinite(left).all() or np.ptp(defined) == 0:
        return None
    bias = special.ndtri(np.clip(_share_below(defined, point), 1e-9, 1 - 1e-9))
    count = np.bincount(draws.block).astype(float)
    centre = np.bincount(draws.block, left) / count
    influence = (centre[draws.block] - left) * ((count - 1) / count)[draws.block]
    spread = np.sum(influence**2) ** 1.5
    acceleration = np.sum(influence**3) / (6 * spread) if spread > 0 else 0.0
    tail = special.ndtri((1 - LEVEL) / 2)
    shifted = [bias + z for z in (tail, -tail)]
    low, high = (special.ndtr(bias + z / (1 - acceleration * z)) for z in shifted)
    return float(low), float(high)


def _share_below(drawn: Array, point: float) -> float:
    """Share of resamples below the point, ties counted half."""
    return float(np.mean(drawn < point) + np.mean(drawn == point) / 2)


def p_value(drawn: Array, null: float = 0.0) -> float:
    """Two-sided p of a null value by inverting the percentile interval, never 0.

    Ties count on both sides.
    """
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return float("nan")
    tail = min(np.sum(defined <= null), np.sum(defined >= null))
    return float(min(1.0, 2 * (tail + 1) / (len(defined) + 1)))


def stretch(units: int) -> float:
    """Factor by which deviations of resamples of few units are too short.

    Resampled means spread by (U - 1)/U too little in variance, and their quantiles are the normal
    ones where Student's with U - 1 degrees of freedom hold: 1.29 with 8 units, 1.02 with 100.
    """
    if units < 2:
        return 1.0
    tail = 1 - (1 - LEVEL) / 2
    wide = float(special.stdtrit(units - 1, tail) / special.ndtri(tail))
    return float(np.sqrt(units / (units - 1))) * wide


# -- shortcuts -------------------------------------------------------------------


def ratio(numerator: str, denominator: str = "n", *, scale: float = 1.0) -> Statistic:
    """Sum of one column over sum of another, pooled over groups."""

    def statistic(sums: Sums) -> Array:
        return scale * divide(sums[numerator].sum(axis=-1), sums[denominator].sum(axis=-1))

    return statistic


def mean_over_groups(numerator: str, denominator: str = "n", *, scale: float = 1.0) -> Statistic:
    """The unweighted mean over groups of a ratio: the average over tasks."""

    def statistic(sums: Sums) -> Array:
        return scale * divide(sums[numerator], sums[denominator]).mean(axis=-1)

    return statistic


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Array:
    """Element-wise quotient, NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)


def bootstrap_mean(
    values: ArrayLike,
    *,
    groups: Sequence[Any] | None = None,
    clusters: Sequence[Any] | None = None,
    resamples: int = RESAMPLES,
    seed: int | np.random.Generator = 0,
    ci: str = "percentile",
) -> Estimate:
    """The mean of [I] values, over groups unweighted, with its interval."""
    values = np.asarray(values, float)
    plan = design(len(values), groups=groups, clusters=clusters)
    draws = draw({"x": values}, plan, resamples=resamples, seed=seed, jackknife=ci == "bca")
    return estimate(draws, mean_over_groups("x"), ci=ci)


def bootstrap_difference(first: ArrayLike, second: ArrayLike, **options: Any) -> Estimate:
    """Mean of ``first - second``, paired by item; options as for :func:`bootstrap_mean`."""
    return bootstrap_mean(np.asarray(first, float) - np.asarray(second, float), **options)
