"""Both analyses on any table of scores: the paper's statistics and the corrected ones."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from kdscope.paper.classic_tests import all_tables
from kdscope.paper.corrected import adjust_primary, corrected_tests
from kdscope.paper.examination import MARGIN
from kdscope.paper.grid import NOT_METHODS, PAIR, Grid, build_grid, select_best, select_temperature
from kdscope.paper.noise import Collapsed, TaskNoise, collapsed, task_noise
from kdscope.paper.reading import UNTUNED_TEACHER, Scores, read_scores
from kdscope.paper.records import AVERAGE, Analysis, Comparison, Permit, Refusal
from kdscope.stats.multiplicity import adjust, write_p

_RUNS_SHOWN = 40


class TableAnalysis(NamedTuple):
    """What a table of scores says, and what it cannot say.

    Attributes:
        comparisons: ``paper-exact`` are the paper's tests as its notebooks would run them on this
            table (best temperature per task), ``tau-1`` the same at one temperature, ``corrected``
            ours.
        permits: every test by name, whether the table permits it, and if not, why.
    """

    source: str
    comparisons: list[Comparison]
    permits: list[Permit]
    notes: list[str]
    grid: Grid
    noise: list[TaskNoise]
    collapsed: list[Collapsed]
    margin: float


def analyze(path: Path, margin: float = MARGIN) -> TableAnalysis:
    """Read a table of scores and run every test that it permits.

    Raises:
        TableError: the file cannot be read as a table of scores; file, row and column are named.
    """
    return analyze_scores(read_scores(path), margin)


def analyze_scores(scores: Scores, margin: float = MARGIN) -> TableAnalysis:
    """The same for a table that was read already."""
    notes = list(scores.notes)
    temperature, several = _one_temperature(scores.frame, notes)
    fixed = select_temperature(scores, temperature)
    grid = build_grid(fixed)
    if grid.cells.empty:
        reason = "the table has no distilled student: every row is SFT, base or an untuned teacher"
        notes.append(reason)
        permits = [Permit("all tests", False, reason)]
        return TableAnalysis(scores.source, [], permits, notes, grid, [], [], margin)
    plans: list[tuple[Analysis, pd.DataFrame]] = [("paper-exact", select_best(scores))]
    if several:
        plans.append(("tau-1", fixed))
    comparisons, refusals = [], []
    for analysis, frame in plans:
        done, refused = all_tables(build_grid(frame), analysis)
        comparisons += _family(done)
        refusals += refused
    ours = corrected_tests(grid, grid, margin, fixed)
    comparisons += adjust_primary(ours.comparisons)
    refusals += ours.refusals
    return TableAnalysis(
        scores.source,
        comparisons,
        permits_of(comparisons, refusals),
        notes,
        grid,
        task_noise(grid),
        collapsed(grid),
        margin,
    )


def permits_of(comparisons: list[Comparison], refusals: list[Refusal]) -> list[Permit]:
    """Each test once: permitted where it ran on some task, else why it did not."""
    found = {c.test: Permit(c.test, True, "") for c in comparisons}
    partly: dict[str, list[str]] = {}
    for refusal in refusals:
        if refusal.test not in found:
            found[refusal.test] = Permit(refusal.test, False, refusal.reason)
        elif found[refusal.test].permitted:
            partly.setdefault(refusal.test, []).append(f"not on {refusal.task}: {refusal.reason}")
    for test, reasons in partly.items():
        found[test] = Permit(test, True, "; ".join(dict.fromkeys(reasons)))
    return list(found.values())


def _one_temperature(frame: pd.DataFrame, notes: list[str]) -> tuple[float, bool]:
    """The temperature of the corrected analysis: 1 where the table has it, else its lowest."""
    runs = frame[~frame["method"].isin(NOT_METHODS)]
    found = sorted(set(runs["temperature"]))
    chosen = 1.0 if 1.0 in found or not found else found[0]
    if len(found) > 1:
        listed = ", ".join(f"{value:g}" for value in found)
        notes.append(
            f"the table has runs at temperatures {listed}: the paper's method takes the best of "
            f"them per task, on the test set; the corrected analysis takes temperature {chosen:g} "
            "alone"
        )
    if UNTUNED_TEACHER in set(frame["method"]):
        notes.append("runs with an untuned teacher are left out of every test")
    if AVERAGE not in set(frame["task"]):
        notes.append("no average: the table has one task, or no run has them all")
    return chosen, len(found) > 1


def _family(rows: list[Comparison]) -> list[Comparison]:
    """Holm over all tests of one analysis."""
    adjusted = adjust([row.p for row in rows])
    return [row._replace(p_adjusted=p) for row, p in zip(rows, adjusted, strict=True)]


def as_document(x: TableAnalysis) -> dict[str, Any]:
    """The JSON document of ``kdscope analyze``."""
    return {
        "source": x.source,
        "benchmark": x.grid.benchmark,
        "methods": list(x.grid.methods),
        "tasks": list(x.grid.tasks),
        "margin": x.margin,
        "notes": x.notes,
        "comparisons": [c.as_json() for c in x.comparisons],
        "tests": [permit._asdict() for permit in x.permits],
        "noise": [item._asdict() for item in x.noise],
        "collapsed": [run._asdict() for run in x.collapsed],
    }


def write_files(x: TableAnalysis, folder: Path) -> list[Path]:
    """Write the JSON document and the comparisons as CSV; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "analysis.json", folder / "comparisons.csv"]
    document = json.dumps(as_document(x), indent=2, ensure_ascii=False, allow_nan=False)
    paths[0].write_text(document + "\n", encoding="utf-8")
    pd.DataFrame([c.as_json() for c in x.comparisons]).to_csv(paths[1], index=False)
    return paths


def in_words(x: TableAnalysis) -> str:
    """What the command prints for a person: one block per test, then what the table lacks."""
    pairs = x.grid.cells.groupby(PAIR).ngroups if len(x.grid.cells) else 0
    lines = [f"{x.source}: {pairs} pairs, methods {', '.join(x.grid.methods)}", *x.notes]
    shown = AVERAGE if AVERAGE in x.grid.tasks else None
    lines += _scores(x.grid, shown)
    for analysis in dict.fromkeys(c.analysis for c in x.comparisons):
        lines += ["", _TITLES[analysis] + (f" ({shown})" if shown else "")]
        for c in x.comparisons:
            if c.analysis == analysis and (shown is None or c.task == shown):
                lines.append(_line(c, with_task=shown is None))
    for run in x.collapsed:
        lines.append(
            f"collapsed: {run.teacher} -> {run.student}, {run.method}: {run.average:.2f} against "
            f"SFT {run.sft:.2f}"
        )
    refused = [permit for permit in x.permits if not permit.permitted]
    if refused:
        lines += ["", "Not permitted by this table"]
        for reason in dict.fromkeys(permit.reason for permit in refused):
            tests = [permit.test for permit in refused if permit.reason == reason]
            lines += [f"  {reason}:", *(f"    {test}" for test in dict.fromkeys(tests))]
    return "\n".join(lines)


def _scores(grid: Grid, task: str | None) -> list[str]:
    """Every run's score, its SFT student's and the gain, of one task or of all."""
    cells = grid.cells if task is None else grid.of(task)
    if cells.empty:
        return []
    lines = ["", "Score, SFT, gain" + (f" ({task})" if task else "")]
    for row in cells.head(_RUNS_SHOWN).itertuples():
        name = f"{row.teacher} -> {row.student}, {row.method}" + ("" if task else f", {row.task}")
        gain = "no SFT row" if pd.isna(row.gain) else f"{row.sft:6.2f} {row.gain:+7.2f}"
        lines.append(f"  {name:62} {row.score:6.2f} {gain}")
    if len(cells) > _RUNS_SHOWN:
        lines.append(f"  and {len(cells) - _RUNS_SHOWN} more")
    return lines


_TITLES = {
    "paper-exact": "The paper's tests, best temperature per task",
    "tau-1": "The paper's tests, one temperature",
    "corrected": "Corrected",
}


def _line(c: Comparison, *, with_task: bool) -> str:
    name = f"Table {c.table}: {c.test}" if c.analysis != "corrected" else c.test
    name = f"{name}, {c.task}" if with_task else name
    estimate = "" if c.estimate is None else f"{c.estimate:.2f}"
    if c.low is not None and c.high is not None:
        estimate += f" [{c.low:.2f}, {c.high:.2f}]"
    p = f"p {write_p(c.p)}" if c.p is not None else ""
    return f"  {name:62} {estimate:22} {p:9} n = {c.n}".rstrip()
