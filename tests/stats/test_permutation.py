import numpy as np
import pytest
from scipy import stats

from kdscope.errors import NotEstimableError
from kdscope.stats.permutation import label_permutation, rank_permutation


def test_rank_permutation_is_scipys_over_pairings():
    x, y = [0.5, 1, 1.5, 3, 3, 7], [6.6, 7.9, 3.5, 4.0, 2.2, -0.1]
    expected = stats.permutation_test(
        (x,), lambda v: stats.spearmanr(v, y).statistic, permutation_type="pairings"
    )
    found = rank_permutation(x, y)
    assert found.estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.p == pytest.approx(expected.pvalue)
    assert "exact:720" in found.signature


def test_labels_move_only_within_their_stratum():
    seen = []

    def watch(labels):
        seen.append(labels)
        return labels @ np.array([1.0, -1.0, 1.0, -1.0])

    found = label_permutation([1, 2, 10, 20], watch, strata=["a", "a", "b", "b"])
    orders = {tuple(row) for block in seen for row in block}
    assert orders == {(1, 2, 10, 20), (2, 1, 10, 20), (1, 2, 20, 10), (2, 1, 20, 10)}
    assert found.p == pytest.approx(0.5)


def test_strata_may_be_interleaved():
    found = label_permutation(
        [1, 10, 2, 20], lambda v: v @ np.array([-1.0, 0, 1, 0]), strata=["a", "b", "a", "b"]
    )
    assert found.estimate == 1.0
    assert found.p == 1.0


def test_drawn_orders_depend_on_the_generator_alone():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)
    first = rank_permutation(x, y, np.random.default_rng(0))
    assert first == rank_permutation(x, y, np.random.default_rng(0))
    assert first.p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.03)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: label_permutation([1, 1], lambda v: v[..., 0]), "constant"),
        (lambda: label_permutation([1, 2], lambda v: v[..., 0], strata=["a", "b"]), "no stratum"),
        (lambda: rank_permutation(range(12), range(12)), "generator"),
        (lambda: label_permutation([1, 2], lambda v: v[..., 0] * np.nan), "not defined"),
    ],
)
def test_what_cannot_be_permuted_says_why(call, words):
    with pytest.raises(NotEstimableError, match=words):
        call()


def test_an_undefined_order_counts_against_the_finding():
    found = label_permutation([1, 2], lambda v: np.where(v[..., 0] == 1, 5.0, np.nan))
    assert found.p == 1.0
