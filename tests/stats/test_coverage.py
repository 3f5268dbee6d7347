"""Every interval of this room covers the truth in 93 to 97 % of simulated samples."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from kdscope.stats.classic import mean_t, paired_t, spearman
from kdscope.stats.correlation import partial_spearman, slope
from kdscope.stats.effect import cohen_dz
from kdscope.stats.equivalence import tost_paired
from kdscope.stats.mixed import treatment_contrasts
from kdscope.stats.proportions import wilson
from kdscope.stats.spread import pooled_sd

pytestmark = pytest.mark.slow

ROUNDS = 1_500


def covered(draw, truth, rounds=ROUNDS):
    rng = np.random.default_rng(20)
    hits = 0
    for _ in range(rounds):
        estimate = draw(rng)
        hits += estimate.low is not None and estimate.low <= truth <= estimate.high
    return hits / rounds


def holds(share):
    assert 0.93 <= share <= 0.97, f"covered {share:.3f}"


@pytest.mark.parametrize("n", [6, 11, 33])
def test_mean_t(n):
    holds(covered(lambda rng: mean_t(rng.normal(4, 3, n)), 4.0))


@pytest.mark.parametrize("n", [6, 11])
def test_paired_t_and_tost(n):
    def draw(rng):
        block = rng.normal(0, 10, n)
        return rng.normal(2, 1, n) + block, rng.normal(0, 1, n) + block

    holds(covered(lambda rng: paired_t(*draw(rng)), 2.0))
    holds(covered(lambda rng: tost_paired(*draw(rng), 1.0), 2.0))


@pytest.mark.parametrize("n", [11, 33])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8, 0.9])
def test_spearman(n, rho):
    truth = 6 / math.pi * math.asin(rho / 2)

    def draw(rng):
        a = rng.normal(size=n)
        return spearman(a, rho * a + math.sqrt(1 - rho * rho) * rng.normal(size=n))

    holds(covered(draw, truth))


def test_partial_spearman_of_unrelated_variables():
    def draw(rng):
        z = rng.normal(size=33)
        return partial_spearman(z + rng.normal(size=33), z + rng.normal(size=33), z)

    # Ranks of the residuals' parents keep a trace of z: the true value is 0 up to 0.02.
    holds(covered(draw, 0.0))


def test_slope_over_students_and_within_them():
    size = np.log2([0.5, 1, 1.5, 3, 3, 7])
    holds(covered(lambda rng: slope(size, -1.7 * size + rng.normal(0, 2, 6)), -1.7))
    groups = ["a"] * 3 + ["b"] * 3 + ["c"] * 2
    shift = np.repeat([0.0, 9.0, -4.0], [3, 3, 2])

    def draw(rng):
        x = rng.normal(size=8) + shift
        return slope(x, 0.5 * x + 3 * shift + rng.normal(size=8), within=groups)

    holds(covered(draw, 0.5))


@pytest.mark.parametrize("spread", [0.0, 4.0])
def test_mixed_contrast(spread):
    names = ["a", "b", "c"]

    def draw(rng):
        values = (
            rng.normal(0, spread, (11, 1)) + np.array([0.0, 1.0, 4.0]) + rng.normal(size=(11, 3))
        )
        rows = [
            {"value": values[i, j], "treatment": names[j], "block": i}
            for i in range(11)
            for j in range(3)
        ]
        data = pd.DataFrame(rows)
        return treatment_contrasts(data, "value", "treatment", "block")[1].estimate

    holds(covered(draw, -4.0, rounds=800))


def test_pooled_sd():
    holds(covered(lambda rng: pooled_sd(list(rng.normal(3, 2, (8, 3)))), 2.0))


def test_cohen_dz():
    holds(covered(lambda rng: cohen_dz(rng.normal(0.8, 1, 11)), 0.8))


@pytest.mark.parametrize(("n", "share"), [(60, 0.3), (250, 0.5), (400, 0.9)])
def test_wilson(n, share):
    counts = np.arange(n + 1)
    chance = stats.binom.pmf(counts, n, share)
    inside = [e.low <= share <= e.high for e in (wilson(int(k), n) for k in counts)]
    holds(float(chance[inside].sum()))  # exact: no simulation
