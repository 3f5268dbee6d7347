"""The whole pipeline on the embedded family, as a user runs it: small here, killed and resumed in `slow`."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdscope import tables
from kdscope.study.launch import page_lines

SMALL = ["seeds=[0]", "train.limit=48", "train.epochs=1", "students=[tiny-student-small]"]

# group of metrics: sections of the page, tables and charts in it, measures in the table comparisons
GROUPS = {
    "answers": (
        "fidelity",
        "fidelity agreement-before-after teacher-wrong",
        "agreement agreement_when_teacher_right agreement_when_teacher_wrong kappa error_consistency "
        "volume direction expected_agreement flips_up flips_down self_agreement gain_in_agreement",
    ),
    "noise floor and ceiling": (
        "samples",
        "sampling-noise",
        "self_agreement_reference self_agreement_other agreement_over_samples agreement_normalised",
    ),
    "text with floors": (
        "fidelity",
        "bleu-conventions bleu-before-after",
        "bleu chrf rouge_l bleu_floor chrf_floor rouge_l_floor bleu_second chrf_second rouge_l_second "
        "self_bleu gain_in_bleu bleu_nltk",
    ),
    "reasoning": (
        "steps",
        "steps-shared reasoning-by-answer error-kinds",
        "equation_f1 value_f1 order diverges_at_first_step arithmetic_validity "
        "same_reasoning_same_answer answer_given_same_steps error_wrong_operation",
    ),
    "distributions": (
        "tokens",
        "exposure-bias token-distances token-percentiles",
        "forward_kl_on_reference reverse_kl_on_teacher jsd_on_student top1_on_student topk_on_student "
        "exposure_bias forward_kl_on_student_p90",
    ),
    "inheritance": (
        "inheritance",
        "inherited-errors rewording",
        "teacher_errors repeated_errors own_errors operation steps length topic "
        "consistency_under_rewording",
    ),
    "calibration": (
        "options",
        "calibration reliability risk-coverage",
        "ece ace brier nll capa confidence_pearson option_agreement option_kl option_jsd",
    ),
    "statistics on items": (
        "tests methods-compared certainty",
        "differences paper-tests mcnemar power families",
        "difference_in_accuracy equivalence standard_error_items collapsed mean_rank "
        "probability_of_improvement effect_size items_needed",
    ),
}

# What the page rightly misses in a run of one seed without an axis of settings.
RIGHTLY_MISSED = ("No method was run at several settings", "Every cell has one seed")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "kdscope", *map(str, arguments)]


def kdscope(*arguments: object, timeout: int = 560) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def small_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "small"
    done = kdscope("run", "quickstart", *SMALL, "--limit", 12, "--out", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_every_table_is_written_and_keeps_its_schema(small_run):
    for name in tables.SCHEMAS:
        assert tables.read(name, small_run / "tables" / f"{name}.parquet").num_rows > 0, name


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_of_metrics_has_rows_and_its_place_in_the_page(small_run, group):
    """So that none can disappear silently: a preset that draws no sample or scores no option fails."""
    sections, shown, measures = GROUPS[group]
    rows = tables.read("comparisons", small_run / "tables" / "comparisons.parquet").to_pandas()
    rows = rows[rows["estimate"].notna()]
    groups = {name.partition(": ")[0] for name in rows.loc[rows["scope"].eq("group"), "reference"]}
    assert set(measures.split()) - set(rows["measure"]) - groups == set()
    page = (small_run / "report" / "index.html").read_text(encoding="utf-8")
    starts = [page.index(f'<section id="{name}">') for name in sections.split()]
    parts = "".join(page[start : page.index("</section>", start)] for start in starts)
    assert [name for name in shown.split() if f'id="t-{name}"' not in parts] == []
    missing = re.findall(r'class="missing">([^<]*)', parts)
    assert [text for text in missing if not text.startswith(RIGHTLY_MISSED)] == []


def test_every_method_answers_every_item_once(small_run):
    frame = tables.read("generations", small_run / "tables" / "generations.parquet").to_pandas()
    systems = frame.groupby("model")["item"].count()
    assert set(systems) == {3 * 36}  # 3 tasks of 12 items, each answered and sampled twice
    assert set(frame["method"]) == {"base", "sft", "seqkd", "fkl", "revkd", "gkd"}
    assert frame["prompt_hash"].nunique() == 36
    assert (frame["correct"] <= frame["valid"]).all()


def test_the_viewer_of_every_answer_is_there_when_the_run_ends(small_run):
    viewer = small_run / "report" / "viewer" / "index.html"
    assert viewer.is_file()
    page = (small_run / "report" / "index.html").read_text(encoding="utf-8")
    assert 'href="viewer/index.html"' in page
    assert any(f"every answer: {viewer}" in line for line in page_lines(small_run))


def test_the_report_is_one_page_that_asks_for_nothing(small_run):
    page = (small_run / "report" / "index.html").read_text(encoding="utf-8")
    assert len(page) < 3e6
    assert "Content-Security-Policy" in page
    assert "<script src" not in page
    assert "kdscope run quickstart" in page


def test_the_same_command_again_does_no_work_and_says_so(small_run):
    before = {
        path: path.stat().st_mtime_ns for path in (small_run / "steps").rglob("manifest.json")
    }
    again = kdscope("run", "quickstart", *SMALL, "--limit", 12, "--out", small_run)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr + again.stdout
    after = {path: path.stat().st_mtime_ns for path in (small_run / "steps").rglob("manifest.json")}
    assert before == after


def test_the_cache_saves_the_teacher_from_reading_twice(small_run):
    manifests = map(json.loads, (p.read_text() for p in small_run.rglob("manifest.json")))
    kinds = [manifest["kind"] for manifest in manifests]
    assert kinds.count("teacher_cache") == 1
    assert kinds.count("teacher_texts") == 1


def test_a_trained_model_is_exported_as_a_hub_folder(small_run, tmp_path):
    model, out = "tiny-student-small/gkd/tiny-teacher/s0", tmp_path / "hub"
    done = kdscope("export", small_run, model, "--out", out)
    assert done.returncode == 0, done.stderr
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "tiny-student-small"
    card = (out / "README.md").read_text(encoding="utf-8")
    for words in ("library_name: peft", "b KL(p || m)", "What is lost", "kdscope run study.yaml"):
        assert words in card
    assert str(small_run) not in card
    results = (out / ".eval_results" / "kdscope.yaml").read_text()
    assert results.count("task_id:") == 3
    again = kdscope("export", small_run, model, "--out", out)
    assert again.returncode == 2
    assert "not empty" in again.stderr


@pytest.mark.parametrize("form", ["dataset", "lm-eval", "inspect"])
def test_answers_are_exported(small_run, tmp_path, form):
    done = kdscope("export", small_run, "--as", form, "--out", tmp_path / form, "--json")
    assert done.returncode == 0, done.stderr
    files = [Path(name) for name in json.loads(done.stdout)["files"]]
    systems = 1 + 1 + 6  # the teacher tuned and not, the student untuned and by five methods
    tasks = 3
    each = {"lm-eval": tasks + 1, "inspect": tasks}  # samples, and the results of all tasks
    assert len(files) == (6 if form == "dataset" else each[form] * systems)
    assert all(path.stat().st_size for path in files)


def equal_tables(one: Path, other: Path) -> None:
    for name in tables.SCHEMAS:
        if name == "steps" or not (one / "tables" / f"{name}.parquet").is_file():
            continue
        left, right = (
            tables.read(name, run / "tables" / f"{name}.parquet") for run in (one, other)
        )
        assert left.equals(right), name


@pytest.mark.slow
def test_killed_in_the_middle_it_ends_with_equal_tables(tmp_path):
    """The driver and its workers are killed (-9) at two random moments; the same command goes on."""
    arguments = ["run", "quickstart", *SMALL, "--limit", 40, "--out"]
    assert kdscope(*arguments, tmp_path / "whole").returncode == 0
    moments = random.Random(0)
    for _ in range(2):
        process = subprocess.Popen(
            command(*arguments, tmp_path / "killed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(8, 25))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        time.sleep(3)
    assert kdscope(*arguments, tmp_path / "killed").returncode == 0
    equal_tables(tmp_path / "whole", tmp_path / "killed")
