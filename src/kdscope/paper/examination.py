"""The paper re-examined: every analysis of its tables, in one record."""

from pathlib import Path
from typing import Any, NamedTuple

from kdscope.paper.classic_tests import all_tables
from kdscope.paper.corrected import Corrected, adjust_primary, corrected_tests
from kdscope.paper.grid import Grid
from kdscope.paper.nearest import Nearest, nearest_to_table_5
from kdscope.paper.noise import Collapsed, TaskNoise, collapsed, task_noise
from kdscope.paper.printed import BENCHMARKS, statistics
from kdscope.paper.records import (
    Analysis,
    Comparison,
    Refusal,
    comparison_of_printed,
    equal_at_two_decimals,
)
from kdscope.paper.results import Released, aligned_grid, paper_grid, read_released
from kdscope.stats.multiplicity import adjust

MARGIN = 1.0
CLASSICAL: tuple[Analysis, ...] = ("paper-exact", "printed-tables", "tau-1")
_DATA = {"paper-exact": "best", "printed-tables": "printed", "tau-1": "tau-1"}


class Verdicts(NamedTuple):
    """One way of running the paper's own tests, against what the paper prints (Tables 1 to 4).

    Attributes:
        cells: statistics that this data carries, of 126.
        equal: those equal to the printed number at two decimals.
        flips: those whose p < .05 contradicts the printed bold.
        significant, after_bh, after_holm: how many have p < .05, plain and adjusted for the family.
        table_5_cells, table_5_equal: the same for the six cells of Table 5.
    """

    analysis: str
    cells: int
    equal: int
    flips: int
    significant: int
    after_bh: int
    after_holm: int
    table_5_cells: int
    table_5_equal: int


class Reexamination(NamedTuple):
    """Everything that ``kdscope paper`` knows."""

    comparisons: list[Comparison]
    verdicts: list[Verdicts]
    refusals: list[Refusal]
    printed: dict[str, Grid]
    grids: dict[str, Grid]
    aligned: dict[str, Grid]
    released: dict[str, Released] | None
    nearest: Nearest | None
    noise: dict[str, list[TaskNoise]]
    collapsed: list[Collapsed]
    margin: float

    def find(self, analysis: str, benchmark: str, test: str, task: str) -> Comparison | None:
        """The comparison of that name, None where the data do not carry it."""
        wanted = (analysis, benchmark, test, task)
        for c in self.comparisons:
            if (c.analysis, c.benchmark, c.test, c.task) == wanted:
                return c
        return None


def examine(results: Path | None = None, margin: float = MARGIN) -> Reexamination:
    """Re-examine the paper, from its printed tables or, with ``results``, from its released files.

    The corrected analysis takes the runs at tau = 1, which the paper says it uses; without released
    files, the printed tables.
    """
    released = read_released(results) if results else None
    comparisons: list[Comparison] = []
    for analysis in CLASSICAL:
        comparisons += classical(analysis, released)
    data = "tau-1" if released else "printed"
    grids = {name: paper_grid(name, data, released and released[name]) for name in BENCHMARKS}
    aligned = {
        name: aligned_grid(name, released[name]) if released else grids[name] for name in BENCHMARKS
    }
    corrected = [corrected_tests(grids[name], aligned[name], margin) for name in BENCHMARKS]
    comparisons += adjust_primary([c for part in corrected for c in part.comparisons])
    return Reexamination(
        comparisons,
        [verdicts(analysis, comparisons) for analysis in CLASSICAL],
        _refusals(corrected),
        {name: paper_grid(name, "printed", None) for name in BENCHMARKS},
        grids,
        aligned,
        released,
        nearest_to_table_5(results, released["math"]) if results and released else None,
        {name: task_noise(paper_grid(name, "printed", None)) for name in BENCHMARKS},
        [run for name in BENCHMARKS for run in collapsed(grids[name])],
        margin,
    )


def classical(analysis: Analysis, released: dict[str, Released] | None) -> list[Comparison]:
    """The paper's tests on one kind of data, in the order of the printed cells.

    Without released files ``paper-exact`` holds the printed numbers alone (one row per cell,
    nothing recomputed), ``tau-1`` nothing, ``printed-tables`` what Tables 7 and 8 carry.
    """
    found: dict[Any, Comparison] = {}
    if released or analysis == "printed-tables":
        for benchmark in BENCHMARKS:
            grid = paper_grid(benchmark, _DATA[analysis], released and released[benchmark])
            done, _ = all_tables(grid, analysis)
            found |= {c.key: c for c in done}
    rows = []
    for cell in statistics():
        computed = found.get(cell.key)
        if computed is None and analysis != "paper-exact":
            continue
        row = computed or comparison_of_printed(analysis, cell)
        matches = None
        if row.statistic is not None:
            matches = equal_at_two_decimals(row.statistic, cell.statistic)
        rows.append(row._replace(printed=cell.statistic, matches=matches))
    for tables in ((1, 2, 3, 4), (5,)):
        family = [i for i, row in enumerate(rows) if row.table in tables]
        for i, p in zip(family, adjust([rows[i].p for i in family]), strict=True):
            rows[i] = rows[i]._replace(p_adjusted=p)
    return rows


def verdicts(analysis: str, comparisons: list[Comparison]) -> Verdicts:
    """Count equal statistics and changed verdicts of one of the three classical analyses."""
    bold = {cell.key: cell.bold for cell in statistics()}
    rows = [c for c in comparisons if c.analysis == analysis and c.p is not None]
    main = [c for c in rows if c.table <= 4]
    fifth = [c for c in rows if c.table == 5]
    bh = adjust([c.p for c in main], "bh")
    return Verdicts(
        analysis,
        len(main),
        sum(bool(c.matches) for c in main),
        sum(significant(c) != bold[c.key] for c in main),
        sum(significant(c) for c in main),
        sum(p is not None and p < 0.05 for p in bh),
        sum(c.p_adjusted is not None and c.p_adjusted < 0.05 for c in main),
        len(fifth),
        sum(bool(c.matches) for c in fifth),
    )


def significant(c: Comparison) -> bool:
    """The paper's criterion: p < .05, whatever the number of tests."""
    return c.p is not None and c.p < 0.05


def _refusals(parts: list[Corrected]) -> list[Refusal]:
    return list(dict.fromkeys(refusal for part in parts for refusal in part.refusals))
