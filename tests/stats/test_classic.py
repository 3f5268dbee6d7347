import numpy as np
import pytest
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats.classic import mean_t, one_sided_t, one_way_anova, paired_t, spearman

X = [3.1, -0.4, 5.6, 2.2, 0.9, 4.8]


def test_one_sided_t_is_scipys_with_the_two_sided_interval():
    found = one_sided_t(X)
    expected = stats.ttest_1samp(X, 0, alternative="greater")
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    interval = stats.ttest_1samp(X, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.n == 6


def test_paired_t_is_the_t_of_the_differences():
    found = paired_t(X, np.zeros(6))
    assert found[:6] == pytest.approx(mean_t(X)[:6])
    assert "paired" in found.signature


def test_one_way_anova_reports_the_largest_difference_of_means():
    groups = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [7.0, 8.0, 10.0]]
    found = one_way_anova(*groups)
    expected = stats.f_oneway(*groups)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.estimate == pytest.approx(25 / 3 - 2)
    assert found.low is None
    assert found.n == 9


def test_spearman_is_scipys_and_its_interval_holds_the_estimate():
    rng = np.random.default_rng(0)
    a = rng.normal(size=20)
    b = a + rng.normal(size=20)
    found = spearman(a, b)
    expected = stats.spearmanr(a, b)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high


def test_spearman_of_few_pairs_has_no_interval():
    assert spearman(range(9), [1, 0, 2, 3, 4, 5, 6, 7, 8])[1:3] == (None, None)


def test_ranks_that_agree_wholly_bound_spearman_from_below():
    found = spearman(range(12), range(12))
    assert found.low is not None
    assert found.high == 1
    assert 0.5 < found.low < 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_t([1.0]), "1 values"),
        (lambda: mean_t([2.0, 2.0]), "constant"),
        (lambda: mean_t([1.0, float("nan")]), "nan at position 1"),
        (lambda: one_way_anova([1.0, 2.0]), "two groups"),
        (lambda: spearman([1, 2, 3], [1, 2]), "at least 3"),
        (lambda: spearman([1, 2, 3], [5, 5, 5]), "constant"),
        (lambda: paired_t([1.0, 2.0], [1.0, 2.0, 3.0]), "one length"),
    ],
)
def test_what_cannot_be_estimated_says_why(call, words):
    with pytest.raises(NotEstimableError, match=words):
        call()
