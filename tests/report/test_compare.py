import json
import re

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

import kdscope
from kdscope import tables
from kdscope.cli import app
from kdscope.errors import DataError, TableError, UserError
from kdscope.report.compare import as_json, as_text, compare_files, write_html

MEASURES = {
    "agreement", "agreement_when_right", "agreement_when_wrong", "kappa", "expected_agreement", "volume",
    "direction", "bleu", "chrf", "rouge_l", "equation_f1", "mcnemar_p",
}  # fmt: skip


def rows(model, answers, gold, task="gsm8k", sample=0, texts=None):
    return [
        {
            "model": model, "settings": "{}", "task": task, "item": str(i), "sample": sample,
            "text": texts[i] if texts else f"{i} + 1 = {i + 1}. The answer is {a}.",
            "answer_strict": a, "answer_flexible": a, "valid": a is not None,
            "correct": None if gold is None else a == gold[i], "score": None if gold is None else float(a == gold[i]),
        }
        for i, a in enumerate(answers)
    ]  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def write(name, *parts):
        path = tmp_path / f"{name}.parquet"
        tables.write("generations", [row for part in parts for row in part], path)
        return path

    return write


@pytest.fixture
def truth():
    """Teacher and student with known shares: 60 items."""
    rng = np.random.default_rng(0)
    gold = [str(x) for x in rng.integers(0, 50, 60)]
    teacher = [g if rng.random() < 0.7 else str(100 + rng.integers(5)) for g in gold]
    student = [t if rng.random() < 0.5 else str(100 + rng.integers(5)) for t in teacher]
    return gold, teacher, student


def run(*paths, **options):
    options = {"resamples": 300, **options}
    return as_json(compare_files(paths, **options))


def value(pair, name):
    return pair[name]["estimate"]


def test_the_contract_of_the_json_document(write, truth):
    gold, teacher, student = truth
    found = run(write("ref", rows("a", teacher, gold)), write("other", rows("b", student, gold)))
    assert [s["name"] for s in found["systems"]] == ["ref", "other"]
    pair = found["pairs"][0]
    assert (pair["reference"], pair["other"], pair["n"]) == ("ref", "other", 60)
    assert set(pair) >= MEASURES
    for record in (pair, *found["systems"]):
        for name, measure in record.items():
            if name not in ("name", "n", "reference", "other"):
                assert set(measure) == {"estimate", "low", "high", "signature"}, name
                assert measure["signature"]
    json.dumps(found, allow_nan=False)


def test_values_are_those_of_their_definitions(write, truth):
    gold, teacher, student = map(np.array, truth)
    found = run(
        write("ref", rows("a", truth[1], truth[0])), write("b", rows("b", truth[2], truth[0]))
    )
    pair, (own, other) = found["pairs"][0], found["systems"]
    t, s, same = teacher == gold, student == gold, teacher == student
    assert value(own, "accuracy") == pytest.approx(t.mean())
    assert value(other, "accuracy") == pytest.approx(s.mean())
    assert value(pair, "agreement") == pytest.approx(same.mean())
    assert value(pair, "agreement_when_right") == pytest.approx(same[t].mean())
    assert value(pair, "agreement_when_wrong") == pytest.approx(same[~t].mean())
    expected = t.mean() * s.mean()
    assert value(pair, "expected_agreement") == pytest.approx(expected)
    assert value(pair, "kappa") == pytest.approx((same.mean() - expected) / (1 - expected))
    assert value(pair, "cohen_kappa") == pytest.approx(cohen_kappa_score(teacher, student))
    gained, lost = np.sum(s & ~t), np.sum(t & ~s)
    assert value(pair, "direction") == pytest.approx(gained / (gained + lost))
    assert value(pair, "volume") == pytest.approx(1 - same.mean())
    assert value(pair, "mcnemar_p") == pytest.approx(
        stats.binomtest(int(gained), int(gained + lost)).pvalue
    )


def test_a_file_against_itself(write, truth):
    gold, teacher, _ = truth
    teacher[3] = None
    one = write("ref", rows("a", teacher, gold))
    pair = run(one, write("same", rows("a", teacher, gold)))["pairs"][0]
    for name in (
        "agreement",
        "agreement_when_right",
        "agreement_when_wrong",
        "kappa",
        "cohen_kappa",
    ):
        assert value(pair, name) == pytest.approx(1), name
    for name, full in (
        ("bleu", 100),
        ("corpus_bleu", 100),
        ("chrf", 100),
        ("rouge_l", 1),
        ("equation_f1", 1),
    ):
        assert value(pair, name) == pytest.approx(full), name
    assert value(pair, "volume") == 0
    assert value(pair, "mcnemar_p") == 1
    assert pair["agreement"]["low"] < 1  # 60 items cannot prove that they always agree
    assert pair["kappa"]["low"] < 1
    twice = run(one, one)["systems"]
    assert len({s["name"] for s in twice}) == 2


def test_five_equal_answers_are_not_certain_to_be_equal_again(write):
    gold, answers = list("12345"), ["1", "2", "3", "9", "9"]
    files = [write(name, rows(name, answers, gold)) for name in ("teacher", "sft", "student")]
    found = run(*files)
    pair, gain = found["pairs"][1], found["gains"][0]
    for name, measure in {**pair, **gain}.items():
        if isinstance(measure, dict) and measure["low"] is not None:
            assert measure["low"] < measure["high"], (name, measure)
    wide = pytest.approx(0.4345, abs=1e-4)  # z^2 / (5 + z^2)
    for measure in (pair["accuracy_difference"], gain["gain_in_accuracy"]):
        assert (-measure["low"], measure["high"]) == (wide, wide)
        assert "tango95" in measure["signature"]
    assert pair["kappa"]["low"] == pytest.approx((1 - 0.4345 - 0.36) / 0.64, abs=1e-3)
    assert pair["bleu"]["low"] is None
    assert "resamples-never-differ" in pair["bleu"]["signature"]


def test_gains_are_paired_with_the_second_file(write, truth):
    gold, teacher, student = truth
    paths = [
        write(n, rows(n, a, gold)) for n, a in (("t", teacher), ("sft", student), ("kd", teacher))
    ]
    found = run(*paths)
    gain = found["gains"][0]
    assert (gain["reference"], gain["other"]) == ("sft", "kd")
    difference = value(found["pairs"][1], "agreement") - value(found["pairs"][0], "agreement")
    assert value(gain, "gain_in_agreement") == pytest.approx(difference)


def test_items_that_do_not_match_are_counted_and_named(write, truth):
    gold, teacher, student = truth
    extra = [{**row, "item": f"x{row['item']}"} for row in rows("b", student[:2], gold)]
    found = run(
        write("ref", rows("a", teacher, gold)), write("b", rows("b", student[:50], gold), extra)
    )
    assert found["pairs"][0]["n"] == 50
    note = next(n for n in found["notes"] if "not in" in n)
    assert "2 of its items are not in ref (gsm8k/x0, gsm8k/x1)" in note
    assert "10 items of ref are not in it" in note


def test_repeated_ids_keep_the_first(write, truth):
    gold, teacher, student = truth
    path = write("b", rows("b", student, gold), rows("b", teacher[:3], gold))
    found = run(write("ref", rows("a", teacher, gold)), path)
    assert any("3 answers repeat" in note for note in found["notes"])
    assert found["pairs"][0]["n"] == 60


def test_one_system_is_described_alone(write, truth):
    found = run(write("ref", rows("a", truth[1], truth[0])))
    assert found["pairs"] == []
    assert any("only one system" in note for note in found["notes"])
    assert value(found["systems"][0], "accuracy") is not None


def test_all_invalid_is_said(write, truth):
    gold, teacher, _ = truth
    found = run(write("ref", rows("a", teacher, gold)), write("bad", rows("b", [None] * 60, gold)))
    assert value(found["systems"][1], "invalid") == 1
    assert value(found["pairs"][0], "agreement") == 0
    assert any("no answer is valid" in note for note in found["notes"])
    both = run(
        write("bad1", rows("b", [None] * 60, gold)), write("bad2", rows("b", [None] * 60, gold))
    )
    assert value(both["pairs"][0], "agreement") is None
    assert both["pairs"][0]["agreement"]["signature"].startswith("absent")


def test_without_gold_there_is_agreement_but_no_accuracy(write, truth):
    _, teacher, student = truth
    found = run(write("ref", rows("a", teacher, None)), write("b", rows("b", student, None)))
    pair = found["pairs"][0]
    assert value(pair, "agreement") is not None
    assert value(pair, "kappa") == pytest.approx(cohen_kappa_score(teacher, student))
    assert "cohen" in pair["kappa"]["signature"]
    assert value(pair, "agreement_when_wrong") is None
    assert value(found["systems"][0], "accuracy") is None


def test_no_common_item_compares_nothing(write, truth):
    gold, teacher, student = truth
    found = run(
        write("ref", rows("a", teacher, gold)), write("b", rows("b", student, gold, task="svamp"))
    )
    assert found["pairs"][0]["n"] == 0
    assert any("shares no item" in note for note in found["notes"])


def test_the_public_function_gives_the_commands_document(write, truth):
    paths = write("ref", rows("a", *truth[1::-1])), write("b", rows("b", truth[2], truth[0]))
    assert kdscope.compare(*map(str, paths), resamples=300) == run(*paths)


def test_accuracy_is_taken_on_all_of_a_systems_own_items(write, truth):
    gold, teacher, student = truth
    found = run(
        write("ref", rows("a", teacher[:40], gold[:40])), write("b", rows("b", student, gold))
    )
    assert found["systems"][1]["n"] == 60
    assert found["pairs"][0]["n"] == 40
    assert value(found["systems"][1], "accuracy") == pytest.approx(
        np.mean(np.array(student) == np.array(gold))
    )


def test_an_empty_file_is_refused_by_name(tmp_path, write, truth):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(DataError, match=r"empty\.jsonl holds no answer"):
        run(write("ref", rows("a", truth[1], truth[0])), empty)


def test_several_samples_give_ceilings(write, truth):
    gold, teacher, student = truth
    first = write("ref", rows("a", teacher, gold), rows("a", student, gold, sample=1))
    second = write("b", rows("b", student, gold), rows("b", student, gold, sample=1))
    found = run(first, second)
    assert value(found["systems"][1], "self_agreement") == 1
    same = np.mean(np.array(teacher) == np.array(student))
    assert value(found["systems"][0], "self_agreement") == pytest.approx(same)
    pair = found["pairs"][0]
    assert value(pair, "agreement_over_samples") == pytest.approx((1 + same) / 2)
    assert value(pair, "agreement_normalised") == pytest.approx((1 + same) / 2 / np.sqrt(same))


def test_json_lines_with_and_without_gold(tmp_path, truth):
    gold, teacher, student = truth
    lines = [{"task": "GSM8K", "item": i, "text": f"The answer is {a}.", "gold": f"so #### {g}"}
             for i, (a, g) in enumerate(zip(teacher, gold, strict=True))]  # fmt: skip
    first, second = tmp_path / "ref.jsonl", tmp_path / "b.jsonl"
    first.write_text("\n".join(map(json.dumps, lines)))
    bare = [
        {"task": "gsm8k", "item": i, "text": f"The answer is {a}."} for i, a in enumerate(student)
    ]
    second.write_text(
        "\n".join(map(json.dumps, [*bare, bare[0], {"task": "gsm8k", "item": 60, "text": None}]))
    )
    found = run(first, second)
    assert value(found["systems"][0], "accuracy") == pytest.approx(
        np.mean(np.array(teacher) == gold)
    )
    assert value(found["pairs"][0], "agreement") == pytest.approx(
        np.mean(np.array(teacher) == student)
    )
    # the item's gold is known from the first file, so the second is graded too (one text is missing)
    right = np.mean(np.array([*student, None]) == np.array([*gold, "?"]))
    assert value(found["systems"][1], "accuracy") == pytest.approx(right * 61 / 60)
    assert any("graded by the gold of another file" in note for note in found["notes"])
    assert any("1 answers repeat" in note for note in found["notes"])
    assert any("missing" in note for note in found["notes"])


def test_a_sample_of_the_texts_is_said_to_be_one(write, truth):
    gold, teacher, student = truth
    paths = write("ref", rows("a", teacher, gold)), write("b", rows("b", student, gold))
    pair = run(*paths, text_rows=20)["pairs"][0]
    assert "items:20of60" in pair["bleu"]["signature"]
    assert value(run(*paths, text_rows=0)["pairs"][0], "bleu") is None


def test_texts_on_several_processes_are_the_same(truth):
    from kdscope.fidelity.overlap import partners
    from kdscope.report.compare import texts as room

    words = [f"{a} plus {i} = {i}. ok" for i, a in enumerate(truth[1])]
    part = room.Texts(words, [words[::-1]], partners(["t"] * 60, [str(i) for i in range(60)]))
    whole = room.measure_texts(part, lambda done, total: None)
    room._ROWS_PER_JOB, kept = 7, room._ROWS_PER_JOB
    try:
        split = room.measure_texts(part, lambda done, total: None)
    finally:
        room._ROWS_PER_JOB = kept
    for name, values in whole[0].items():
        np.testing.assert_array_equal(values, split[0][name])


def test_bad_files_are_refused_with_their_name(tmp_path, write, truth):
    with pytest.raises(DataError, match="no prediction file"):
        run(tmp_path / "none.parquet")
    (tmp_path / "odd.csv").write_text("a,b")
    with pytest.raises(DataError, match="no known form"):
        run(tmp_path / "odd.csv")
    (tmp_path / "odd.parquet").write_text("a,b")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        run(tmp_path / "odd.parquet")
    both = write("both", rows("a", truth[1], truth[0]), rows("b", truth[1], truth[0]))
    with pytest.raises(TableError, match="2 systems"):
        run(both)


def test_reproducible_from_a_seed(write, truth):
    gold, teacher, student = truth
    paths = write("ref", rows("a", teacher, gold)), write("b", rows("b", student, gold))
    assert run(*paths, seed=0) == run(*paths, seed=0)
    assert run(*paths, seed=0) != run(*paths, seed=1)


def test_batches_of_systems_change_nothing(write, truth, monkeypatch):
    gold, teacher, student = truth
    paths = [
        write(n, rows(n, a, gold)) for n, a in (("t", teacher), ("b", student), ("c", teacher))
    ]
    whole = run(*paths)
    monkeypatch.setattr("kdscope.report.compare.aligned._BATCH_BYTES", 1)
    apart = run(*paths)
    for a, b in zip(whole["pairs"] + whole["gains"], apart["pairs"] + apart["gains"], strict=True):
        for name, measure in a.items():
            if isinstance(measure, dict):
                assert measure["low"] == pytest.approx(b[name]["low"]), name


def test_terminal_page_and_command(write, truth, tmp_path):
    gold, teacher, student = truth
    paths = [write(n, rows(n, a, gold)) for n, a in (("t<b>", teacher), ("sft", student))]
    found = compare_files(paths, resamples=100)
    text = as_text(found)
    assert "Distillation Loss Statement" in text
    assert "kappa" in text
    page = write_html(found, tmp_path / "c.html").read_text()
    assert "Distillation Loss Statement" in page
    assert "<b>" not in page.split("</header>")[1]
    shown = re.sub(r'<ul class="signatures">.*?</ul>', "", page, flags=re.DOTALL)
    assert "95\u00a0% intervals: paired bootstrap, 100 resamples" in shown
    assert "BLEU: mean of sentence BLEU, words and marks apart (13a)" in page
    for said in (shown, text):
        assert "bootstrap:paired" not in said
        assert "flips up" not in said
    result = CliRunner().invoke(app, ["compare", *map(str, paths), "--json", "--resamples", "100"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pairs"][0]["n"] == 60


# -- scored options, and BLEU by other conventions ----------------------------------------------------


def scored(model, logprobs, gold):
    return [
        {"model": model, "task": "gsm8k", "item": str(i), "option": option, "logprob": float(value),
         "gold": option == gold[i]}
        for i, row in enumerate(logprobs) for option, value in zip("ABCD", row, strict=True)
    ]  # fmt: skip


def test_capa_where_options_are_scored_equals_lm_sim(write):
    from lmsim.metrics import CAPA

    rng = np.random.default_rng(0)
    gold = list(rng.choice(list("ABCD"), 80))
    first = rng.normal(0, 1, (80, 4)) + 2 * (np.array(gold)[:, None] == list("ABCD"))
    second = first + rng.normal(0, 1, (80, 4))
    paths = []
    for name, scores in (("teacher", first), ("student", second)):
        answers = ["ABCD"[i] for i in scores.argmax(axis=1)]
        paths.append(write(name, rows(name, answers, gold)))
        tables.write(
            "choices", scored(name, scores, gold), paths[-1].with_name(f"{name}.choices.parquet")
        )
    document = run(*paths)
    (pair,) = document["pairs"]
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (first, second))
    ids = ["ABCD".index(g) for g in gold]
    expected = CAPA().compute_k(list(p), list(q), ids)
    assert value(pair, "capa") == pytest.approx(expected, abs=1e-6)
    assert pair["capa"]["low"] < value(pair, "capa") < pair["capa"]["high"]
    assert value(pair, "option_kl") > 0
    assert {"ece", "brier", "nll"} <= set(document["systems"][1])
    assert "CAPA" in as_text(compare_files(paths, resamples=50))


def test_option_logprobs_in_plain_records(tmp_path):
    def write(name, shift):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(
            json.dumps({
                "task": "quiz", "item": i, "text": "The answer is A.", "gold": "A",
                "option_logprobs": {"A": -0.2, "B": -1.0 - shift * i, "C": -2.0},
            }) + "\n"
            for i in range(12)
        ))  # fmt: skip
        return path

    (pair,) = run(write("one", 0.0), write("two", 0.1))["pairs"]
    assert value(pair, "option_agreement") == 1
    assert value(pair, "option_kl") > 0
    bad = tmp_path / "bad.jsonl"
    bad.write_text(
        json.dumps({"task": "q", "item": 1, "text": "A", "gold": "A", "option_logprobs": [1]})
    )
    with pytest.raises(DataError, match="option_logprobs"):
        run(bad, tmp_path / "one.jsonl")


def test_without_scored_options_capa_says_what_it_needs(write, truth):
    gold, teacher, student = truth
    (pair,) = run(write("t", rows("t", teacher, gold)), write("s", rows("s", student, gold)))[
        "pairs"
    ]
    assert value(pair, "capa") is None
    assert "log-probabilities" in pair["capa"]["signature"]


def test_other_conventions_of_bleu_by_name(write, truth):
    gold, teacher, student = truth
    files = write("t", rows("t", teacher, gold)), write("s", rows("s", student, gold))
    (pair,) = run(*files, bleu=["nltk", "nltk-characters"])["pairs"]
    assert value(pair, "bleu_nltk_characters") > value(pair, "bleu_nltk") > 0
    assert "tok:characters" in pair["bleu_nltk_characters"]["signature"]
    assert "bleu_nltk_bleu1" not in pair
    with pytest.raises(UserError, match="choose among nltk, nltk-bleu1"):
        run(*files, bleu=["nltkk"])
    shown = CliRunner().invoke(
        app, ["compare", *map(str, files), "--bleu", "nltk", "--resamples", "50"]
    )
    assert "BLEU, nltk" in shown.output
