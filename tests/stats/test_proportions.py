import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from kdscope.stats.proportions import proportion, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 17), (400, 1319)])
def test_equals_statsmodels(k, n):
    result = wilson(k, n)
    assert (result.low, result.high) == pytest.approx(
        proportion_confint(k, n, method="wilson"), abs=1e-12
    )
    assert result.low <= result.estimate <= result.high


def test_flags():
    assert proportion([True, False]).estimate == 0.5
    assert np.isnan(proportion([]).estimate)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="count must lie"):
        wilson(4, 3)
