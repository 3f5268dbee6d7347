import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from kdscope.stats.multiplicity import adjust, write_p


@pytest.mark.parametrize(("method", "theirs"), [("holm", "holm"), ("bh", "fdr_bh")])
def test_adjustment_equals_statsmodels(method, theirs):
    p = np.random.default_rng(1).uniform(size=40) ** 3
    assert adjust(list(p), method) == pytest.approx(list(multipletests(p, method=theirs)[1]))


def test_what_was_not_tested_stays_absent_and_does_not_count():
    assert adjust([0.01, None, 0.04]) == pytest.approx([0.02, None, 0.04])
    assert adjust([None]) == [None]


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0505, ".051"), (0.0004, "< .001"), (0.001, ".001"), (1.0, "1.000"), (None, "–")],
)
def test_p_is_written_with_three_digits(p, text):
    assert write_p(p) == text
