import numpy as np
import pytest
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats import effect, power
from kdscope.stats.paired import mcnemar_p


def test_dz_inverts_the_noncentral_t():
    values = np.random.default_rng(0).normal(0.5, 1, 20)
    found = effect.cohen_dz(values)
    assert found.estimate == pytest.approx(values.mean() / values.std(ddof=1))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    t = found.statistic
    assert stats.nct.cdf(t, 19, found.low * np.sqrt(20)) == pytest.approx(0.975, abs=1e-6)
    assert stats.nct.cdf(t, 19, found.high * np.sqrt(20)) == pytest.approx(0.025, abs=1e-6)
    with pytest.raises(NotEstimableError):
        effect.cohen_dz([1.0, 1.0])


def test_items_needed_and_back():
    items = power.items_needed(0.01, 0.2)
    assert power.smallest_difference(items, 0.2) == pytest.approx(0.01, rel=1e-3)
    assert items == pytest.approx(15_690, rel=0.01)
    with pytest.raises(NotEstimableError, match="discordant"):
        power.items_needed(0.3, 0.2)


def test_more_seeds_for_smaller_differences():
    assert power.seeds_needed(0.01, 0.02) > power.seeds_needed(0.03, 0.02) >= 3
    with pytest.raises(NotEstimableError, match="more items"):
        power.seeds_needed(0.01, 0.02, item_se=0.01)
    found = power.needed(0.01, 0.2, 0.01)
    assert power.what_it_takes(0.01, found) == (
        f"to see 1 point you need {found.items:,} items and {found.seeds} seeds"
    )
    assert power.needed(0.01, 0.2, None) == (power.items_needed(0.01, 0.2), None)


def test_the_number_of_seeds_is_the_smallest_that_does():
    for sd, item_se in ((0.02, 0.0), (0.02, 0.003), (0.2, 0.002)):
        seeds = power.seeds_needed(0.01, sd, item_se)

        def short(k, sd=sd, item_se=item_se):
            between = sd**2 / k
            df = (k - 1) * ((between + item_se**2) / between) ** 2
            error = np.sqrt(between + item_se**2)
            return 0.01 / error < stats.t.ppf(0.975, df) + stats.norm.ppf(0.8)

        assert not short(seeds)
        assert short(seeds - 1)


@pytest.mark.slow
def test_the_power_is_what_it_says():
    rng, items = np.random.default_rng(0), power.items_needed(0.05, 0.2)
    seen = 0
    for _ in range(1000):
        kinds = rng.multinomial(items, [0.125, 0.075, 0.8])
        seen += mcnemar_p(int(kinds[0]), int(kinds[1])) < 0.05
    assert seen / 1000 == pytest.approx(0.79, abs=0.04)
