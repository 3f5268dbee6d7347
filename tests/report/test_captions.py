"""Signatures in plain words: what a reader needs, nothing that looks like code."""

import numpy as np
import pytest

from kdscope.fidelity import calibration
from kdscope.fidelity.bleu_conventions import CONVENTIONS
from kdscope.fidelity.overlap import SIGNATURES
from kdscope.report.captions import in_words, kind_in_words, way
from kdscope.report.frames import frame
from kdscope.report.parts import note
from kdscope.stats.classic import spearman
from kdscope.stats.paired import mcnemar
from kdscope.stats.runs import probability_of_improvement
from kdscope.stats.two_level import bootstrap_two_level

PAIRED = "bootstrap:paired|R:10000|unit:item|seed:0|seeds:3:satterthwaite|ci:percentile95"


def words(*signatures: str) -> str:
    return in_words(signatures).replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (PAIRED, "95 % intervals: paired bootstrap, 10,000 resamples"),
        (
            PAIRED + "|p:bootstrap-two-sided|adjust:holm(10)",
            "95 % intervals: paired bootstrap, 10,000 resamples; p after Holm over 10",
        ),
        ("wilson95", "95 % intervals: Wilson's"),
        (
            "collapsed:below-sft-by-half-width95-or-invalid>0.5|wilson95",
            "collapsed: below SFT by more than the 95 % half-width, or over 50 % invalid; "
            "95 % intervals: Wilson's",
        ),
        (
            "t:one-sample|alternative:greater|df:3|ci:t95|adjust:holm(4)",
            "95 % intervals: Student's t; p: t-test, one-sided, after Holm over 4",
        ),
        ("anova:one-way|df:3,4|adjust:holm(16)", "p: one-way ANOVA, after Holm over 16"),
        (
            "permutation:sign-flip|R:2000|unit:item|seed:0|two-sided",
            "p: random signs, 2,000 drawn",
        ),
        ("something-new:3|wilson95", "95 % intervals: Wilson's; something new 3"),
        ("", ""),
    ],
)
def test_one_signature(signature: str, expected: str) -> None:
    assert words(signature) == expected


def test_kinds_of_a_measure_are_said_in_words_and_not_in_captions() -> None:
    for name, signature in SIGNATURES.items():
        signed = f"{signature}|{PAIRED}"
        kind = kind_in_words(signed)
        assert kind, name
        assert not set("|:") & set(kind), name
        assert words(signed) == words(PAIRED), name
    for convention in CONVENTIONS.values():
        assert "nltk" in kind_in_words(convention.signature)
        assert way(convention.signature).other == ""
    assert kind_in_words(SIGNATURES["bleu"]).startswith("mean of sentence BLEU, words and marks")


def test_several_signatures_are_said_once() -> None:
    one_seed = PAIRED.replace("seeds:3:satterthwaite", "seeds:1:items-only")
    assert words(one_seed, PAIRED, PAIRED) == words(PAIRED)
    assert words("wilson95", PAIRED, PAIRED) == words(PAIRED) + ", or Wilson's"
    tests = [f"anova:one-way|df:3,4|adjust:holm({n})" for n in (16, 4, 8)]
    assert words(*tests) == "p: one-way ANOVA, after Holm over 4 to 16"
    assert in_words([None, float("nan"), ""]) == ""  # type: ignore[list-item]


def test_what_the_statistics_sign_is_known() -> None:
    """Signatures that come out of the code itself leave nothing unexplained."""
    rng = np.random.default_rng(0)
    runs = rng.integers(0, 2, (3, 40)).astype(float)
    p = rng.dirichlet(np.ones(4), 40)
    made = [
        bootstrap_two_level(runs, resamples=100),
        mcnemar(runs[0], runs[1]),
        spearman(np.arange(12.0), rng.random(12)),
        probability_of_improvement([(runs[0], runs[1])], resamples=50),
        calibration.ece(p, np.zeros(40, int), resamples=50),
        calibration.brier(p, np.zeros(40, int), resamples=50),
        calibration.nll(p, np.zeros(40, int), resamples=50),
    ]
    for estimate in made:
        assert way(estimate.signature).other == ""
        assert in_words([estimate.signature])
        assert "|" not in in_words([estimate.signature])


def test_one_of_a_kind_is_said_as_one() -> None:
    rows = frame({"n": [1, 1], "seeds": [3, 3], "signature": ["wilson95"] * 2})
    assert note(rows, "families").startswith("1 family · 3 seeds · ")
    assert note(rows, "answers").startswith("1 answer · ")
