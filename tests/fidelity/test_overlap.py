import json

import numpy as np
import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from kdscope.fidelity import overlap

CURIOUS = [
    "",
    " ",
    "a",
    "a b",
    "Don't (stop)!",
    "3,000.5 * 2 = 6,001",
    "ünïcödé — 漢字 ½",
    "x\n\ny  z\t.",
    "&quot;q&quot; <skipped>",
]


@pytest.fixture(scope="module")
def pairs(data_folder):
    """Rationales of GSM8K, each against another and against a shortened self."""
    path = data_folder / "gsm8k" / "train.jsonl"
    texts = [json.loads(line)["answer"] for line in path.read_text().splitlines()[:80]]
    pairs = list(zip(texts, texts[1:], strict=False)) + [
        (t[: len(t) // 2] + " so", t) for t in texts
    ]
    return pairs + [(a, b) for a in CURIOUS for b in CURIOUS]


def test_bleu_and_chrf_equal_sacrebleu(pairs):
    for other, reference in pairs:
        ours = overlap.compare(overlap.prepare(other), overlap.prepare(reference))
        assert ours.bleu == pytest.approx(
            sacrebleu.sentence_bleu(other, [reference]).score, abs=1e-9
        )
        chrf = sacrebleu.sentence_chrf(other, [reference], word_order=2).score
        assert ours.chrf == pytest.approx(chrf, abs=1e-9), (other, reference)


def test_rouge_l_equals_rouge_score(pairs):
    scorer = RougeScorer(["rougeL"])
    for other, reference in pairs:
        ours = overlap.compare(overlap.prepare(other), overlap.prepare(reference))
        theirs = scorer.score(reference, other)["rougeL"].fmeasure
        assert ours.rouge_l == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 80])
def test_corpus_bleu_equals_sacrebleu(pairs, size):
    some = pairs[:size]
    counts = [overlap.compare(overlap.prepare(a), overlap.prepare(b)).counts for a, b in some]
    theirs = sacrebleu.corpus_bleu([a for a, _ in some], [[b for _, b in some]]).score
    assert overlap.corpus_bleu(np.sum(counts, axis=0)) == pytest.approx(theirs)


def test_a_text_overlaps_fully_with_itself():
    text = overlap.prepare("He has 3 * 4 = 12 apples.")
    assert overlap.compare(text, text)[:3] == pytest.approx((100, 100, 1))


def test_partners_are_other_items_of_the_same_task():
    tasks, items = ["a"] * 5 + ["b"], [*"vwxyz", "u"]
    partner = overlap.partners(tasks, items)
    assert sorted(partner[:5]) == [0, 1, 2, 3, 4]
    assert all(partner[i] != i for i in range(6))
    assert partner[5] == -1
    assert overlap.partners(tasks[::-1], items[::-1])[-1] == 5 - partner[0]


def test_every_system_on_every_item_with_its_floor():
    references = ["one two three", "four five six", None, "seven eight"]
    systems = [["one two three", None, "x", "four five six"], ["", "four five", "y", "seven eight"]]
    found = {f.place: f for f in overlap.over_items(references, systems, np.array([3, 0, 1, 1]))}
    assert sorted(found) == [0, 1, 2, 3]
    assert found[0].overlap[0].rouge_l == 1.0
    assert found[0].overlap[1].rouge_l == 0.0
    assert found[1].overlap[0] is None
    assert found[2].overlap == [None, None]
    assert found[3].floor[0].rouge_l == 1.0
