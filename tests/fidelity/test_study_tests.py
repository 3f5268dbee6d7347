"""What a study says of its methods, seeds and size, against scipy and statsmodels on the answers."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.genmod.cov_struct import Exchangeable
from statsmodels.genmod.families import Binomial
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from kdscope.stats.power import needed

from . import synthetic
from .test_summary import comparisons

METHODS = ("fkl", "revkd", "gkd")
MARGIN = 0.05


@pytest.fixture(scope="module")
def study():
    return synthetic.study(count=24, methods=METHODS)


@pytest.fixture(scope="module")
def rows(study):
    return comparisons(study, resamples=400, margin=MARGIN)


def pick(rows, measure, test, **fields):
    fields = {"task": "all", **fields}
    return [
        row
        for row in rows
        if (row["measure"], row["test"]) == (measure, test)
        and all(row.get(k) == v for k, v in fields.items())
    ]


def answers(study):
    _, systems, _ = study
    return pd.DataFrame([row for own in systems.values() for row in own])


def blocks(study):
    """Accuracy by (student, task) block and method, mean over seeds."""
    rows = answers(study)
    rows = rows[rows["student"].notna()]
    means = rows.groupby(["student", "task", "method"], sort=False)["correct"].mean()
    return means.unstack("method")[["sft", *METHODS]].round(12)


def test_mcnemar_is_statsmodels_run_by_run(study, rows):
    found = [row for row in rows if row["test"] == "mcnemar"]
    assert len(found) == 2 * 3 * 3 * 3  # students, methods, seeds, tasks
    every = answers(study)
    for row in found[::7]:
        own, base = (
            every[
                (every["student"] == row["student"])
                & (every["method"] == method)
                & (every["seed"] == row["seed"])
                & (every["task"] == row["task"])
            ]["correct"].to_numpy(bool)
            for method in (row["method"], "sft")
        )
        table = pd.crosstab(own, base).reindex([True, False]).reindex(columns=[True, False])
        assert row["p"] == pytest.approx(mcnemar(table.fillna(0), exact=True).pvalue)
        assert row["estimate"] == pytest.approx(own.mean() - base.mean())
        assert row["scope"] == "run"


def test_friedman_is_scipys_over_student_task_blocks(study, rows):
    table = blocks(study).to_numpy()
    (row,) = pick(rows, "accuracy", "friedman")
    assert row["statistic"] == pytest.approx(stats.friedmanchisquare(*table.T).statistic)
    assert row["n"] == 6
    ranks = stats.rankdata(-table, axis=1).mean(axis=0)
    shown = [row["estimate"] for row in pick(rows, "mean_rank", "friedman")]
    assert shown == pytest.approx(ranks)
    (reach,) = pick(rows, "critical_difference", "nemenyi")
    assert reach["estimate"] == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 6)), rel=1e-3)  # Demsar
    assert len(pick(rows, "difference_in_rank", "nemenyi")) == 6


def test_two_methods_are_equivalent_by_statsmodels_tost(study, rows):
    table = blocks(study)
    found = pick(rows, "equivalence", "tost")
    assert len(found) == 6
    for row in found:
        p, _, _ = ttost_paired(table[row["method"]], table[row["reference"]], -MARGIN, MARGIN)
        assert row["p"] == pytest.approx(p, abs=1e-9)
        assert row["p_adjusted"] >= row["p"]


def test_the_logistic_model_is_statsmodels(study, rows):
    data = answers(study)
    data = data[data["student"].notna()].sort_values(["task", "item"], kind="stable")
    data["right"] = data["correct"].astype(float)
    fit = smf.gee(
        "right ~ C(method, Treatment('sft')) + task + student",
        groups=data["task"] + data["item"],
        data=data,
        family=Binomial(),
        cov_struct=Exchangeable(),
    ).fit()
    for method in METHODS:
        (row,) = pick(rows, "log_odds_of_right", "gee_by_item", method=method)
        name = f"C(method, Treatment('sft'))[T.{method}]"
        assert row["estimate"] == pytest.approx(fit.params[name], abs=1e-6)
        assert row["statistic"] == pytest.approx(fit.tvalues[name], abs=1e-4)


def test_improvement_counts_the_wins_of_runs(study, rows):
    every = answers(study)
    every = every[every["student"].notna()]
    means = every.groupby(["student", "task", "method", "seed"])["correct"].mean()
    wins = []
    for student, task in blocks(study).index:
        own, base = means[student, task, "revkd"], means[student, task, "sft"]
        wins.append(np.mean([(a > b) + 0.5 * (a == b) for a in own for b in base]))
    (row,) = pick(rows, "probability_of_improvement", "runs", method="revkd")
    assert row["estimate"] == pytest.approx(np.mean(wins))
    assert row["low"] < row["estimate"] < row["high"]


def test_families_count_what_survives(rows):
    family = [
        row["p"]
        for row in rows
        if (row["scope"], row["measure"], row["test"], row["task"])
        == ("cell", "difference_in_accuracy", "paired_bootstrap", "all")
    ]
    for kind, method in (("holm", "holm"), ("bh", "fdr_bh")):
        (row,) = pick(rows, "difference_in_accuracy", f"family_{kind}")
        assert row["statistic"] == multipletests(family, method=method)[0].sum()
        assert row["n"] == len(family)
    (row,) = pick(rows, "difference_in_accuracy", "family_unadjusted")
    assert row["statistic"] == np.sum(np.array(family) < 0.05)


def test_power_speaks_of_the_studys_own_discord(study, rows):
    every = answers(study)
    every = every[every["student"].notna()].set_index(["student", "method", "seed", "task", "item"])
    right = every["correct"].unstack(["task", "item"]).astype(bool)
    discord, gaps = [], {}
    for (student, method, seed), own in right.iterrows():
        if method != "sft":
            base = right.loc[student, "sft", seed]
            discord.append((own != base).mean())
            gaps.setdefault((student, method), []).append(own.mean() - base.mean())
    sd = np.sqrt(np.mean([np.var(own, ddof=1) for own in gaps.values()]))
    wanted = needed(0.01, float(np.mean(discord)), float(sd))
    for name in ("items", "seeds"):
        (row,) = pick(rows, f"{name}_needed", "power")
        assert row["estimate"] == getattr(wanted, name)
    (row,) = pick(rows, "smallest_difference", "power")
    assert 0.05 < row["estimate"] < np.mean(discord)


def test_collapse_rate_is_a_share_of_a_methods_runs(rows):
    cells = [r for r in rows if r["measure"] == "collapsed" and r["method"] == "gkd"]
    (row,) = pick(rows, "collapse_rate", "wilson", method="gkd")
    assert row["estimate"] == pytest.approx(np.mean([r["estimate"] for r in cells]))
    assert row["estimate"] >= 1 / 6
    assert row["n"] == 6


def test_errors_of_items_and_seeds_stand_apart(rows):
    for name in ("items", "seeds"):
        (row,) = pick(rows, f"standard_error_{name}", None, student="student-1B", method="fkl")
        assert 0 < row["estimate"] < 0.2
    (difference,) = pick(
        rows, "difference_in_accuracy", "paired_bootstrap", student="student-1B", method="fkl"
    )
    (same,) = pick(rows, "equivalence", "tost_bootstrap", student="student-1B", method="fkl")
    assert (same["estimate"], same["low"], same["high"]) == (
        difference["estimate"],
        difference["low"],
        difference["high"],
    )
    assert "margin:0.05" in same["signature"]


def test_a_setting_is_chosen_on_the_other_half():
    questions, systems, links = synthetic.study(count=40, methods=("fkl",), students=1)
    good = '{"temperature":2}'
    for name in [name for name in systems if "/fkl/" in name]:
        systems[f"{name}/t2"] = [
            {**row, "model": f"{name}/t2", "settings": good, "correct": int(row["item"]) % 10 > 0}
            for row in systems[name]
        ]
        links.append((f"{name}/t2", "teacher", "teacher"))
    rows = comparisons((questions, systems, links), resamples=200)
    (row,) = [row for row in rows if row["measure"] == "accuracy_of_chosen"]
    assert row["settings"] == good
    assert row["low"] <= row["estimate"] <= row["high"]
    assert 40 < row["n"] < 80  # about half of 120 items
    (stable,) = [row for row in rows if row["measure"] == "selection_stability"]
    assert stable["estimate"] > 0.95
    assert not [row for row in rows if row["measure"] == "mean_rank" and row["settings"] == good]


def test_what_cannot_be_tested_has_no_row():
    rows = comparisons(synthetic.study(count=8, seeds=(0,), methods=("fkl",), students=1))
    tests = {row["test"] for row in rows}
    assert "friedman" not in tests
    assert not pick(rows, "seeds_needed", "power")
    (row,) = pick(rows, "probability_of_improvement", "runs")
    assert row["low"] is None
    assert "runs:1" in row["signature"]
    assert "mcnemar" in tests


def test_errors_by_group_are_counted_by_hand(study):
    questions, systems, _ = study
    solutions = {
        (q["task"], q["item"]): "2 + 3 = 5" if int(q["item"]) % 2 else "2 * 3 = 6. 6 - 1 = 5"
        for q in questions
    }
    rows = comparisons(study, resamples=100, solutions=solutions)
    (row,) = [
        row
        for row in rows
        if (row["scope"], row["measure"], row["reference"], row["student"], row["method"])
        == ("group", "repeated_errors", "operation: addition", "student-1B", "revkd")
    ]
    teacher = {(r["task"], r["item"]): r for r in systems["teacher"]}
    shares = []
    for seed in range(3):
        own = {(r["task"], r["item"]): r for r in systems[f"student-1B/revkd/{seed}"]}
        wrong = [k for k in own if int(k[1]) % 2 and not teacher[k]["correct"]]
        same = [own[k]["answer_flexible"] == teacher[k]["answer_flexible"] for k in wrong]
        shares.append(np.mean(same))
    assert row["estimate"] == pytest.approx(np.mean(shares))
    assert row["n"] == len(wrong)
    groups = {row["reference"] for row in rows if row["scope"] == "group"}
    assert {"operation: mixed", "steps: 1 step", "length: short question"} <= groups


def test_rewordings_are_answered_alike_or_not(study, rows):
    """The synthetic questions of a task differ in a number only: one family a task."""
    _, systems, _ = study
    (row,) = pick(
        rows,
        "consistency_under_rewording",
        None,
        task="tiny-math",
        student="student-1B",
        method="fkl",
    )
    alike = []
    for seed in range(3):
        own = systems[f"student-1B/fkl/{seed}"]
        right = np.array([r["correct"] for r in own if r["task"] == "tiny-math"], float)
        k, n = right.sum(), len(right)
        alike.append((k * (k - 1) + (n - k) * (n - k - 1)) / (n * (n - 1)))
    assert row["estimate"] == pytest.approx(np.mean(alike))
    assert not pick(rows, "consistency_under_rewording", None, task="tiny-choice", method="fkl")
