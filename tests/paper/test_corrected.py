"""The corrected analysis against the research note's values on the printed tables."""

import numpy as np
import pytest

from kdscope.paper.alignment import (
    AGREEMENT_GAIN,
    EXPECTED_GAIN,
    GAIN_AGAINST_GAIN,
    LEVEL_AGAINST_LEVEL,
    expected_agreement,
    kappa,
    with_kappa,
)
from kdscope.paper.corrected import WITHOUT, corrected_tests
from kdscope.paper.covariates import HEADROOM, SIZE, SIZE_PARTIAL, TEACHER_PARTIAL
from kdscope.paper.gains import FRIEDMAN, MIXED
from kdscope.paper.noise import HALF_WIDTH, collapsed, task_noise
from kdscope.paper.printed import tasks_of
from kdscope.paper.records import AVERAGE
from kdscope.paper.results import aligned_grid


def of(x, benchmark, test, task=AVERAGE):
    found = x.find("corrected", benchmark, test, task)
    assert found is not None, test
    return found


def test_methods_within_pairs(printed):
    assert of(printed, "math", FRIEDMAN).statistic == pytest.approx(18.73, abs=0.01)
    assert of(printed, "math", FRIEDMAN).p == pytest.approx(8.6e-5, rel=0.01)
    assert of(printed, "math", MIXED).statistic == pytest.approx(27.59, abs=0.02)
    assert of(printed, "commonsense", FRIEDMAN).p == pytest.approx(0.086, abs=0.001)
    difference = of(printed, "math", "methods: RevKD - SeqKD")
    assert difference[6:9] == pytest.approx((3.91, 2.80, 5.03), abs=0.006)
    other = of(printed, "math", "methods: GKD - SeqKD")
    assert other[6:9] == pytest.approx((3.08, 1.63, 4.53), abs=0.006)
    last = of(printed, "math", "methods: GKD - RevKD")
    assert last[6:9] == pytest.approx((-0.83, -2.14, 0.48), abs=0.006)


def test_equivalence_at_the_stated_margin(printed):
    grid = printed.grids["math"]
    wide = corrected_tests(grid, grid, 2.0).comparisons
    name = "methods: GKD = RevKD within 2 points (TOST)"
    assert next(c.p for c in wide if c.test == name and c.task == AVERAGE) == pytest.approx(
        0.037, abs=0.001
    )
    narrow = [c for c in printed.comparisons if "(TOST)" in c.test and c.task == AVERAGE]
    assert len(narrow) == 6
    assert all(c.p > 0.05 for c in narrow)


def test_size_over_students_and_given_the_baseline(printed):
    assert of(printed, "math", SIZE).estimate == pytest.approx(-0.84, abs=0.005)
    assert of(printed, "math", SIZE).p == pytest.approx(32 / 720)
    assert of(printed, "commonsense", SIZE).estimate == pytest.approx(-0.49, abs=0.005)
    assert of(printed, "commonsense", SIZE).p == pytest.approx(0.33, abs=0.005)
    assert of(printed, "math", SIZE_PARTIAL).estimate == pytest.approx(-0.30, abs=0.005)
    assert of(printed, "commonsense", SIZE_PARTIAL).estimate == pytest.approx(0.23, abs=0.005)
    assert of(printed, "math", HEADROOM).estimate == pytest.approx(-0.33, abs=0.005)
    assert of(printed, "commonsense", HEADROOM).estimate == pytest.approx(-0.09, abs=0.005)


def test_teacher_given_size(printed):
    assert of(printed, "math", TEACHER_PARTIAL).estimate == pytest.approx(0.29, abs=0.005)
    assert of(printed, "commonsense", TEACHER_PARTIAL).estimate == pytest.approx(-0.03, abs=0.005)


def test_agreement_follows_accuracy_in_every_task_but_aqua(full):
    math = {t: of(full, "math", GAIN_AGAINST_GAIN, t).estimate for t in tasks_of("math")}
    assert math.pop("AQuA") == pytest.approx(-0.29, abs=0.005)
    assert min(math.values()) == pytest.approx(0.73, abs=0.005)
    levels = [of(full, "math", LEVEL_AGAINST_LEVEL, t).estimate for t in math]
    assert min(levels) == pytest.approx(0.90, abs=0.005)
    other = [
        of(full, "commonsense", GAIN_AGAINST_GAIN + WITHOUT, t).estimate
        for t in tasks_of("commonsense")
    ]
    assert min(other) == pytest.approx(0.93, abs=0.005)
    assert of(full, "commonsense", GAIN_AGAINST_GAIN + WITHOUT, "BoolQ").n == 8


def test_most_of_the_agreement_gain_is_accuracy(full):
    cells = with_kappa(full.aligned["math"].cells.query("task != 'average'"))
    assert cells["agreement_gain"].mean() == pytest.approx(5.38, abs=0.005)
    assert cells["expected_gain"].mean() == pytest.approx(4.54, abs=0.005)
    assert cells["kappa_sft"].mean() == pytest.approx(17.0, abs=0.05)
    assert cells["kappa"].mean() == pytest.approx(21.3, abs=0.05)
    assert (cells["kappa_gain"] > 0).sum() == 54
    assert of(full, "math", EXPECTED_GAIN).estimate < of(full, "math", AGREEMENT_GAIN).estimate
    grid = full.aligned["commonsense"]
    lost = {(run.teacher, run.student) for run in collapsed(grid)}
    cells = with_kappa(grid.cells.query("task != 'average'"))
    keys = zip(cells["teacher"], cells["student"], strict=True)
    cells = cells[[key not in lost for key in keys]]
    assert cells["agreement_gain"].mean() == pytest.approx(5.93, abs=0.005)
    assert cells["expected_gain"].mean() == pytest.approx(4.22, abs=0.005)
    assert (cells["kappa_gain"] > 0).sum() == 59
    assert len(cells) == 64


def test_the_released_agreement_is_possible_for_the_runs_it_is_joined_to(full):
    """Two accuracies bound an agreement: max(0, t + s - 1) <= agreement <= 1 - |t - s|."""
    for benchmark in ("math", "commonsense"):
        cells = aligned_grid(benchmark, full.released[benchmark]).cells.dropna(subset=["agreement"])
        t, s = cells["teacher_score"], cells["score"]
        assert len(cells) == 11 * len(tasks_of(benchmark))
        assert (cells["agreement"] >= np.maximum(0, t + s - 100) - 0.02).all()
        assert (cells["agreement"] <= 100 - (t - s).abs() + 0.02).all()


def test_expected_agreement_and_kappa():
    assert expected_agreement(0.8, 0.5, np.nan) == pytest.approx(0.4)
    assert expected_agreement(0.8, 0.5, 5) == pytest.approx(0.4 + 0.2 * 0.5 / 4)
    assert expected_agreement(1.0, 0.3, 2) == pytest.approx(0.3)
    assert kappa(0.4, 0.4) == pytest.approx(0.0)
    assert kappa(1.0, 0.4) == pytest.approx(1.0)


def test_noise_of_one_run(printed):
    found = {item.task: item for items in printed.noise.values() for item in items}
    expected = {"AQuA": (7.8, 1, 0), "AddSub": (5.1, 12, 0), "MultiArith": (3.2, 24, 0)}
    expected |= {"OBQA": (5.3, 11, 0), "HellaSwag": (1.4, 25, 6), "WinoGrande": (3.8, 17, 2)}
    for task, (half, up, down) in expected.items():
        item = found[task]
        assert item.half_width == pytest.approx(half, abs=0.05)
        assert (item.up, item.down, item.runs) == (up, down, 33)
    assert of(printed, "math", HALF_WIDTH, "AQuA").n == 254
    assert len(task_noise(printed.grids["math"])) == 6


def test_collapsed_runs_are_named(full):
    commonsense = [run for run in full.collapsed if run.benchmark == "commonsense"]
    deep = [run for run in commonsense if run.difference < -10]
    assert {run.method for run in deep} == {"RevKD"}
    assert sorted(round(run.average, 2) for run in deep) == [10.55, 17.45, 21.92, 42.14]


def test_holm_runs_over_the_whole_family(full):
    family = [
        c
        for c in full.comparisons
        if c.analysis == "corrected" and c.p_adjusted is not None and c.test == FRIEDMAN
    ]
    assert len(family) == 16
    assert all(c.p_adjusted >= c.p for c in family)
