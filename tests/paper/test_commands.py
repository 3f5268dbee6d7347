"""The verbs in a subprocess: exit status, streams, files."""

import json
import os
import subprocess
import sys

import pytest


def kdscope(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "kdscope", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_paper_as_json_is_json_alone_and_writes_nothing(results, tmp_path):
    done = kdscope("paper", "--results", results, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert len(document["claims"]) > 40
    assert [v["flips"] for v in document["summary"]] == [1, 16, 35]
    assert list(tmp_path.iterdir()) == []


def test_paper_alone_writes_its_page(tmp_path):
    done = kdscope("paper", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "runs" / "paper" / "index.html").read_text(encoding="utf-8")
    assert "https://" not in page.replace("http://www.w3.org", "")
    assert "<svg" in page


def test_analyze_as_json(results, tmp_path):
    done = kdscope("analyze", results / "llama_math_results.csv", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["comparisons"]


def test_a_users_mistake_ends_with_two_and_no_traceback(tmp_path):
    (tmp_path / "bad.csv").write_text("teacher,student,method,seed,task,score\n,s,sft,0,a,x\n")
    done = kdscope("analyze", "bad.csv", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "row 1 (line 2), column 'score'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("margin", ["0", "-1"])
def test_a_margin_must_be_positive(tmp_path, margin):
    assert kdscope("paper", "--margin", margin, cwd=tmp_path).returncode == 2
