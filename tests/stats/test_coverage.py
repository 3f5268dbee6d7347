"""Every interval of this room covers the truth in 93 to 97 % of simulated samples."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from kdscope.stats.classic import mean_t, paired_t, spearman
from kdscope.stats.correlation import partial_spearman, slope
from kdscope.stats.effect import cohen_dz
from kdscope.stats.equivalence import tost_paired
from kdscope.stats.gee import logistic_gee
from kdscope.stats.mixed import treatment_contrasts
from kdscope.stats.proportions import wilson
from kdscope.stats.runs import probability_of_improvement, profile
from kdscope.stats.selection import select_on_validation
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


def holds(share, rounds=None):
    """93 to 97 %; with few rounds, give or take two standard errors of the simulation."""
    slack = 2 * math.sqrt(0.95 * 0.05 / rounds) if rounds else 0.0
    assert 0.93 - slack <= share <= 0.97 + slack, f"covered {share:.3f}"


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


@pytest.mark.parametrize("n", [10, 11, 33, 80, 300])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.95])
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


@pytest.mark.parametrize(("blocks", "runs"), [(12, 3), (4, 5), (4, 10), (2, 20)])
def test_probability_of_improvement(blocks, runs):
    def draw(rng):
        pairs = rng.normal([[0.5], [0.0]], 1, (blocks, 2, runs))
        return probability_of_improvement([(a, b) for a, b in pairs], resamples=500)

    holds(covered(draw, stats.norm.cdf(0.5 / math.sqrt(2)), rounds=800), 800)


@pytest.mark.parametrize("unlike", [0.0, 0.5, 1.5])
@pytest.mark.parametrize(("blocks", "runs"), [(12, 3), (4, 5), (4, 10)])
def test_profile(blocks, runs, unlike):
    means = unlike * np.linspace(-1, 1, blocks)
    truth = float(stats.norm.sf(0.3 - means).mean())
    holds(covered(lambda r: profile(list(r.normal(means, 1, (runs, blocks)).T), [0.3])[0], truth))


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize(
    ("clusters", "size", "spread"), [(5, 80, 0.5), (12, 40, 0.5), (60, 2, 1.5)]
)
def test_logistic_gee(clusters, size, spread, within):
    """The truth is the marginal log odds ratio of a logistic model with a normal cluster effect."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    chance = (special.expit(np.array([[0.0], [0.7]]) + spread * nodes) @ weights) / weights.sum()
    truth = float(np.diff(special.logit(chance))[0])
    cluster = np.repeat(np.arange(clusters), size)
    x = np.arange(clusters * size) % 2 if within else cluster % 2

    def draw(rng):
        effect = rng.normal(0, spread, clusters)[cluster]
        right = rng.random(len(x)) < special.expit(0.7 * x + effect)
        data = pd.DataFrame({"right": right.astype(float), "x": x.astype(float), "c": cluster})
        return logistic_gee(data, "right", ["x"], "c")[1].estimate

    holds(covered(draw, truth, rounds=400), 400)


@pytest.mark.parametrize("step", [0.0, 0.05, 0.2])
def test_selection_on_validation(step):
    """The truth is the true score of the candidate chosen: never too narrow, exact if it is clear."""
    rng, rounds, hits = np.random.default_rng(20), 800, 0
    truth = 0.4 + step * np.arange(3)
    for _ in range(rounds):
        validation, test = rng.random((2, 3, 200)) < truth[:, None]
        found = select_on_validation(validation, test, resamples=400, seed=rng)
        hits += found.test.low <= truth[found.chosen] <= found.test.high
    if step == 0.2:
        holds(hits / rounds, rounds)
    else:
        assert hits / rounds >= 0.93
