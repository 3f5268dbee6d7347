"""Tables in their four forms, hostile cells included."""

import csv
import io

import pytest
from synthetic_study import HOSTILE

from kdscope.errors import UserError
from kdscope.report.tabulate import (
    Probability,
    Quantity,
    Table,
    export,
    html_cell,
    number,
    p_value,
    sort_key,
    to_csv,
    to_latex,
    to_markdown,
)

TABLE = Table(
    "t",
    "A caption",
    ["system", "accuracy", "n"],
    [["a_b & c", Quantity(61.234, 58.0, 64.5, strong=True), 1250], ["=1+1", Quantity(None), None]],
)


def test_csv_keeps_bounds_apart_and_disarms_formulas() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == ["system", "accuracy", "accuracy low", "accuracy high", "n"]
    assert rows[1] == ["a_b & c", "61.234", "58.0", "64.5", "1250"]
    assert rows[2] == ["'=1+1", "", "", "", ""]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_cells(text: str) -> None:
    table = Table("t", text, ["x", "y"], [[text, 1]])
    assert not next(csv.reader(io.StringIO(to_csv(table).split("\n", 1)[1])))[0].startswith(
        ("=", "+", "-", "@")
    )
    assert "<script" not in str(html_cell(text))
    assert "<img" not in to_markdown(table)
    assert "\\input" not in to_latex(table)


def test_markdown() -> None:
    lines = to_markdown(TABLE).splitlines()
    assert lines[1] == "|---|---:|---:|"
    assert lines[2] == r"| a\_b & c | **61.2 [58.0, 64.5]** | 1,250 |"


def test_latex_has_booktabs_and_escapes() -> None:
    text = to_latex(TABLE)
    assert r"\toprule" in text
    assert r"a\_b \& c & \textbf{61.2 [58.0, 64.5]} & 1,250 \\" in text
    assert r"\begin{tabular}{lrr}" in text


def test_numbers() -> None:
    assert number(-0.04) == "0.0"
    assert number(-3.0, signed=True) == "−3.0"
    assert number(None) == "–"
    assert number(float("nan")) == "–"
    assert [p_value(p) for p in (0.0001, 0.0123, 1.0, None)] == ["< .001", ".012", "1.000", "–"]


def test_export_writes_every_format(tmp_path) -> None:
    names = [path.name for path in export([TABLE], tmp_path, ["csv", "markdown", "latex"])]
    assert names == ["t.csv", "t.md", "t.tex"]
    with pytest.raises(UserError, match="choose among csv, markdown, latex"):
        export([TABLE], tmp_path, ["xlsx"])


def test_p_values_are_shown_short_and_kept_exact() -> None:
    cells = [Probability(0.00002), Probability(0.04), Probability(1.0), Probability(None)]
    assert [str(html_cell(cell)) for cell in cells] == ["&lt; .001", ".040", "1.000", "–"]
    assert [sort_key(cell) for cell in cells] == ["2e-05", "0.04", "1.0", ""]
    table = Table("t", "c", ["p"], [[cell] for cell in cells], "a note", (), ["wilson95"])
    assert table.numeric == [True]
    assert to_csv(table).split() == ["p", "2e-05", "0.04", "1.0", '""']
    assert to_latex(table).startswith("% c\n% a note\n% wilson95\n")
