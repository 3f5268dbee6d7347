"""Treatments in blocks: Friedman, Nemenyi, the mixed model, equivalence."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from kdscope.errors import NotEstimableError
from kdscope.stats.equivalence import tost_paired
from kdscope.stats.mixed import treatment_contrasts, treatment_effect
from kdscope.stats.ranks import critical_difference, friedman, friedman_permutation, nemenyi


def _table(blocks=9, effect=(0.0, 1.0, 3.0), seed=3):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 4, (blocks, 1)) + np.array(effect) + rng.normal(size=(blocks, 3))


def _long(table):
    names = ["a", "b", "c"]
    return pd.DataFrame(
        [
            {"value": value, "treatment": names[j], "block": f"block {i}"}
            for i, row in enumerate(table)
            for j, value in enumerate(row)
        ]
    )


def test_friedman_is_scipys():
    table = _table()
    found = friedman(table)
    expected = stats.friedmanchisquare(*table.T)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.n == 9


def test_friedmans_permutation_p_is_that_of_all_orders():
    table = np.array([[1.0, 2, 3], [1, 2, 2], [2, 1, 3]])
    orders = [list(itertools.permutations(row)) for row in stats.rankdata(table, axis=1)]
    sums = np.array([np.sum(rows, axis=0) for rows in itertools.product(*orders)])
    observed = stats.rankdata(table, axis=1).sum(axis=0)
    exact = np.mean((sums**2).sum(axis=1) >= (observed**2).sum() - 1e-9)
    found = friedman_permutation(table, np.random.default_rng(0))
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found[:1] + found[4:6] == friedman(table)[:1] + friedman(table)[4:6]
    assert found == friedman_permutation(table, np.random.default_rng(0))


def test_nemenyi_is_that_of_scikit_posthocs():
    posthocs = pytest.importorskip("scikit_posthocs")
    expected = posthocs.posthoc_nemenyi_friedman(_table()).to_numpy()
    found = nemenyi(_table())
    assert [(i, j) for i, j, _ in found] == [(0, 1), (0, 2), (1, 2)]
    for i, j, p in found:
        assert p == pytest.approx(expected[i, j], abs=2e-3)


def test_two_ranks_as_far_apart_as_the_critical_difference_have_p_of_five_percent():
    reach = critical_difference(4, 12)
    q = reach / np.sqrt(4 * 5 / (12 * 12))
    assert stats.studentized_range.sf(q, 4, np.inf) == pytest.approx(0.05, abs=1e-6)
    assert reach == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 12)), rel=1e-3)  # Demsar's table


def test_mixed_contrasts_of_complete_blocks_are_those_of_the_blocked_anova():
    data = _long(_table())
    fit = ols("value ~ C(treatment) + C(block)", data).fit()
    error = np.sqrt(2 * fit.mse_resid / 9)
    for first, second, found in treatment_contrasts(data, "value", "treatment", "block"):
        means = data.groupby("treatment")["value"].mean()
        assert found.estimate == pytest.approx(means[first] - means[second], abs=1e-6)
        half = stats.t.ppf(0.975, fit.df_resid) * error
        assert found.high - found.estimate == pytest.approx(half, rel=1e-3)


def _effect(table):
    return treatment_effect(_long(table), "value", "treatment", "block", np.random.default_rng(0))


@pytest.mark.parametrize(("effect", "seed"), [((0, 0.5, 1), 3), ((0, 0.3, 0.5), 4), ((0, 0, 0), 5)])
def test_mixed_p_of_normal_values_is_near_the_blocked_f_test(effect, seed):
    table = _table(40, effect, seed)
    f = anova_lm(ols("value ~ C(block) + C(treatment)", _long(table)).fit())
    assert _effect(table).p == pytest.approx(f["PR(>F)"]["C(treatment)"], abs=0.02)


def test_mixed_p_is_that_of_all_orders_within_blocks():
    table = _table(3, (0, 0.5, 1))
    orders = [list(itertools.permutations(row - row.mean())) for row in table]
    sums = np.array([np.sum(rows, axis=0) for rows in itertools.product(*orders)])
    observed = (table - table.mean(axis=1, keepdims=True)).sum(axis=0)
    exact = np.mean((sums**2).sum(axis=1) >= (observed**2).sum() - 1e-9)
    assert _effect(table).p == pytest.approx(exact, abs=0.02)


def test_too_few_blocks_say_so():
    with pytest.raises(NotEstimableError, match="3 in 2"):
        friedman(_table(2))
    with pytest.raises(NotEstimableError, match="three blocks"):
        _effect(_table(2))


def test_tost_equals_pingouin():
    """Reference: pingouin 0.7.0, tost(x, y, bound=1, paired=True)."""
    x = [0.0, 0.3, -0.27, -0.89, -0.45, -0.99, 0.06, 1.34, -0.49, -0.62]
    x += [0.49, 0.36, 0.11, -0.93, -0.03, 0.7, -1.34, -0.46, -1.9, -1.29]
    y = [-1.73, 0.12, -2.77, -0.54, 1.07, -2.73, -1.6, 0.92, -1.18, 1.49]
    y += [-0.28, -1.32, -0.8, -1.16, 0.84, 0.57, -1.44, 1.09, -1.04, -2.08]
    found = tost_paired(x, y, 1.0)
    assert found.p == pytest.approx(0.011704, abs=1e-6)
    assert found.low is not None
    assert found.low < found.estimate
    with pytest.raises(NotEstimableError, match="margin"):
        tost_paired(x, y, 0.0)
