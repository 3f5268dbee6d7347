import numpy as np
import pytest
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats.correlation import partial_rho, partial_spearman, slope
from kdscope.stats.spread import pooled_sd

X = [0.0, 0.3, -0.27, -0.89, -0.45, -0.99, 0.06, 1.34, -0.49, -0.62]
X += [0.49, 0.36, 0.11, -0.93, -0.03, 0.7, -1.34, -0.46, -1.9, -1.29]
Y = [-1.73, 0.12, -2.77, -0.54, 1.07, -2.73, -1.6, 0.92, -1.18, 1.49]
Y += [-0.28, -1.32, -0.8, -1.16, 0.84, 0.57, -1.44, 1.09, -1.04, -2.08]
Z = [0.11, 0.06, -1.23, 0.08, 1.36, -1.55, 0.86, 0.12, -0.64, 2.0]
Z += [0.76, -1.2, 0.07, 0.58, -0.19, 0.68, -0.07, 0.67, 1.44, -0.68]


def test_partial_spearman_equals_pingouin():
    """Reference: pingouin 0.7.0, partial_corr(method="spearman")."""
    found = partial_spearman(X, Y, Z)
    assert found.estimate == pytest.approx(0.310433, abs=1e-6)
    assert found.p == pytest.approx(0.19583, abs=1e-5)
    assert found.n == 20


def test_partial_rho_takes_many_orders_at_once():
    rng = np.random.default_rng(0)
    orders = np.stack([rng.permutation(X) for _ in range(4)])
    one_by_one = [float(partial_rho(order, Y, Z)) for order in orders]
    assert partial_rho(orders, Y, Z) == pytest.approx(one_by_one)


def test_holding_a_constant_is_plain_spearman():
    plain = stats.spearmanr(X, Y).statistic
    assert float(partial_rho(X, Y, np.zeros(20))) == pytest.approx(plain)


def test_what_is_held_may_not_explain_a_variable_wholly():
    with pytest.raises(NotEstimableError, match="function of the one held"):
        partial_spearman(X, Y, np.array(X) * 3)


def test_slope_is_linregress():
    found, expected = slope(X, Y), stats.linregress(X, Y)
    assert found.estimate == pytest.approx(expected.slope)
    assert found.p == pytest.approx(expected.pvalue)


def test_slope_within_groups_ignores_what_differs_between_them():
    x, groups = [1, 2, 3, 11, 12, 13], ["a"] * 3 + ["b"] * 3
    y = [1.0, 2.1, 2.9, -50.0, -49.1, -47.9]
    assert slope(x, y, within=groups).estimate == pytest.approx(1.0, abs=0.05)
    assert slope(x, y).estimate < 0
    with pytest.raises(NotEstimableError, match="degrees of freedom"):
        slope([1, 1, 2, 2], [1, 2, 3, 4], within=["a", "a", "b", "b"])


def test_pooled_sd_pools_squares_over_groups():
    found = pooled_sd([[1, 3], [10, 14], [5]])
    assert found.estimate == pytest.approx(np.sqrt((2 + 8) / 2))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high
    with pytest.raises(NotEstimableError, match="spread"):
        pooled_sd([[1], [2]])
