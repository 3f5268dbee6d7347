"""The JSON contract of ``kdscope paper`` and the files it writes."""

import json
from collections import Counter

import pandas as pd
import pytest

from kdscope.paper.claims import check_claims
from kdscope.paper.document import as_document, latex, side_by_side, write_files
from kdscope.paper.printed import statistics

FIELDS = [
    *("analysis", "table", "benchmark", "test", "task", "statistic", "estimate", "low", "high"),
    *("p", "p_adjusted", "n", "printed", "matches"),
]


@pytest.fixture(scope="module")
def document(full):
    return json.loads(json.dumps(as_document(full, check_claims(full)), allow_nan=False))


def test_every_comparison_has_exactly_the_contracts_fields(document):
    assert all(list(c) == FIELDS for c in document["comparisons"])
    assert {c["analysis"] for c in document["comparisons"]} == {
        "paper-exact",
        "printed-tables",
        "tau-1",
        "corrected",
    }
    assert {c["table"] for c in document["comparisons"]} == {1, 2, 3, 4, 5}
    assert {c["benchmark"] for c in document["comparisons"]} == {"math", "commonsense"}


def test_one_exact_row_per_printed_cell_and_nothing_else(document):
    exact = [c for c in document["comparisons"] if c["analysis"] == "paper-exact"]
    keys = Counter((c["table"], c["benchmark"], c["test"], c["task"]) for c in exact)
    assert keys == Counter(cell.key for cell in statistics())
    assert Counter(c["table"] < 5 for c in exact) == {True: 126, False: 6}
    assert sum(c["matches"] for c in exact if c["table"] < 5) == 126
    assert sum(c["matches"] for c in exact if c["table"] == 5) == 0
    assert all(c["printed"] is not None and c["n"] in (11, 33) for c in exact)


def test_tasks_have_the_papers_names(document):
    names = {cell.task for cell in statistics()}
    assert {c["task"] for c in document["comparisons"]} == names


def test_side_by_side_knows_which_verdicts_change(full):
    rows = side_by_side(full)
    assert len(rows) == 132
    by_key = {(r["table"], r["benchmark"], r["test"], r["task"]): r for r in rows}
    assert by_key[1, "math", "ANOVA all methods", "average"]["verdict_changes"] is True
    assert by_key[1, "math", "t-test all methods", "average"]["verdict_changes"] is False
    # Both significant, of opposite sign: agreement falls with gain in print, rises with it in fact.
    assert by_key[4, "math", "Spearman rank", "MultiArith"]["verdict_changes"] is True


def test_files(full, tmp_path):
    paths = write_files(full, check_claims(full), tmp_path)
    assert {path.name for path in paths} >= {"paper.json", "side_by_side.csv", "tables.tex"}
    assert len(pd.read_csv(tmp_path / "side_by_side.csv")) == 132


def test_claims_carry_their_studies_in_json_and_csv(full, document, tmp_path):
    write_files(full, check_claims(full), tmp_path)
    table = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False)
    assert ["; ".join(c["presets"]) for c in document["claims"]] == list(table["presets"])
    assert list(document["claims"][0]) == [
        *("claim", "where", "printed", "recomputed", "verdict", "note", "presets", "status")
    ]


def test_latex_is_balanced_and_bold_as_printed(full):
    text = latex(full)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 9
    assert r"\toprule" in text
    assert r"$\mathbf{8.47}$" in text
    assert "nan" not in text
    assert "None" not in text
