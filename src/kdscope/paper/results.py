"""The paper's released result files, read from a folder, and its printed tables, as grids."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from kdscope.errors import TableError
from kdscope.paper.grid import PAIR, Grid, build_grid, select_best, select_temperature
from kdscope.paper.printed import tasks, tasks_of
from kdscope.paper.reading import SFT, UNTUNED_TEACHER, Scores, read_scores
from kdscope.paper.records import AVERAGE

MAIN = {
    "math": ("math_results_main.csv", "llama_math_results.csv"),
    "commonsense": ("cs_results_main.csv", "llama_cs_results.csv"),
}
AGREEMENT = {"math": "EM1.csv", "commonsense": "EM1_cs.csv"}
FIDELITY = {"math": "BLEU.csv"}
_PRINTED = {"math": "table_7.csv", "commonsense": "table_8.csv"}
OTHERS = ("EM2.csv", "EM2_cs.csv", "BLEU2.csv")
NEEDED = (*MAIN["math"], *MAIN["commonsense"], *AGREEMENT.values(), *FIDELITY.values())


class Released(NamedTuple):
    """The released files of one benchmark.

    Attributes:
        scores: every run, at every temperature.
        agreement: ``teacher, student, task, KD, SFT``: answers equal to the teacher's, percent.
        fidelity: the same columns from the file that Table 5's notebook read; None in commonsense.
        others: the same columns from files that only text claims need, by name, where present.
    """

    scores: Scores
    agreement: pd.DataFrame
    fidelity: pd.DataFrame | None
    others: dict[str, pd.DataFrame]


def printed_scores(benchmark: str) -> Scores:
    """Table 7 or 8 as printed."""
    return read_scores(Path(__file__).parent / "tables" / _PRINTED[benchmark])


def read_released(folder: Path) -> dict[str, Released]:
    """Read the seven files that Tables 1 to 5 need.

    Raises:
        TableError: a file is missing or malformed; all missing ones are named.
    """
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise TableError(
            f"{folder}: lacks {', '.join(missing)}; give the folder `results` of the paper's "
            "repository, or download it with: kdscope data fetch paper-results"
        )
    return {
        benchmark: Released(
            _main(folder, benchmark),
            read_alignment(folder / AGREEMENT[benchmark]),
            read_alignment(folder / FIDELITY[benchmark]) if benchmark in FIDELITY else None,
            {name: read_alignment(folder / name) for name in OTHERS if (folder / name).is_file()},
        )
        for benchmark in MAIN
    }


def _main(folder: Path, benchmark: str) -> Scores:
    parts = [read_scores(folder / name) for name in MAIN[benchmark]]
    for part, name in zip(parts, MAIN[benchmark], strict=True):
        lacking = [t for t in [*tasks_of(benchmark), AVERAGE] if t not in set(part.frame["task"])]
        if lacking:
            column = tasks()[lacking[0]].column if lacking[0] in tasks() else "Average"
            raise TableError(
                f"{folder / name}: row 0 (line 1), column {column!r}: the file lacks this task"
            )
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    _require_runs(folder, benchmark, frame)
    return Scores(frame, " + ".join(MAIN[benchmark]), sum((p.notes for p in parts), ()))


# Pairs that also ran at temperatures 2 and 5 and with an untuned teacher.
_ABLATED = frozenset(
    (f"Qwen2.5-{teacher}", f"Qwen2.5-{student}")
    for teacher, students in {"3B": ("0.5B", "1.5B"), "7B": ("0.5B", "1.5B", "3B")}.items()
    for student in students
)


def _require_runs(folder: Path, benchmark: str, frame: pd.DataFrame) -> None:
    """Raise TableError where the main files lack a run that the printed tables have."""
    keys = [*PAIR, "method", "temperature"]
    have = set(frame[keys].itertuples(index=False, name=None))
    printed = printed_scores(benchmark).frame
    for teacher, student, method in printed[[*PAIR, "method"]].itertuples(index=False, name=None):
        wanted = [(method, 1.0)]
        if (teacher, student) in _ABLATED and method != "GKD":
            wanted += [(method, 2.0), (method, 5.0), (UNTUNED_TEACHER, 1.0)]
        for name, temperature in wanted:
            if (teacher, student, name, temperature) not in have:
                who = f"{teacher} -> {student}" if teacher else student
                files = " and ".join(str(folder / name) for name in MAIN[benchmark])
                raise TableError(
                    f"{files}: column 'Method': no row is {name} at temperature {temperature:g} "
                    f"for {who}; fetch the files again: kdscope data fetch paper-results"
                )


def read_alignment(path: Path) -> pd.DataFrame:
    """Agreement or fidelity: one row per (pair, task), a column for the KD and the SFT student."""
    frame = read_scores(path).frame
    frame = frame[frame["task"] != AVERAGE]
    wide = frame.pivot(index=[*PAIR, "task"], columns="method", values="score").reset_index()
    lacking = [name for name in ("KD", SFT) if name not in wide]
    if lacking:
        raise TableError(
            f"{path}: column 'Method': there is no row {lacking[0]!r}; it needs KD and SFT"
        )
    _require_pairs(path, wide)
    return wide


def _require_pairs(path: Path, wide: pd.DataFrame) -> None:
    """Raise TableError where a file of agreement or fidelity lacks a pair of the paper."""
    complete = wide.dropna(subset=["KD", SFT])
    for benchmark in MAIN:
        if not set(tasks_of(benchmark)) & set(wide["task"]):
            continue
        printed = printed_scores(benchmark).frame
        pairs = set(printed.loc[printed["teacher"] != "", PAIR].itertuples(index=False, name=None))
        for task in tasks_of(benchmark):
            rows = complete.loc[complete["task"] == task, PAIR]
            lacking = sorted(pairs - set(rows.itertuples(index=False, name=None)))
            if lacking:
                column = tasks()[task].column
                raise TableError(
                    f"{path}: column {column!r}: {' -> '.join(lacking[0])} lacks its row KD or SFT"
                )


def joined(frame: pd.DataFrame, released: Released | None) -> Grid:
    """The grid of these runs, with agreement and fidelity joined as the notebooks join them.

    One number per pair goes to all three methods, whichever run it came from: the exact
    reproduction needs it so; the corrected analysis never reads it that way.
    """
    grid = build_grid(frame)
    if released is None:
        return grid
    cells = grid.cells
    for name, table in (("agreement", released.agreement), ("fidelity", released.fidelity)):
        if table is not None:
            both = table.rename(columns={"KD": name, SFT: f"{name}_sft"})
            cells = cells.merge(both[[*PAIR, "task", name, f"{name}_sft"]], how="left")
    return grid._replace(cells=cells)


def paper_grid(benchmark: str, data: str, released: Released | None) -> Grid:
    """One of the three data modes.

    Args:
        benchmark: ``math`` or ``commonsense``.
        data: ``best`` (the notebooks' maximum over temperatures), ``tau-1`` or ``printed``.
        released: the released files; needed for the first two.
    """
    if data == "printed" or released is None:
        return joined(printed_scores(benchmark).frame, released)
    select = select_best if data == "best" else select_temperature
    return joined(select(released.scores), released)


# What EM1_cs.csv holds for this pair is the run at temperature 2; every other released agreement
# belongs to RevKD at temperature 1. Found by the bounds that two accuracies put on an agreement.
_AGREEMENT_AT_TWO = ("commonsense", "Qwen2.5-7B", "Qwen2.5-0.5B")


def aligned_grid(benchmark: str, released: Released) -> Grid:
    """The RevKD runs on which the released agreement and fidelity were measured, and only those."""
    frame = released.scores.frame
    _, teacher, student = _AGREEMENT_AT_TWO
    two = (frame["teacher"] == teacher) & (frame["student"] == student)
    two &= benchmark == _AGREEMENT_AT_TWO[0]
    wanted = two.map({True: 2.0, False: 1.0})
    runs = (frame["method"] == "RevKD") & (frame["temperature"] == wanted)
    return joined(frame[runs | (frame["method"] == SFT)], released)
