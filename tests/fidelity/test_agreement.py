import numpy as np
import pytest
from lmsim.metrics import EC
from sklearn.metrics import cohen_kappa_score

from kdscope.fidelity.agreement import MEASURES, AnswerBook, columns, measure, same
from kdscope.stats import bootstrap as engine


def answers(book, values, gold=None):
    correct = None if gold is None else [a == g for a, g in zip(values, gold, strict=True)]
    return book.read(values, correct)


@pytest.fixture
def letters():
    rng, book = np.random.default_rng(0), AnswerBook()
    gold = rng.choice(list("ABCD"), 400)
    first = np.where(rng.random(400) < 0.6, gold, rng.choice(list("ABCD"), 400))
    second = np.where(rng.random(400) < 0.5, first, rng.choice(list("ABCD"), 400))
    return answers(book, first, gold), answers(book, second, gold), first, second, gold


def test_numbers_agree_within_the_tolerance():
    book = AnswerBook()
    left = book.read(["4", "4", "9.8", "1000", None, "A", "nan"])
    right = book.read(["4.0", "5", "9.8000000001", "1,000", None, "A", "nan"])
    assert same(left, right).tolist() == [True, False, True, True, False, True, True]


def test_a_system_agrees_with_itself():
    book = AnswerBook()
    one = book.read(["1", "2", None, "7"], [True, False, False, True])
    for name in (
        "agreement",
        "agreement_when_right",
        "agreement_when_wrong",
        "kappa",
        "cohen_kappa",
    ):
        assert measure(name, one, one) == 1.0, name
    assert measure("volume", one, one) == 0.0
    assert np.isnan(measure("direction", one, one))


def test_invalid_answers_are_never_equal_to_valid_ones():
    book = AnswerBook()
    assert measure("agreement", book.read(["1", None, None]), book.read([None, None, "2"])) == 0.0


def test_all_invalid_is_undefined_not_zero():
    book = AnswerBook()
    none = book.read([None, None], [False, False])
    assert np.isnan(measure("agreement", none, none))
    assert np.isnan(measure("kappa", none, none))


def test_cohen_kappa_equals_sklearn(letters):
    reference, other, first, second, _ = letters
    assert measure("cohen_kappa", reference, other) == pytest.approx(
        cohen_kappa_score(first, second)
    )


def test_error_consistency_equals_lm_sim_and_sklearn(letters):
    reference, other, first, second, gold = letters
    onehot = [[np.eye(4)["ABCD".index(a)] for a in side] for side in (first, second)]
    theirs = EC().compute_k(*onehot, ["ABCD".index(g) for g in gold])
    assert measure("error_consistency", reference, other) == pytest.approx(theirs)
    assert theirs == pytest.approx(cohen_kappa_score(first == gold, second == gold))


def test_the_accuracy_gap_is_volume_times_direction(letters):
    reference, other, *_ = letters
    discordant = measure("flips_up", reference, other) + measure("flips_down", reference, other)
    gap = discordant * (2 * measure("direction", reference, other) - 1)
    assert gap == pytest.approx(measure("accuracy_difference", reference, other))


def test_kappa_is_zero_for_independent_errors():
    rng, book, n = np.random.default_rng(1), AnswerBook(), 200_000
    gold = rng.integers(0, 4, n)

    def system(p):
        wrong = (gold + rng.integers(1, 4, n)) % 4
        return [str(x) for x in np.where(rng.random(n) < p, gold, wrong)]

    reference, other = (answers(book, system(p), gold.astype(str)) for p in (0.7, 0.5))
    assert measure("kappa", reference, other, options=4) == pytest.approx(0, abs=0.02)
    assert measure("agreement", reference, other) == pytest.approx(
        0.7 * 0.5 + 0.3 * 0.5 / 3, abs=0.01
    )


def test_the_linear_expansion_of_cohens_kappa_follows_the_exact_resamples(letters):
    reference, other, first, second, _ = letters
    draws = engine.draw(columns(reference, other), engine.design(400), resamples=2000, seed=0)
    ours = engine.estimate(draws, MEASURES["cohen_kappa"])
    rng = np.random.default_rng(1)
    exact = [cohen_kappa_score(first[i], second[i]) for i in rng.integers(0, 400, (600, 400))]
    assert (ours.low, ours.high) == pytest.approx(
        tuple(np.quantile(exact, [0.025, 0.975])), abs=0.02
    )


def test_kappa_is_taken_within_tasks():
    """Two easy and hard halves with independent errors agree by their accuracies alone."""
    rng, book, n = np.random.default_rng(2), AnswerBook(), 20_000
    accuracy = np.repeat([0.95, 0.15], n)
    right = [rng.random(2 * n) < accuracy for _ in range(2)]
    sides = [
        book.read(np.where(r, "1", [str(k) for k in rng.integers(2, 10**6, 2 * n)]), r)
        for r in right
    ]
    pooled = measure("kappa", *sides)
    draws = engine.draw(
        columns(*sides), engine.design(2 * n, groups=["easy"] * n + ["hard"] * n), resamples=1
    )
    within, _ = draws.apply(MEASURES["kappa"])
    assert pooled > 0.2
    assert within == pytest.approx(0, abs=0.02)
