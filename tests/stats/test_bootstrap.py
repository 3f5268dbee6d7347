import numpy as np
import pytest
from scipy import stats

from kdscope.stats import bootstrap as engine
from kdscope.stats.two_level import bootstrap_two_level, standard_errors


def test_matches_scipy_percentile_and_bca():
    rng = np.random.default_rng(3)
    values = rng.exponential(size=60)
    for ours, theirs in (("percentile", "percentile"), ("bca", "BCa")):
        mine = engine.bootstrap_mean(values, resamples=20_000, seed=1, ci=ours)
        other = stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method=theirs, rng=np.random.default_rng(2)
        ).confidence_interval
        assert mine.estimate == pytest.approx(values.mean())
        assert (mine.low, mine.high) == pytest.approx((other.low, other.high), abs=0.012)


def test_zero_is_a_seed():
    values = np.arange(30.0)
    first, again = (engine.bootstrap_mean(values, seed=0, resamples=200) for _ in range(2))
    assert first == again
    assert first.low != engine.bootstrap_mean(values, seed=1, resamples=200).low
    assert "seed:0" in first.signature


def test_other_columns_do_not_change_the_resamples():
    plan, x = engine.design(50), np.random.default_rng(0).random(50)
    alone = engine.draw({"x": x}, plan, resamples=100, seed=5)
    beside = engine.draw({"y": x > 0.5, "x": x}, plan, resamples=100, seed=5)
    assert engine.estimate(alone, engine.ratio("x")) == engine.estimate(beside, engine.ratio("x"))


def test_clusters_are_drawn_whole():
    values = np.repeat(np.random.default_rng(0).integers(0, 2, 100), 4).astype(float)
    clusters = np.repeat(np.arange(100), 4)
    whole = engine.bootstrap_mean(values, clusters=clusters, seed=0)
    single = engine.bootstrap_mean(values, seed=0)
    assert whole.high - whole.low == pytest.approx(2 * (single.high - single.low), rel=0.1)
    assert "unit:cluster" in whole.signature


def test_groups_keep_their_size_and_weigh_the_same():
    values = np.array([0.0] * 90 + [1.0] * 10)
    tasks = ["easy"] * 90 + ["hard"] * 10
    assert engine.bootstrap_mean(values, groups=tasks, resamples=50)[:3] == (0.5, 0.5, 0.5)


def test_a_cluster_that_spans_tasks_stays_whole():
    tasks, clusters = ["a"] * 3 + ["b"] * 3, [0, 1, 2, 2, 3, 4]
    plan = engine.design(6, groups=tasks, clusters=clusters)
    assert sorted(block.units for block in plan.blocks) == [1, 2, 2]
    draws = engine.draw({"x": [0, 0, 1, 1, 0, 0]}, plan, resamples=100, seed=0)
    assert (draws.drawn[0, 1] == draws.drawn[1, 1]).all()


def test_leaving_one_out_is_leaving_one_out():
    x = np.random.default_rng(0).random(12)
    plan = engine.design(12, groups=[0] * 5 + [1] * 7)
    draws = engine.draw({"x": x}, plan, resamples=2, jackknife=True)
    left = draws.jackknife(engine.ratio("x"))
    assert sorted(left) == pytest.approx(sorted(np.delete(x, i).mean() for i in range(12)))


def test_an_undefined_statistic_has_no_interval():
    draws = engine.draw({"none": np.zeros(8)}, engine.design(8), resamples=20)
    result = engine.estimate(draws, engine.ratio("n", "none"))
    assert np.isnan(result.estimate)
    assert result.low is None


def test_undefined_values_are_refused_by_name():
    with pytest.raises(ValueError, match="'x'"):
        engine.draw({"x": [1.0, float("nan")]}, engine.design(2), resamples=2)


def test_one_seed_is_said_to_be_one():
    result = bootstrap_two_level(np.ones((1, 5)), resamples=20)
    assert "seeds:1:items-only" in result.signature


def test_two_level_tends_to_student_where_seeds_dominate():
    means = np.array([0.50, 0.56, 0.53])
    values = np.repeat(means[:, None], 2000, axis=1)
    result = bootstrap_two_level(values, seed=0)
    half = stats.t.ppf(0.975, 2) * means.std(ddof=1) / np.sqrt(3)
    assert (result.high - result.low) / 2 == pytest.approx(half, rel=0.15)


def test_both_standard_errors():
    drawn = np.random.default_rng(0).normal(0.5, 0.02, (4000, 1)) + [[-0.1, 0.0, 0.1]]
    items, seeds = standard_errors([0.4, 0.5, 0.6], drawn)
    assert items == pytest.approx(0.02, rel=0.1)
    assert seeds == pytest.approx(0.1 / np.sqrt(3))
    assert standard_errors([0.4], drawn[:, :1])[1] is None


def test_p_value_agrees_with_the_interval():
    drawn = np.random.default_rng(0).normal(0.3, 0.1, 10_000)
    assert engine.p_value(drawn) == pytest.approx(2 * stats.norm.sf(3), abs=0.002)
    assert engine.p_value(np.full(999, 1.0)) == pytest.approx(0.002)


def _coverage(interval, truth, trials):
    hits = [low <= truth <= high for low, high in (interval(i) for i in range(trials))]
    return np.mean(hits)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "p"), [(100, 0.5), (250, 0.2), (250, 0.9)])
def test_coverage_of_item_intervals(n, p):
    rng = np.random.default_rng(11)

    def one(i):
        return engine.bootstrap_mean(rng.random(n) < p, resamples=1000, seed=i)[1:3]

    assert 0.93 <= _coverage(one, p, 1000) <= 0.975  # discrete: a little above


@pytest.mark.slow
def test_coverage_with_clusters():
    rng = np.random.default_rng(12)

    def one(i):
        shared = rng.beta(1, 1, 80)
        values = rng.random((3, 80)) < shared
        return engine.bootstrap_mean(
            values.T.ravel(), clusters=np.repeat(np.arange(80), 3), resamples=1000, seed=i
        )[1:3]

    assert 0.92 <= _coverage(one, 0.5, 1000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("runs", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_coverage_over_items_and_seeds(runs, spread):
    """Near what it promises where seeds lie far apart, above where they differ by chance only."""
    rng = np.random.default_rng(13)
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(40)
    node_weights = node_weights / node_weights.sum()
    scale = np.sqrt(1 + spread**2)
    truth = float(np.sum(node_weights / (1 + np.exp(-(0.3 + scale * nodes)))))

    def one(i):
        logit = 0.3 + rng.normal(0, 1, 200)[None] + rng.normal(0, spread, runs)[:, None]
        values = rng.random((runs, 200)) < 1 / (1 + np.exp(-logit))
        return bootstrap_two_level(values, resamples=1000, seed=i)[1:3]

    assert 0.89 <= _coverage(one, truth, 400) <= 1.0
