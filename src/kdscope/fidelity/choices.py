"""Scored options: their probabilities, CAPA, and what two systems share there."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from kdscope.errors import TableError
from kdscope.stats.bootstrap import Array, Statistic, Sums, divide, ratio

_CONSTANT = 1e-20  # product of two variances below which a confidence does not vary but by rounding


class Scored(NamedTuple):
    """Option probabilities of one system.

    Attributes:
        keys: [I] (task, item).
        p: [I, K] probabilities, 0 beyond an item's options.
        gold: [I] place of the right option, -1 if unknown.
        options: [I] number of options.
    """

    keys: list[tuple[str, str]]
    p: Array
    gold: NDArray[np.intp]
    options: NDArray[np.intp]


def read_choices(rows: pd.DataFrame, *, score: str = "logprob") -> Scored:
    """Probabilities over each item's options: the softmax of their scores.

    Args:
        rows: rows of ``choices`` of one system.
        score: ``logprob`` (summed) or ``logprob_per_byte`` (does not favour short options).

    Raises:
        TableError: an option stands twice, or an item has more than one right option.
    """
    rows = rows.sort_values(["task", "item", "option"], kind="stable")
    if rows.duplicated(["task", "item", "option"]).any():
        again = rows[rows.duplicated(["task", "item", "option"])].iloc[0]
        raise TableError(
            f"option {again['option']!r} of {again['task']}/{again['item']} is scored twice; "
            "give the rows of one system"
        )
    groups = rows.groupby(["task", "item"], sort=False)
    place = groups.cumcount().to_numpy()
    item = groups.ngroup().to_numpy()
    count = int(item.max()) + 1 if len(rows) else 0
    scores = np.full((count, int(place.max()) + 1 if len(rows) else 0), -np.inf)
    scores[item, place] = rows[score].to_numpy(float)
    gold = np.full(count, -1)
    right = rows["gold"].fillna(False).to_numpy(bool)
    if len(np.unique(item[right])) < right.sum():
        raise TableError("an item of the table choices has more than one right option")
    gold[item[right]] = place[right]
    keys = [(str(task), str(name)) for task, name in groups.groups]
    options = np.bincount(item, minlength=count)
    return Scored(keys, special.softmax(scores, axis=1) if count else scores, gold, options)


def align(first: Scored, second: Scored) -> tuple[Scored, Scored]:
    """Both systems on the items that both scored, in the first's order.

    Raises:
        TableError: an item has another number of options in the second.
    """
    places = {key: i for i, key in enumerate(second.keys)}
    shared = [(i, places[key]) for i, key in enumerate(first.keys) if key in places]
    mine, theirs = (np.array([pair[side] for pair in shared], np.intp) for side in (0, 1))
    parts = []
    for scored, rows in ((first, mine), (second, theirs)):
        keys = [scored.keys[i] for i in rows]
        parts.append(Scored(keys, scored.p[rows], scored.gold[rows], scored.options[rows]))
    if (parts[0].options != parts[1].options).any():
        bad = parts[0].keys[int(np.flatnonzero(parts[0].options != parts[1].options)[0])]
        raise TableError(f"{bad[0]}/{bad[1]} has another number of options in the second system")
    width = max(parts[0].p.shape[1], parts[1].p.shape[1])
    padded = [np.pad(part.p, ((0, 0), (0, width - part.p.shape[1]))) for part in parts]
    return parts[0]._replace(p=padded[0]), parts[1]._replace(p=padded[1])


# -- CAPA and distributions over options -----------------------------------------------------------


def option_columns(
    p: ArrayLike, q: ArrayLike, gold: ArrayLike, options: ArrayLike
) -> dict[str, Array]:
    """Numbers per item for :data:`OPTION_MEASURES`.

    Args:
        p: [I, K] option probabilities of the reference.
        q: [I, K] option probabilities of the other.
        gold: [I] place of the right option; -1 items drop out of CAPA.
        options: [I] number of options.
    """
    p, q = np.asarray(p, float), np.asarray(q, float)
    gold, options = np.asarray(gold), np.asarray(options)
    known = (gold >= 0) & (options > 1)
    rows = np.arange(len(p))
    middle = (p + q) / 2
    sure, other = p.max(axis=1), q.max(axis=1)
    kl, reverse = special.rel_entr(p, q).sum(axis=1), special.rel_entr(q, p).sum(axis=1)
    jsd = (special.rel_entr(p, middle) + special.rel_entr(q, middle)).sum(axis=1) / 2
    return {
        "scored_options": np.ones(len(p)),
        "graded_options": known.astype(float),
        "overlap": np.where(known, (p * q).sum(axis=1), 0.0),
        "p_gold": np.where(known, p[rows, np.maximum(gold, 0)], 0.0),
        "q_gold": np.where(known, q[rows, np.maximum(gold, 0)], 0.0),
        "chance_options": np.where(known, 1 / np.maximum(options - 1, 1), 0.0),
        "option_agreement": (p.argmax(axis=1) == q.argmax(axis=1)).astype(float),
        "option_kl": np.minimum(kl, 1e6),
        "option_reverse_kl": np.minimum(reverse, 1e6),
        "option_jsd": jsd,
        "sure": sure,
        "sure_other": other,
        "sure_squared": sure**2,
        "sure_other_squared": other**2,
        "sure_both": sure * other,
    }


def capa(sums: Sums) -> Array:
    """Chance-adjusted probabilistic agreement, kappa_p.

    (c_obs - c_exp) / (1 - c_exp), c_obs the mean probability that a draw from each agrees, c_exp
    what two independent systems with these mean probabilities of the right option reach.
    Source: Goel et al. 2025, arXiv:2502.04313, equation 3.
    """
    n = sums["graded_options"].sum(axis=-1)
    observed, p, q, chance = (
        divide(sums[name].sum(axis=-1), n)
        for name in ("overlap", "p_gold", "q_gold", "chance_options")
    )
    expected = p * q + (1 - p) * (1 - q) * chance
    return divide(observed - expected, 1 - expected)


def confidence_pearson(sums: Sums) -> Array:
    """Pearson's correlation of the two systems' confidence, the largest probability of an item.

    NaN where one of them does not vary.
    """
    n = sums["scored_options"].sum(axis=-1)
    names = ("sure", "sure_other", "sure_squared", "sure_other_squared", "sure_both")
    x, y, xx, yy, xy = (divide(sums[name].sum(axis=-1), n) for name in names)
    spread = np.maximum(xx - x**2, 0) * np.maximum(yy - y**2, 0)
    return divide(xy - x * y, np.sqrt(np.where(spread > _CONSTANT, spread, 0.0)))


OPTION_MEASURES: dict[str, Statistic] = {
    "capa": capa,
    "option_agreement": ratio("option_agreement", "scored_options"),
    "option_kl": ratio("option_kl", "scored_options"),
    "option_reverse_kl": ratio("option_reverse_kl", "scored_options"),
    "option_jsd": ratio("option_jsd", "scored_options"),
    "confidence_pearson": confidence_pearson,
}
"""Measures of two systems on option probabilities; divergences in nats."""


def option_measure(name: str, first: Scored, second: Scored) -> float:
    """One measure of two aligned systems."""
    columns = option_columns(first.p, second.p, first.gold, first.options)
    return float(OPTION_MEASURES[name]({k: np.array([v.sum()]) for k, v in columns.items()}))
