import numpy as np
import pandas as pd
import pytest

from kdscope import tables
from kdscope.fidelity.paper_tests import parameters
from kdscope.fidelity.rows import fidelity_rows
from kdscope.fidelity.summary import study_comparisons
from kdscope.stats.proportions import wilson

from . import synthetic

FORMS = {"tiny-math": "number", "tiny-long": "number", "tiny-choice": "letter"}


def comparisons(study, **options):
    questions, systems, links = study
    fidelity = [
        row
        for model, reference, relation in links
        for row in fidelity_rows(systems[reference], systems[model], relation=relation, forms=FORMS)
    ]
    generations = [row for rows in systems.values() for row in rows]
    return study_comparisons(generations, fidelity, questions, **{"resamples": 500, **options})


@pytest.fixture(scope="module")
def study():
    return synthetic.study(count=40)


@pytest.fixture(scope="module")
def rows(study):
    return comparisons(study)


def pick(rows, measure, task="all", **fields):
    fields = {"scope": "cell", **fields}
    found = [
        row
        for row in rows
        if row["measure"] == measure
        and row["task"] == task
        and all(row.get(k) == v for k, v in fields.items())
    ]
    assert len(found) == 1, (measure, fields, len(found))
    return found[0]


def test_rows_fit_the_table(rows):
    table = tables.from_rows("comparisons", rows)
    assert set(table.column("task").to_pylist()) == {"all", *synthetic.TASKS}
    assert all(row["signature"] for row in rows)
    keys = [
        tuple(row.get(k) for k in ("scope", "measure", "test", "task", "teacher", "student", "method", "settings", "seed", "reference"))
        for row in rows
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_accuracy_is_the_mean_over_tasks_and_seeds(study, rows):
    _, systems, _ = study
    for task in (None, "tiny-math"):
        right = [
            np.mean([r["correct"] for r in systems[f"student-1B/fkl/{seed}"] if task in (None, r["task"])])
            for seed in range(3)
        ]  # fmt: skip
        row = pick(rows, "accuracy", task or "all", student="student-1B", method="fkl")
        assert row["estimate"] == pytest.approx(np.mean(right))
        assert row["low"] < row["estimate"] < row["high"]
        assert row["seeds"] == 3


def test_copying_shows_where_the_teacher_is_wrong(rows):
    def wrong(method):
        return pick(rows, "agreement_when_teacher_wrong", student="student-1B", method=method)

    assert wrong("revkd")["low"] > wrong("sft")["high"]
    gain = pick(rows, "gain_in_kappa", student="student-1B", method="revkd")
    assert gain["low"] > 0
    assert gain["p_adjusted"] >= gain["p"]
    assert gain["reference"] == "sft"


def test_two_items_that_only_one_has_right_are_no_certain_direction():
    questions = synthetic.items(40)
    gold = [row["gold"] for row in questions]
    slips = ["-1", "-1", *gold[2:]]
    teacher = synthetic.system("teacher", "teacher-3B", None, "sft", 0)
    student = synthetic.system("one", None, "student-1B", "sft", 0)
    systems = {
        "teacher": synthetic.generations(teacher, questions, slips),
        "one": synthetic.generations(student, questions, gold),
    }
    found = comparisons((questions, systems, [("one", "teacher", "teacher")]))
    row = pick(found, "direction", "tiny-math", student="student-1B")
    assert (row["estimate"], row["high"], row["n"]) == (1, 1, 2)
    assert row["low"] == pytest.approx(wilson(2, 2).low)


def test_kappa_of_a_copy_is_not_certain_either():
    questions = synthetic.items(40)
    given = ["-1"] * 60 + [row["gold"] for row in questions[60:]]
    who = [
        synthetic.system("teacher", "teacher-3B", None, "sft", 0),
        synthetic.system("one", None, "student-1B", "sft", 0),
    ]
    systems = {own["model"]: synthetic.generations(own, questions, given) for own in who}
    found = comparisons((questions, systems, [("one", "teacher", "teacher")]))
    row = pick(found, "kappa", "tiny-long", student="student-1B")  # 20 of 40 right, so E is 1/4
    assert (row["estimate"], row["high"]) == (1, 1)
    assert row["low"] == pytest.approx((wilson(40, 40).low - 0.25) / 0.75)
    consistency = pick(found, "error_consistency", "tiny-long", student="student-1B")
    assert (consistency["estimate"], consistency["low"]) == (1, None)


def test_a_difference_is_paired_with_the_same_seed(study, rows):
    _, systems, _ = study
    gaps = [
        np.mean([r["correct"] for r in systems[f"student-2B/fkl/{seed}"]])
        - np.mean([r["correct"] for r in systems[f"student-2B/sft/{seed}"]])
        for seed in range(3)
    ]
    row = pick(rows, "difference_in_accuracy", student="student-2B", method="fkl")
    assert row["estimate"] == pytest.approx(np.mean(gaps))


def test_collapse_is_a_share_of_runs(rows):
    assert pick(rows, "collapsed", student="student-2B", method="gkd")["estimate"] == pytest.approx(
        1 / 3
    )
    assert pick(rows, "collapsed", student="student-1B", method="revkd")["estimate"] == 0


def test_intervals_stay_in_range(rows):
    for row in rows:
        if row["scope"] == "cell" and row["low"] is not None:
            assert -1 <= row["low"] <= row["high"] <= 1, row


def test_the_papers_tests_stand_beside(rows):
    names = {(row["test"], row.get("reference")) for row in rows if row["scope"] == "study"}
    assert {("one_sided_t", None), ("one_way_anova", None), ("spearman", "agreement")} <= names
    paper = [row for row in rows if row["scope"] == "method" and row["test"] == "one_sided_t"]
    assert {row["method"] for row in paper} == {
        "fkl",
        "revkd",
        "gkd",
        "seqkd",
    }


def test_one_seed_says_so():
    rows = comparisons(synthetic.study(count=12, seeds=(0,), methods=("fkl",), students=1))
    row = pick(rows, "difference_in_accuracy", student="student-1B", method="fkl")
    assert "seeds:1:items-only" in row["signature"]


def test_reproducible_from_a_seed(study, rows):
    assert comparisons(study, seed=0) == rows
    assert comparisons(study, seed=1) != rows


def test_without_sft_there_are_levels_only():
    questions, systems, links = synthetic.study(count=12, methods=("fkl",), students=1)
    systems = {name: s for name, s in systems.items() if "/sft/" not in name}
    links = [link for link in links if link[0] in systems and link[1] in systems]
    rows = comparisons((questions, systems, links))
    assert pick(rows, "agreement", student="student-1B", method="fkl")
    assert not [row for row in rows if row["measure"] == "difference_in_accuracy"]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Qwen/Qwen2.5-0.5B", 0.5e9),
        ("SmolLM2-135M", 135e6),
        ("tiny-student", None),
        ("Llama-3-8B", 8e9),
    ],
)
def test_size_is_read_from_the_name(name, size):
    assert parameters(name) == size


def test_scored_options_give_calibration_and_what_is_shared():
    from kdscope.fidelity.calibration import brier, ece, nll
    from kdscope.fidelity.choices import read_choices

    one = synthetic.study(count=40, seeds=(0,), methods=("fkl",), students=1)
    questions, systems, _ = one
    rng, choices = np.random.default_rng(0), []
    for name in systems:
        for row in questions:
            for option, score in zip(row["options"] or (), rng.normal(0, 2, 4), strict=False):
                choices.append({
                    "model": name, "task": row["task"], "item": row["item"], "option": option,
                    "logprob": score, "logprob_per_byte": score, "gold": option == row["gold"],
                })  # fmt: skip
    rows = comparisons(one, choices=choices, resamples=200)
    found = {row["measure"]: row for row in rows if row["method"] == "fkl" and row["task"] == "all"}
    own = read_choices(pd.DataFrame([c for c in choices if c["model"].endswith("fkl/0")]))
    for name, function in (("ece", ece), ("brier", brier), ("nll", nll)):
        expected = function(own.p, own.gold, resamples=10).estimate
        assert found[name]["estimate"] == pytest.approx(expected), name
    assert found["option_kl"]["estimate"] > 0
    assert abs(found["capa"]["estimate"]) < 0.3


def test_each_extractor_has_its_accuracy_and_its_difference(study):
    questions, systems, links = study
    gold = {(q["task"], q["item"]): q["gold"] for q in questions}

    def read(row):
        """An extractor that finds nothing of this student after forward KL, and all of everybody else."""
        lost = row["student"] == "student-1B" and row["method"] == "fkl"
        return {**row, "answer_paper": None if lost else row["answer_flexible"]}

    changed = {model: [read(row) for row in rows] for model, rows in systems.items()}
    rows = comparisons((questions, changed, links))
    level = pick(rows, "accuracy_paper", student="student-1B", method="fkl")
    assert level["estimate"] == 0.0
    assert level["high"] > 0.0
    sft = np.mean([
        row["answer_flexible"] == gold[row["task"], row["item"]]
        for seed in range(3) for row in systems[f"student-1B/sft/{seed}"]
    ])  # fmt: skip
    assert pick(rows, "accuracy_paper", student="student-1B", method="sft")[
        "estimate"
    ] == pytest.approx(sft)
    gap = pick(rows, "difference_in_accuracy_paper", student="student-1B", method="fkl")
    assert gap["estimate"] == pytest.approx(-sft)
    assert gap["high"] < 0
    flexible = pick(rows, "difference_in_accuracy", student="student-1B", method="fkl")
    assert flexible["high"] > 0 or flexible["estimate"] > gap["estimate"]
    strict = pick(rows, "accuracy_strict", student="student-1B", method="fkl")
    assert strict["estimate"] == pytest.approx(
        pick(rows, "accuracy", student="student-1B", method="fkl")["estimate"]
    )


def test_without_an_extractor_nothing_is_said_of_it(rows):
    assert not [row for row in rows if "paper" in row["measure"] and row["scope"] == "cell"]


def test_a_cell_is_compared_with_the_sft_student_at_its_own_training_size(study):
    questions, systems, _ = study
    less = '{"train_limit":50}'
    right = {"sft": 0.2, "fkl": 0.6}
    rng = np.random.default_rng(3)
    for method, accuracy in right.items():
        who = systems[f"student-1B/{method}/0"][0]
        own = {n: who[n] for n in ("teacher", "student", "method", "seed")}
        given = synthetic.answers(rng, questions, accuracy)
        name = f"student-1B/{method}/less"
        systems = {**systems, name: synthetic.generations(
            {**own, "model": name, "settings": less}, questions, given)}  # fmt: skip
    rows = study_comparisons(
        [r for found in systems.values() for r in found], [], questions, resamples=200
    )
    task = "tiny-math"
    mean = {
        name: np.mean([r["correct"] for r in systems[name] if r["task"] == task])
        for name in ("student-1B/sft/less", "student-1B/fkl/less", "student-1B/sft/0")
    }
    asked = {"task": task, "student": "student-1B", "settings": less}
    fkl = pick(rows, "difference_in_accuracy", method="fkl", **asked)
    assert fkl["estimate"] == pytest.approx(
        mean["student-1B/fkl/less"] - mean["student-1B/sft/less"]
    )
    sft = pick(rows, "difference_in_accuracy", method="sft", **asked)
    assert sft["estimate"] == pytest.approx(mean["student-1B/sft/less"] - mean["student-1B/sft/0"])
