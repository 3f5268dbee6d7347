import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdscope.data.audit import JACCARD, Index, audit, decontaminate, duplicates, question_keys
from kdscope.data.audit_files import audit_files
from kdscope.data.records import Example, Item
from kdscope.data.sources import load_examples, load_items
from kdscope.errors import DataError

MAWPS = ("mawps_train.json", "mawps_single_train.json")
LEAKED = ("MultiArith", "AddSub", "SingleEq")


def example(text, id="a"):
    return Example(id, text, "", "x")


def item(text, id="0", task="t"):
    return Item(task, id, text, "1", "number")


def files(folder, *names):
    return [str(folder / "llm_adapters" / "test" / f"{name}.json") for name in names]


def test_math10k_sources_hold_the_leaked_tests(data_folder):
    train = str(data_folder / "mawps" / "mawps_train.json")
    rows = audit_files([train], files(data_folder, *LEAKED)).audit.rows
    assert [row["normalised"] for row in rows] == [490, 327, 436]
    assert [row["template"] for row in rows] == [546, 329, 440]
    assert [row["n"] for row in rows] == [600, 395, 508]


def test_both_sources_together(data_folder):
    trains = [str(data_folder / "mawps" / name) for name in MAWPS]
    found = audit_files(trains, files(data_folder, "gsm8k", *LEAKED, "SVAMP", "AQuA"))
    assert [row["test"] for row in found.audit.rows] == ["gsm8k", *LEAKED, "SVAMP", "AQuA"]
    assert [row["normalised"] for row in found.audit.rows] == [0, 585, 379, 478, 0, 0]
    assert [row["template"] for row in found.audit.rows] == [0, 594, 380, 480, 0, 0]
    assert all(row["exact"] <= row["normalised"] <= row["template"] for row in found.audit.rows)
    assert [len(found.audit.leaked[name]) for name in LEAKED] == [585, 379, 478]
    assert found.repeated["MultiArith"] == 20
    assert found.shared["AddSub", "SingleEq"] == 126


def test_tests_share_questions(data_folder):
    (row,) = audit_files(files(data_folder, "SingleEq"), files(data_folder, "AddSub")).audit.rows
    assert row["normalised"] == 126


def test_catalogue_ids_are_accepted(data_folder):
    rows = audit_files(["arc-c-train"], ["OBQA", "addsub"]).audit.rows
    assert [(row["test"], row["normalised"]) for row in rows] == [("OBQA", 0), ("addsub", 0)]


def test_command_prints_rows_in_order(data_folder):
    trains = [str(data_folder / "mawps" / name) for name in MAWPS]
    trains.append(str(data_folder / "gsm8k" / "train.jsonl"))
    tests = files(data_folder, "SVAMP", *LEAKED, "gsm8k")
    flags = [part for path in trains for part in ("--train", path)]
    flags += [part for path in tests for part in ("--test", path)]
    command = [sys.executable, "-m", "kdscope", "data", "audit", *flags, "--json"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    rows = json.loads(out.stdout)
    assert [row["test"] for row in rows] == ["SVAMP", *LEAKED, "gsm8k"]
    assert [row["normalised"] for row in rows] == [0, 585, 379, 478, 0]
    assert all(
        list(row) == ["test", "n", "exact", "normalised", "template", "ngram"] for row in rows
    )


def test_the_four_comparisons():
    index = Index(["Tom has 5.0 pens , and Ann has 3 . How many pens do they have in all ?"])
    assert index.find(
        "Tom has 5.0 pens , and Ann has 3 . How many pens do they have in all ? "
    ) == (
        True,
        True,
        True,
        True,
    )
    assert index.find("tom has 5 pens, and ann has 3. how many pens do they have in all?") == (
        False,
        True,
        True,
        True,
    )
    assert index.find("Tom has 7 pens, and Ann has 12. How many pens do they have in all?") == (
        False,
        False,
        True,
        False,
    )
    near = index.find("Tom has 5 pens and Ann has 3. How many pens do they have in all now?")
    assert near == (False, False, False, True)
    assert index.find("Nothing of this kind") == (False, False, False, False)


def test_keys_of_numbers():
    assert question_keys("It costs $5.00!").normalised == question_keys("it costs 5").normalised
    assert question_keys("It is 5.05").normalised != question_keys("It is 5").normalised
    assert question_keys("It is 1,234").template == question_keys("It is 7.5").template


WORDS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=14).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=12), WORDS)
def test_prefix_filtering_finds_what_brute_force_finds(questions, asked):
    def trigrams(text):
        words = text.split()
        words = words if len(words) > 2 else [*words, *["-"] * (3 - len(words))]
        return set(zip(words, words[1:], words[2:], strict=False))

    wanted = trigrams(asked)
    brute = any(len(wanted & trigrams(q)) / len(wanted | trigrams(q)) >= JACCARD for q in questions)
    assert Index(questions).find(asked).ngram is brute


def test_audit_of_records_gives_ids_by_task():
    train = [example("Tom has 5 pens."), example("Ann sells 3 hats.")]
    items = [item("tom has 5 pens", "a"), item("Eve?", "b"), item("Ann sells 3 hats.", "x", "u")]
    found = audit(train, items)
    assert [(row["test"], row["n"], row["normalised"]) for row in found.rows] == [
        ("t", 2, 1),
        ("u", 1, 1),
    ]
    assert found.leaked == {"t": {"a"}, "u": {"x"}}


def test_decontaminate_drops_training_examples_only():
    train = [example("Tom has 5 pens.", "1"), example("Tom has 6 pens.", "2"), example("Z?", "3")]
    items = [item("tom has 5.0 pens")]
    assert [e.id for e in decontaminate(train, items)] == ["2", "3"]
    assert [e.id for e in decontaminate(train, items, level="template")] == ["3"]
    assert [e.id for e in decontaminate(train, items, level="exact")] == ["1", "2", "3"]
    with pytest.raises(ValueError, match="exact, normalised, template, ngram"):
        decontaminate(train, items, level="fuzzy")


def test_decontaminated_data_audit_to_zero(data_folder):
    train, items = load_examples("arc-e-train"), load_items("arc-e")
    before = audit(train, items).rows[0]["normalised"]
    kept = decontaminate(train, items)
    assert before == 2
    assert audit(kept, items).rows[0]["normalised"] == 0
    assert 0 < len(train) - len(kept) < 20


def test_duplicates_and_missing_arguments():
    assert duplicates(["A b", "a  B!", "c"]) == 1
    with pytest.raises(DataError, match="at least one test"):
        audit_files(["gsm8k-train"], [])


def test_every_form_of_file_can_be_audited(data_folder):
    forms = [
        "mawps/mawps_train.json",
        "mawps/mawps_single_train.json",
        "instruct/self_instruct_user_oriented.jsonl",
        "instruct/self_instruct_seed_tasks.jsonl",
    ]
    for form in forms:
        path = str(data_folder / form)
        (row,) = audit_files([path], [path]).audit.rows
        assert row["n"] == row["exact"] == row["normalised"] == row["template"] == row["ngram"]


def test_a_file_without_questions_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:1: a record without a question"):
        audit_files([str(path)], [str(path)])
