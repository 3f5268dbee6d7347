import numpy as np
import pytest
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from kdscope.stats import paired
from kdscope.stats.proportions import wilson


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


@pytest.mark.parametrize("n", [1, 5, 40])
def test_score_interval_without_discordant_items_is_as_wide_as_wilsons(n):
    low, high = paired.score_interval(0, 0, n)
    assert high == pytest.approx(wilson(0, n).high)
    assert low == pytest.approx(-high)
    z2 = stats.norm.ppf(0.975) ** 2
    low, high = paired.score_interval(n, 0, n)
    assert (low, high) == (pytest.approx((n - z2) / (n + z2)), 1)


@pytest.mark.parametrize(("gained", "lost", "n"), [(3, 1, 20), (0, 4, 15), (9, 7, 60), (6, 0, 6)])
def test_score_interval_inverts_the_constrained_likelihood(gained, lost, n):
    """At both ends the score statistic, its nuisance fitted numerically, is the normal quantile."""

    def score(difference):
        def unlikely(share):  # of lost; gained has share + difference
            counts = (
                (gained, share + difference),
                (lost, share),
                (n - gained - lost, 1 - 2 * share - difference),
            )
            return -sum(special.xlogy(count, max(p, 0.0)) for count, p in counts)

        least, most = max(0.0, -difference), (1 - difference) / 2
        share = optimize.minimize_scalar(
            unlikely, bounds=(least, most), options={"xatol": 1e-12}, method="bounded"
        ).x
        variance = n * (2 * share + difference - difference**2)
        return (gained - lost - n * difference) / np.sqrt(variance)

    low, high = paired.score_interval(gained, lost, n)
    assert low == -paired.score_interval(lost, gained, n)[1]
    if low > -1:
        assert score(low) == pytest.approx(1.95996, abs=2e-3)
    if high < 1:
        assert score(high) == pytest.approx(-1.95996, abs=2e-3)


@pytest.mark.parametrize("n", [10, 30])
def test_score_interval_covers_in_every_table(n):
    """Exact coverage, summed over all tables, for shares of discordant items from 2 to 60 %."""
    tables = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    ends = np.array([paired.score_interval(b, c, n) for b, c in tables])
    for discordant in (0.02, 0.1, 0.3, 0.6):
        for better in (0.5, 0.7, 0.9, 1.0):
            p = [discordant * better, discordant * (1 - better)]
            truth = p[0] - p[1]
            chance = stats.multinomial.pmf(
                [[b, c, n - b - c] for b, c in tables], n, [*p, 1 - sum(p)]
            )
            inside = (ends[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= ends[:, 1])
            assert 0.92 <= chance[inside].sum() <= 1 + 1e-9, (discordant, better)


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
