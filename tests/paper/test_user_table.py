"""``analyze`` on the paper's files as they are, and on tables that lack something."""

import itertools

import numpy as np
import pytest

from kdscope.paper.user_table import analyze, as_document, in_words

FILES = (
    "math_results_main.csv",
    "cs_results_main.csv",
    "llama_math_results.csv",
    "llama_cs_results.csv",
)


@pytest.mark.parametrize("name", FILES)
def test_the_papers_main_files_as_they_are(results, name):
    x = analyze(results / name)
    document = as_document(x)
    assert document["benchmark"] == ("math" if "math" in name else "commonsense")
    assert {c["analysis"] for c in document["comparisons"]} >= {"paper-exact", "corrected"}
    assert any(not test["permitted"] and test["reason"] for test in document["tests"])
    assert "Not permitted by this table" in in_words(x)


def write(tmp_path, rows, columns):
    path = tmp_path / "mine.csv"
    lines = [",".join(columns)] + [",".join(str(value) for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


BASELINE = (50, 58, 55, 66)  # not in the order of size, so that the two can be told apart


def study(seeds=(0, 1, 2), students=("s-0.5B", "s-1B", "s-2B", "s-3B"), sft=True):
    rng = np.random.default_rng(0)
    rows = []
    teachers = ("t-7B", "t-14B")
    for task, seed in itertools.product(("one", "two"), seeds):
        if sft:
            rows += [
                ["", m, "sft", seed, task, BASELINE[i], 500, 40] for i, m in enumerate(students)
            ]
            rows += [["", m, "sft", seed, task, 80 + i, 500, ""] for i, m in enumerate(teachers)]
        for (i, s), t, (j, m) in itertools.product(
            enumerate(students), teachers, enumerate(("fkl", "revkd", "gkd"))
        ):
            score = BASELINE[i] + 9 - 2 * i + j + rng.normal()
            rows.append([t, s, m, seed, task, round(score, 2), 500, round(45 + rng.normal(), 2)])
    return rows


COLUMNS = ("teacher", "student", "method", "seed", "task", "score", "n", "agreement")


def permits(x):
    return {permit.test: permit for permit in x.permits}


def test_a_full_study_permits_nearly_everything(tmp_path):
    x = analyze(write(tmp_path, study(), COLUMNS))
    found = permits(x)
    refused = {name for name, permit in found.items() if not permit.permitted}
    assert refused == {
        "Spearman rank of gain and fidelity",
        "fidelity: gain against fidelity gain (Spearman)",
    }
    spread = next(c for c in x.comparisons if c.test.startswith("spread between seeds"))
    assert spread.low < spread.estimate < spread.high


@pytest.mark.parametrize(
    ("change", "test", "words"),
    [
        ({"seeds": (0,)}, "spread between seeds (standard deviation)", "one seed"),
        ({"students": ("s-1B",)}, "size: Spearman over students", "student sizes"),
        ({"students": ("s-1B",)}, "gain over SFT (mean over students)", "one student"),
        ({"students": ("small", "large")}, "size: Spearman over students", "no student size"),
        ({"sft": False}, "gain over SFT (mean over students)", "no SFT rows"),
    ],
)
def test_what_a_table_lacks_is_said_not_failed(tmp_path, change, test, words):
    x = analyze(write(tmp_path, study(**change), COLUMNS))
    assert not permits(x)[test].permitted
    assert words in permits(x)[test].reason


def test_without_sft_rows_methods_are_still_compared(tmp_path):
    found = permits(analyze(write(tmp_path, study(sft=False), COLUMNS)))
    assert found["methods: Friedman over pairs"].permitted
    assert found["methods: fkl - revkd"].permitted


def test_one_method_or_none(tmp_path):
    rows = [row for row in study() if row[2] in ("sft", "gkd")]
    found = permits(analyze(write(tmp_path, rows, COLUMNS)))
    assert "one method (gkd)" in found["comparison of methods"].reason
    rows = [row for row in rows if row[2] == "sft"]
    x = analyze(write(tmp_path, rows, COLUMNS))
    assert x.comparisons == []
    assert "no distilled student" in x.permits[0].reason


def test_planted_effects_are_found(tmp_path):
    x = analyze(write(tmp_path, study(), COLUMNS))
    found = {c.test: c for c in x.comparisons if c.analysis == "corrected" and c.task == "average"}
    assert found["methods: Friedman over pairs"].p < 0.05
    assert found["methods: gkd - revkd"].estimate == pytest.approx(1.0, abs=0.5)
    assert found["size: points per doubling"].estimate < 0


def test_every_p_and_bound_is_possible(results):
    for c in analyze(results / "cs_results_main.csv").comparisons:
        assert c.p is None or 0 <= c.p <= 1
        assert c.p_adjusted is None or c.p_adjusted >= c.p
        assert c.low is None or c.low <= c.estimate <= c.high
