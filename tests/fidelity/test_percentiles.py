"""Percentiles over tokens equal numpy's, and their intervals hold their level where they claim to."""

import math

import numpy as np
import pytest
from scipy import stats

from kdscope.fidelity.percentiles import PERCENTILES, of_draws, tails
from kdscope.stats import bootstrap

from . import synthetic
from .test_summary import comparisons, pick


def tokens(rng, items, length=27, spread=1.5, item_spread=0.5):
    """Lognormal values whose level is the item's own."""
    lengths = rng.integers(length // 2, length * 3 // 2, items)
    return [np.exp(rng.normal(0, item_spread) + rng.normal(0, spread, n)) for n in lengths]


def draw(values, group, seed, resamples=400):
    found = tails(values, group, int(group.max()) + 1)
    lengths = [0 if own is None else len(own) for own in values]
    columns = {"tokens": np.array(lengths, float), **{k: tail.below for k, tail in found.items()}}
    plan = bootstrap.design(len(values), groups=list(group))
    return found, bootstrap.draw(columns, plan, resamples=resamples, seed=seed)


def test_the_points_are_numpys_task_by_task():
    rng = np.random.default_rng(0)
    values, group = tokens(rng, 40), np.repeat([0, 1], 20)
    values[3] = None
    found, draws = draw(values, group, 0)
    for name, share in PERCENTILES.items():
        point, drawn = of_draws(found[name], draws, name, "tokens")
        for g in (0, 1):
            own = np.concatenate(
                [v for v, k in zip(values, group, strict=True) if k == g and v is not None]
            )
            assert point[g] == pytest.approx(np.quantile(own, share))
            if name == "p50":
                assert np.median(drawn[:, g]) == pytest.approx(point[g], rel=0.1)


def test_a_percentile_with_few_tokens_beyond_has_no_interval():
    found, draws = draw(tokens(np.random.default_rng(0), 8), np.zeros(8, int), 0)
    point, drawn = of_draws(found["p99"], draws, "p99", "tokens")
    assert np.isfinite(point).all()
    assert np.isnan(drawn).all()
    assert np.isfinite(of_draws(found["p90"], draws, "p90", "tokens")[1]).all()


def test_equal_tokens_have_no_spread():
    found, draws = draw([np.ones(30)] * 20, np.zeros(20, int), 0)
    point, drawn = of_draws(found["p90"], draws, "p90", "tokens")
    assert point[0] == 1
    assert (drawn == 1).all()


def test_a_study_has_them_by_prefix_and_task():
    study = synthetic.study(count=10, seeds=(0, 1), methods=("fkl",), students=1)
    questions, systems, _ = study
    rng, rows = np.random.default_rng(1), []
    for name, answers in systems.items():
        if name == "teacher":
            continue
        who = {
            k: answers[0][k] for k in ("model", "teacher", "student", "method", "seed", "settings")
        }
        for row in questions:
            for prefix in ("reference", "student"):
                own = rng.gamma(0.5, 1, 20).tolist()
                lists = dict.fromkeys(("forward_kl", "reverse_kl", "jsd", "top1", "topk"), own)
                rows.append({
                    **who, "reference": "teacher", "prefix": prefix, "task": row["task"],
                    "item": row["item"], **lists,
                })  # fmt: skip
    found = comparisons(study, distributions=rows, resamples=200)
    row = pick(found, "forward_kl_on_student_p90", "tiny-math", method="fkl")
    wanted = [
        np.quantile(
            np.concatenate([
                r["forward_kl"] for r in rows
                if (r["method"], r["seed"], r["prefix"], r["task"]) == ("fkl", seed, "student", "tiny-math")
            ]),
            0.9,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    assert row["estimate"] == pytest.approx(np.mean(wanted), rel=1e-5)
    assert row["low"] < row["estimate"] < row["high"]
    assert "few-items:t" in row["signature"]
    assert pick(found, "forward_kl_on_student_p99", "tiny-math", method="fkl")["low"] is None
    mean = pick(found, "forward_kl_on_student", "tiny-math", method="fkl")
    assert (
        pick(found, "forward_kl_on_student_p50", "tiny-math", method="fkl")["estimate"]
        < mean["estimate"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("items", "name"), [(8, "p50"), (24, "p90"), (60, "p50"), (60, "p90"), (200, "p99")]
)
def test_coverage(items, name):
    rng, rounds, hits = np.random.default_rng(20), 600, 0
    truth = math.exp(math.hypot(0.5, 1.5) * stats.norm.ppf(PERCENTILES[name]))
    for _ in range(rounds):
        found, draws = draw(tokens(rng, items), np.zeros(items, int), rng)
        low, high = bootstrap.interval(of_draws(found[name], draws, name, "tokens")[1][:, 0])
        hits += low <= truth <= high
    assert 0.93 - 0.025 <= hits / rounds <= 0.97 + 0.025, f"covered {hits / rounds:.3f}"
