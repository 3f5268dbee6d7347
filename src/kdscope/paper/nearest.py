"""Table 5 does not reproduce from any released file: which of them comes nearest?"""

import itertools
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from kdscope.paper.grid import PAIR, build_grid, select_best, select_temperature
from kdscope.paper.printed import statistics
from kdscope.paper.results import Released, read_alignment
from kdscope.stats.classic import spearman

FILES = ("BLEU.csv", "BLEU2.csv", "EM1.csv", "EM2.csv")
ROWS = ("KD", "SFT", "KD - SFT")


class Nearest(NamedTuple):
    """The released file and the reading of it whose six correlations come nearest to Table 5.

    Attributes:
        worst: largest distance from a printed correlation, over the six tasks.
        tried: how many readings were compared.
    """

    file: str
    rows: str
    runs: str
    target: str
    worst: float
    tried: int
    correlations: dict[str, float]


def nearest_to_table_5(folder: Path, released: Released) -> Nearest:
    """Compare every released file of alignment, read in every way, with the six printed numbers."""
    printed = {cell.task: cell.statistic for cell in statistics() if cell.table == 5}
    runs = {
        "best temperature per task": select_best(released.scores),
        "tau = 1": select_temperature(released.scores),
    }
    files = [name for name in FILES if (folder / name).is_file()]
    found = []
    for name, (label, frame) in itertools.product(files, runs.items()):
        cells = build_grid(frame).cells.merge(read_alignment(folder / name), on=[*PAIR, "task"])
        cells["KD - SFT"] = cells["KD"] - cells["SFT"]
        for rows, target in itertools.product(ROWS, ("gain", "score")):
            rho = _by_task(cells, rows, target)
            worst = max(abs(rho[task] - value) for task, value in printed.items())
            found.append((worst, name, rows, label, target, rho))
    worst, name, rows, label, target, rho = min(found, key=lambda item: item[:5])
    return Nearest(name, rows, label, target, worst, len(found), rho)


def _by_task(cells: pd.DataFrame, x: str, y: str) -> dict[str, float]:
    return {
        str(task): spearman(group[x], group[y]).estimate for task, group in cells.groupby("task")
    }
