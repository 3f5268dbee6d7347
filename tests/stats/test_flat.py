"""Where all items are alike, intervals are those of scores, not of resamples that never differ."""

import pytest

from kdscope.stats import flat
from kdscope.stats.paired import score_interval
from kdscope.stats.proportions import wilson
from kdscope.stats.records import Estimate


def alike(value, n=5, p=None):
    return Estimate(value, value, value, p=p, n=n, signature="bootstrap:paired")


def test_what_varies_is_left_as_it_is():
    found = Estimate(0.4, 0.1, 0.7, p=0.3, n=5, signature="bootstrap:paired")
    for same in (flat.share, flat.difference, flat.without):
        assert same(found) is found
    assert flat.beyond_chance(found, 0.6, 0.2, 5) is found
    assert flat.equivalence(found, 0.02) is None


def test_a_share_of_all():
    assert flat.share(alike(1.0)) == wilson(5, 5)
    assert flat.share(alike(0.0), 7) == wilson(0, 7)


def test_a_difference_without_a_discordant_item():
    found = flat.difference(alike(0.0, p=1.0))
    assert (found.low, found.high) == score_interval(0, 0, 5)
    assert found.high == pytest.approx(0.434, abs=1e-3)  # not 0
    assert found.p == 1
    assert flat.difference(alike(0.0), 50).high == pytest.approx(0.071, abs=1e-3)


def test_a_difference_on_every_item_is_not_certain_either():
    found = flat.difference(alike(-1.0, p=2e-4))
    assert (found.low, found.high) == (-1, pytest.approx(-0.131, abs=1e-3))
    assert found.p == pytest.approx(2 / 32)  # McNemar's exact


def test_kappa_of_all_alike_is_as_uncertain_as_the_agreement():
    found = flat.beyond_chance(alike(1.0), 1.0, 0.36, 5)
    assert (found.low, found.high) == (pytest.approx((wilson(5, 5).low - 0.36) / 0.64), 1)
    none = flat.beyond_chance(alike(-0.25), 0.0, 0.2, 5)
    assert none.low == pytest.approx(-0.25)
    assert none.high == pytest.approx((wilson(0, 5).high - 0.2) / 0.8)


def test_five_equal_answers_do_not_show_equivalence():
    assert flat.equivalence(alike(0.0), 0.02).p == pytest.approx(0.98**5)
    assert flat.equivalence(alike(0.0, 200), 0.02).p < 0.05
    assert flat.equivalence(alike(1.0), 0.02).p == 1


def test_other_measures_have_no_interval_then():
    found = flat.without(alike(0.0))
    assert (found.low, found.high) == (None, None)
    assert "resamples-never-differ" in found.signature
