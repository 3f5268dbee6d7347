"""Choosing temperature or checkpoint on validation, and charging the test score for the choice."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kdscope.errors import NotEstimableError
from kdscope.stats.bootstrap import RESAMPLES, design, draw, generator, interval, ratio
from kdscope.stats.records import Estimate


class Selected(NamedTuple):
    """A choice made on validation items and judged on test items.

    Attributes:
        chosen: place of the candidate that is best on validation (the first of equals).
        test: its test score, the interval covering test items and the choice.
        stability: share of resamples in which the same candidate is chosen.
        optimism: how much higher the score of the candidate that is best on test would look, mean
            over resamples of the test items of the gain of choosing on them.
    """

    chosen: int
    test: Estimate
    stability: float
    optimism: float


def select_on_validation(
    validation: ArrayLike,
    test: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int | np.random.Generator = 0,
) -> Selected:
    """Choose among C candidates on validation items; judge on test items by a nested bootstrap.

    In each resample validation items are drawn and the choice is made again; test items are drawn
    independently and the newly chosen candidate is scored on them. So the interval is charged for
    the chance that other validation items had chosen another candidate. It covers the true score of
    the chosen candidate 93 to 97 % of the time where the choice is clear, and more (up to 99.8 %,
    simulated) where candidates are equally good: it is charged for a choice that costs nothing.

    Args:
        validation: [C, Iv] scores per item.
        test: [C, It] scores per item.
        resamples: R.
        seed: of the resamples; 0 is a seed.

    Raises:
        NotEstimableError: no candidate, no item, or another number of candidates on test.
    """
    first, second = np.asarray(validation, float), np.asarray(test, float)
    if (
        first.ndim != 2
        or second.ndim != 2
        or len(first) != len(second)
        or not first.size * second.size
    ):
        raise NotEstimableError(
            f"validation {first.shape} and test {second.shape} must be candidates x items "
            "with the same candidates"
        )
    rng = generator(seed)
    (on_validation, drawn_validation), (on_test, drawn_test) = (
        _means(scores, resamples, rng) for scores in (first, second)
    )
    chosen, choices = int(on_validation.argmax()), drawn_validation.argmax(axis=0)
    scored = drawn_test[choices, np.arange(resamples)]
    low, high = interval(scored)
    optimism = float((drawn_test.max(axis=0) - on_test[drawn_test.argmax(axis=0)]).mean())
    named = str(seed) if isinstance(seed, int | np.integer) else "generator"
    signature = f"selection:validation|bootstrap:nested|R:{resamples}|seed:{named}|ci:percentile95"
    estimate = Estimate(float(on_test[chosen]), low, high, n=second.shape[1], signature=signature)
    return Selected(chosen, estimate, float(np.mean(choices == chosen)), optimism)


def _means(
    scores: np.ndarray, resamples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each candidate on the data [C] and in each resample of the items [C, R]."""
    columns = {str(c): row for c, row in enumerate(scores)}
    draws = draw(columns, design(scores.shape[1]), resamples=resamples, seed=rng)
    drawn = np.stack([draws.apply(ratio(name))[1] for name in columns])
    return scores.mean(axis=1), drawn
