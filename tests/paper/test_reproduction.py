"""Tables 1 to 5 against the golden values: 132 cells, three kinds of data."""

import csv
from pathlib import Path

import pytest

from kdscope.paper.examination import CLASSICAL
from kdscope.paper.printed import statistics
from kdscope.paper.records import equal_at_two_decimals
from kdscope.stats.multiplicity import write_p

COLUMNS = {"paper-exact": "exact", "printed-tables": "printed_tables", "tau-1": "tau_1"}


def golden():
    with open(Path(__file__).parent / "golden.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("analysis", CLASSICAL)
def test_every_cell_has_its_golden_value(full, analysis):
    found = {c.key: c for c in full.comparisons if c.analysis == analysis}
    rows = golden()
    assert len(found) == len(rows) == 132
    column = COLUMNS[analysis]
    for row in rows:
        c = found[int(row["table"]), row["benchmark"], row["test"], row["task"]]
        assert equal_at_two_decimals(c.statistic, float(row[column])), row
        assert write_p(c.p).replace(" ", "") == row[f"{column}_p"], row


def test_the_paper_reproduces_to_the_digit_except_table_5(full):
    exact, printed, tau_1 = full.verdicts
    assert (exact.cells, exact.equal, exact.flips) == (126, 126, 1)
    assert (exact.table_5_cells, exact.table_5_equal) == (6, 0)
    assert (printed.equal, printed.flips) == (20, 16)
    assert (tau_1.equal, tau_1.flips) == (18, 35)
    assert (exact.significant, exact.after_bh, exact.after_holm) == (78, 73, 36)


def test_the_one_flip_is_the_double_rounding_of_winogrande(full):
    bold = {cell.key: cell.bold for cell in statistics()}
    flipped = [
        c
        for c in full.comparisons
        if c.analysis == "paper-exact" and c.table < 5 and (c.p < 0.05) != bold[c.key]
    ]
    assert [(c.table, c.benchmark, c.task) for c in flipped] == [(3, "commonsense", "WinoGrande")]
    assert write_p(flipped[0].p) == ".051"


def test_nothing_released_comes_near_table_5(full):
    assert full.nearest.file == "BLEU.csv"
    assert full.nearest.worst == pytest.approx(0.23, abs=0.005)


def test_without_files_the_printed_cells_are_all_there_and_nothing_is_invented(printed):
    exact = [c for c in printed.comparisons if c.analysis == "paper-exact"]
    assert len(exact) == 132
    assert all(c.statistic is None and c.matches is None for c in exact)
    assert not [c for c in printed.comparisons if c.analysis == "tau-1"]
    assert printed.verdicts[1].cells == 112
    assert printed.verdicts[1].equal == 20


@pytest.mark.parametrize(
    ("number", "printed", "same"),
    [(0.0049, 0.0, True), (-0.004, 0.0, True), (4.0749, 4.07, True), (4.0751, 4.07, False)],
)
def test_two_decimals(number, printed, same):
    assert equal_at_two_decimals(number, printed) is same
