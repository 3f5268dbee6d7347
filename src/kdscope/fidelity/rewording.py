"""Consistency: does a system that solves a problem solve its rewordings too, as SVAMP makes them?"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kdscope.fidelity.levels import Level, Run
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array, Design, Statistic, Sums, divide

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def wording_families(questions: Sequence[str], *, least: float = 0.6) -> list[int]:
    """[I] families of questions that are rewordings of each other, as SVAMP makes them.

    Two questions are of one family if at least ``least`` of their distinct words (numbers masked)
    are shared; families are the connected groups. Compares all pairs that share a rare word.
    """
    words = [frozenset(_NUMBER.sub("#", q.lower()).replace(".", " ").split()) for q in questions]
    counts: dict[str, int] = {}
    for own in words:
        for word in own:
            counts[word] = counts.get(word, 0) + 1
    parent = list(range(len(questions)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    holders: dict[str, list[int]] = {}
    for i, own in enumerate(words):
        # Questions that share 60 % of their words share one of their rarest; five of them find it.
        for word in sorted(own, key=lambda w: (counts[w], w))[: max(5, len(own) // 2)]:
            for j in holders.setdefault(word, []):
                if root(i) != root(j) and len(own & words[j]) >= least * len(own | words[j]):
                    parent[root(i)] = root(j)
            holders[word].append(i)
    return [root(i) for i in range(len(questions))]


class Families(NamedTuple):
    """Items that are rewordings of each other.

    Attributes:
        items: [J] places of the items that have a rewording.
        family: [J] family of each, in 0..F-1.
        plan: the families, resampled within the tasks of the study.
    """

    items: NDArray[np.intp]
    family: NDArray[np.intp]
    plan: Design


def find_families(questions: Sequence[str | None], tasks: Sequence[str]) -> Families | None:
    """Families of two or more rewordings within each task; None if there are none.

    Args:
        questions: [I] questions; items without one belong to no family.
        tasks: [I] task of each item.
    """
    label = np.full(len(questions), -1)
    for task in dict.fromkeys(tasks):
        places = [i for i, q in enumerate(questions) if q and tasks[i] == task]
        for place, family in zip(
            places, wording_families([str(questions[i]) for i in places]), strict=True
        ):
            label[place] = places[family]
    names, counts = np.unique(label[label >= 0], return_counts=True)
    kept = names[counts > 1]
    if not len(kept):
        return None
    items = np.flatnonzero(np.isin(label, kept))
    family = np.searchsorted(kept, label[items])
    plan = bootstrap.design(len(kept), groups=[tasks[i] for i in kept])
    return Families(items, family, plan)


def consistency_columns(families: Families, right: ArrayLike) -> dict[str, Array]:
    """Numbers per family for :data:`CONSISTENCY`.

    Args:
        families: from :func:`find_families`.
        right: [I] correctness of all items.
    """
    flags = np.asarray(right, float)[families.items]
    size, solved = (
        np.bincount(families.family, weights) for weights in (np.ones(len(flags)), flags)
    )
    failed = size - solved
    alike = (solved * (solved - 1) + failed * (failed - 1)) / (size * (size - 1))
    return {"alike": alike, "solved": solved / size}


def _by_chance(sums: Sums) -> Array:
    """Two items answered independently with the mean accuracy: a^2 + (1 - a)^2."""
    a = divide(sums["solved"].sum(axis=-1), sums["n"].sum(axis=-1))
    return a**2 + (1 - a) ** 2


CONSISTENCY: Mapping[str, Statistic] = {
    "consistency_under_rewording": bootstrap.ratio("alike"),
    "consistency_by_chance": _by_chance,
}
"""Share of pairs of rewordings that are both right or both wrong, families weighing the same."""


def consistency(families: Families, right: ArrayLike, name: str, **options: Any) -> Any:
    """One measure of :data:`CONSISTENCY` with its interval over families."""
    draws = bootstrap.draw(consistency_columns(families, right), families.plan, **options)
    return bootstrap.estimate(draws, CONSISTENCY[name])


def add_consistency(
    runs: Sequence[Run], families: Families | None, plan: Design, *, resamples: int, seed: int
) -> None:
    """Fill the levels of :data:`CONSISTENCY` of the runs that were graded on every family's items."""
    graded = [run for run in runs if families and run.columns["graded_run"][families.items].all()]
    if not families or not graded:
        return
    columns = {
        f"{i}\0{name}": values
        for i, run in enumerate(graded)
        for name, values in consistency_columns(families, run.columns["right"]).items()
    }
    columns |= {f"{i}\0n": np.ones(len(families.plan.group)) for i in range(len(graded))}
    draws = bootstrap.draw(columns, families.plan, resamples=resamples, seed=seed)
    places = [plan.labels.index(task) for task in families.plan.labels]
    counts = np.zeros(len(plan.labels))
    counts[places] = np.bincount(families.plan.group, minlength=len(places))
    for i, run in enumerate(graded):
        for name, statistic in CONSISTENCY.items():
            point, drawn = draws.by_group(statistic, f"{i}\0")
            points = np.full(len(counts), np.nan)
            points[places] = point
            wide = np.full((len(drawn), len(counts)), np.nan)
            wide[:, places] = drawn
            run.levels["", "", name] = Level(points, wide, counts)
