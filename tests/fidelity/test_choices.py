import numpy as np
import pandas as pd
import pytest
from lmsim.metrics import CAPA
from scipy import special
from sklearn.metrics import log_loss

from kdscope.errors import NotEstimableError, TableError
from kdscope.fidelity import calibration
from kdscope.fidelity.choices import align, option_measure, read_choices


def choices(scores, gold, task="arc_c"):
    return pd.DataFrame(
        [
            {"task": task, "item": str(i), "option": "ABCDE"[k], "logprob": s, "logprob_per_byte": s, "gold": gold[i] == k}
            for i, own in enumerate(scores)
            for k, s in enumerate(own)
        ]
    )  # fmt: skip


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, 80)
    sizes = rng.integers(3, 6, 80)
    first = [rng.normal(0, 1, k) for k in sizes]
    second = [s + rng.normal(0, 0.7, len(s)) for s in first]
    for scores in (first, second):
        for own, g in zip(scores, gold, strict=True):
            own[g] += 1
    return first, second, gold


def test_capa_equals_lm_sim(pair):
    first, second, gold = pair
    ours = align(read_choices(choices(first, gold)), read_choices(choices(second, gold)[::-1]))
    theirs = CAPA().compute_k(
        [special.softmax(s) for s in first], [special.softmax(s) for s in second], list(gold)
    )
    assert option_measure("capa", *ours) == pytest.approx(theirs)


def test_a_system_equals_itself(pair):
    own = read_choices(choices(pair[0], pair[2]))
    assert option_measure("option_kl", own, own) == pytest.approx(0)
    assert option_measure("option_jsd", own, own) == pytest.approx(0)
    assert option_measure("option_agreement", own, own) == 1
    sure = read_choices(choices([[0.0, -800.0], [-800.0, 0.0]], [0, 0]))
    assert option_measure("capa", sure, sure) == pytest.approx(1)


def test_confidence_is_correlated_as_numpy_does(pair):
    first, second, gold = pair
    ours = align(read_choices(choices(first, gold)), read_choices(choices(second, gold)))
    sure = [[special.softmax(s).max() for s in own] for own in (first, second)]
    found = option_measure("confidence_pearson", *ours)
    assert found == pytest.approx(np.corrcoef(*sure)[0, 1])
    assert option_measure("confidence_pearson", ours[0], ours[0]) == pytest.approx(1)
    flat = read_choices(choices([[1.0, 0.0]] * 7, [0] * 7))
    assert np.isnan(option_measure("confidence_pearson", flat, flat))


def test_only_shared_items_are_compared(pair):
    first, second, gold = pair
    a, b = align(read_choices(choices(first, gold)), read_choices(choices(second[:10], gold)))
    assert a.keys == b.keys
    assert len(a.keys) == 10


def test_impossible_choices_are_refused(pair):
    rows = choices(pair[0], pair[2])
    with pytest.raises(TableError, match="scored twice"):
        read_choices(pd.concat([rows, rows]))
    with pytest.raises(TableError, match="more than one right"):
        read_choices(rows.assign(gold=True))
    with pytest.raises(TableError, match="another number of options"):
        align(read_choices(rows), read_choices(rows[rows["option"] != "A"]))


@pytest.fixture
def scored():
    rng = np.random.default_rng(1)
    p = special.softmax(rng.normal(0, 1.5, (4000, 4)), axis=1)
    gold = np.array([rng.choice(4, p=row) for row in p])
    return p, gold


def test_nll_and_brier(scored):
    p, gold = scored
    assert calibration.nll(p, gold, resamples=50).estimate == pytest.approx(log_loss(gold, p))
    onehot = np.eye(4)[gold]
    assert calibration.brier(p, gold, resamples=50).estimate == pytest.approx(
        ((p - onehot) ** 2).sum(1).mean()
    )


def test_calibrated_probabilities_have_a_small_error(scored):
    p, gold = scored
    good = calibration.ece(p, gold, resamples=50)
    sharpened = p**3 / (p**3).sum(1, keepdims=True)
    bad = calibration.ece(sharpened, gold, resamples=50)
    assert good.estimate < 0.03
    assert bad.low > 0.1
    assert calibration.ece(
        sharpened, gold, equal_mass=True, resamples=50
    ).estimate == pytest.approx(bad.estimate, abs=0.03)


def test_ece_by_hand():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.6, 0.4]])
    bins = calibration.reliability(p, [0, 1, 0, 1], bins=2)
    assert bins == [(pytest.approx(0.725), 0.5, 4)]
    assert calibration.ece(p, [0, 1, 0, 1], bins=2, resamples=10).estimate == pytest.approx(0.225)


def test_risk_falls_where_confidence_means_something(scored):
    p, gold = scored
    curve = calibration.risk_coverage(p, gold)
    assert curve[-1].coverage == 1
    assert curve[-1].risk == pytest.approx(np.mean(p.argmax(1) != gold))
    assert calibration.aurc(p, gold) < curve[-1].risk
    assert calibration.aurc(np.full((4, 2), 0.5), [0, 0, 1, 1]) == 0.5


def test_confidence_is_inherited_or_not(scored):
    p, _ = scored
    assert calibration.confidence_correlation(p, p).estimate == pytest.approx(1)
    rng = np.random.default_rng(0)
    other = calibration.confidence_correlation(p, rng.permutation(p))
    assert other.low < 0 < other.high
    with pytest.raises(NotEstimableError, match="ten items"):
        calibration.confidence_correlation(p[:5], p[:5])
