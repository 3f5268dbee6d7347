"""Probability of improvement and score profiles: identities, and a case done by hand."""

import numpy as np
import pytest
from scipy import stats

from kdscope.stats.runs import probability_of_improvement, profile


def test_by_hand() -> None:
    found = probability_of_improvement([([3, 1], [2, 1]), ([5], [4])])
    assert found.estimate == pytest.approx(((1 + 1 + 0 + 0.5) / 4 + 1) / 2)
    assert found.low <= found.estimate <= found.high


def test_extremes_and_symmetry() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 5, 4))
    pairs = list(zip(a, b, strict=True))
    forth = probability_of_improvement(pairs)
    back = probability_of_improvement([(y, x) for x, y in pairs])
    assert forth.estimate == pytest.approx(1 - back.estimate)
    assert probability_of_improvement([([2, 3], [0, 1])])[:3] == (1.0, 1.0, 1.0)
    alone = probability_of_improvement([([1], [1])])
    assert alone[:3] == (0.5, None, None)
    assert alone.signature.endswith("|ci:none")


def test_one_block_is_the_u_statistic() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, 12).astype(float), rng.integers(0, 7, 10).astype(float)
    found = probability_of_improvement([(a, b)], resamples=500)
    assert found.estimate == pytest.approx(stats.mannwhitneyu(a, b).statistic / 120)
    assert found.low < found.estimate < found.high


def test_profile_of_one_block_is_wilsons_and_unlike_blocks_are_narrower() -> None:
    runs = np.arange(20.0)
    (extreme,) = profile([runs], [-1.0])
    expected = stats.binomtest(20, 20).proportion_ci(method="wilson")
    assert extreme[:3] == pytest.approx((1.0, expected.low, 1.0))
    (mixed,) = profile([runs, runs], [9.5])
    (apart,) = profile([runs + 50, runs - 50], [9.5])
    assert mixed.estimate == apart.estimate == 0.5
    assert apart.high - apart.low < mixed.high - mixed.low


def test_profile_falls_from_one_to_zero() -> None:
    found = profile([[0.2, 0.4], [0.6]], [0.0, 0.3, 0.5, 0.9])
    assert [e.estimate for e in found] == pytest.approx([1.0, 0.75, 0.5, 0.0])
    assert all(e.low <= e.estimate <= e.high for e in found)


def test_seed_zero_is_a_seed() -> None:
    blocks = [(np.arange(5.0), np.arange(5.0) + 0.5)]
    assert probability_of_improvement(blocks, seed=0) == probability_of_improvement(blocks, seed=0)
