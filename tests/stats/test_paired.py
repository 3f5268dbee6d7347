import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from kdscope.stats import paired


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.random(80) < 0.6, rng.random(80) < 0.5
    table = [[np.sum(first & second), np.sum(first & ~second)], [np.sum(~first & second), 0]]
    assert paired.mcnemar(first, second).p == pytest.approx(
        reference_mcnemar(table, exact=True).pvalue
    )
    assert paired.mcnemar(first, second).estimate == pytest.approx(first.mean() - second.mean())


def test_no_discordant_item_is_no_evidence():
    assert paired.mcnemar([1, 0], [1, 0]).p == 1.0


def test_sign_flip_enumerates_small_samples_like_scipy():
    differences = np.array([0.4, 1.2, -0.3, 0.9, 0.5, 0.0])
    ours = paired.sign_flip(differences)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert ours.p == pytest.approx(theirs.pvalue)
    assert "exact" in ours.signature


def test_six_differences_cannot_go_below_two_in_sixty_four():
    assert paired.sign_flip([1, 2, 3, 4, 5, 6]).p == pytest.approx(2 / 64)


def test_sign_flip_samples_near_the_t_test():
    differences = np.random.default_rng(1).normal(0.15, 1, 300)
    ours = paired.sign_flip(differences, seed=0)
    assert ours.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert ours == paired.sign_flip(differences, seed=0)


def test_clusters_flip_together():
    values = np.repeat(np.random.default_rng(1).normal(0.2, 1, 60), 5)
    clusters = np.repeat(np.arange(60), 5)
    whole = paired.sign_flip(values, clusters=clusters)
    assert whole.p == pytest.approx(paired.sign_flip(values[::5]).p, abs=0.02)
