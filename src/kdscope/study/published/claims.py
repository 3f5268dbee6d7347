"""What a published study says of the paper's claims, by fixed rules from its tables.

A claim on which a study of other models can speak at all is checked in every cell at the study's own
setting. ``reproduced``: all cells are on the claim's side beyond their 95 % intervals. ``contradicted``:
one at least is on the other side, with p < .05 after Holm's correction where it has one.
``undecided``: neither. Everything else is ``not run``, and why.
"""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from kdscope.paper.printed import known_task, rows, tasks_of
from kdscope.report.frames import Frame
from kdscope.report.parts import count
from kdscope.report.results import Results

ALPHA = 0.05


class Verdict(NamedTuple):
    """One claim of the paper and what a study says of it.

    Attributes:
        claim: in words.
        status: reproduced, contradicted, undecided or not run.
        why: the count behind it, or what would be needed.
    """

    claim: str
    status: str
    why: str


def verdicts(results: Results) -> list[Verdict]:
    """Every claim in the paper's order."""
    found = []
    for row in rows("claims.csv"):
        check = _CHECKS.get(row["id"])
        made = check(results) if check else None
        presets = row["presets"].replace(";", ",")
        needs = row["status"].removeprefix("not run ")
        why = f"{presets} {needs}" if presets else needs
        found.append(Verdict(row["claim"], *(made or ("not run", why))))
    return found


def _gains(results: Results, measure: str) -> tuple[str, str] | None:
    """Whether a difference to SFT is above 0 in every distilled cell."""
    cells = results.level(measure)
    cells = cells[~cells["method"].isin(["base", "sft"]) & cells["low"].notna()]
    if cells.empty:
        return None
    above, below = cells[cells["low"] > 0], cells[(cells["high"] < 0) & _significant(cells)]
    status = (
        "reproduced" if len(above) == len(cells) else "contradicted" if len(below) else "undecided"
    )
    return status, (
        f"of {count(len(cells), 'cell')} {len(above)} above SFT, "
        f"{int((cells['high'] < 0).sum())} below, the rest open"
    )


def _significant(cells: Frame) -> pd.Series:
    return cells["p_adjusted"].isna() | (cells["p_adjusted"] < ALPHA)


def _math_only(results: Results, measure: str) -> tuple[str, str] | None:
    asked = {known_task(task) for task in results.tasks}
    return _gains(results, measure) if asked <= set(tasks_of("math")) else None


def _contrasts(results: Results) -> Frame:
    """Every two distilled methods over all blocks of student and task."""
    found = results.tests
    found = found[
        (found["measure"] == "difference_in_accuracy")
        & (found["test"] == "mixed_contrast")
        & (found["task"] == "all")
        & found["settings"].isin(["{}"])
    ]
    return found[(found["method"] != "sft") & (found["reference"] != "sft")]


def _methods_equal(results: Results) -> tuple[str, str] | None:
    pairs, equal = _contrasts(results), results.tests
    if pairs.empty:
        return None
    equal = equal[
        (equal["test"] == "tost") & (equal["task"] == "all") & (equal["reference"] != "sft")
    ]
    equal = equal[(equal["method"] != "sft") & (equal["p_adjusted"] < ALPHA)]
    apart = pairs[pairs["p_adjusted"] < ALPHA]
    status = (
        "contradicted" if len(apart)
        else "reproduced" if len(equal) >= len(pairs)
        else "undecided"
    )  # fmt: skip
    return status, (
        f"of {count(len(pairs), 'pair')} of methods {len(apart)} differ, {len(equal)} are equal within the "
        "study's margin; the rest is open"
    )


def _revkd_best(results: Results) -> tuple[str, str] | None:
    pairs = _contrasts(results)
    pairs = pairs[(pairs["method"] == "revkd") | (pairs["reference"] == "revkd")]
    if pairs.empty:
        return None
    lead = pairs["estimate"].where(pairs["method"] == "revkd", -pairs["estimate"])
    sure = pairs["p_adjusted"] < ALPHA
    above, below = int((sure & (lead > 0)).sum()), int((sure & (lead < 0)).sum())
    status = "contradicted" if below else "reproduced" if above == len(pairs) else "undecided"
    return (
        status,
        f"against {count(len(pairs), 'method')} {above} times better, {below} times worse",
    )


_CHECKS: dict[str, Callable[[Results], tuple[str, str] | None]] = {
    "always_better": lambda results: _gains(results, "difference_in_accuracy"),
    "methods_equal": _methods_equal,
    "revkd_best": _revkd_best,
    "agreement_up": lambda results: _gains(results, "gain_in_agreement"),
    "fidelity_up": lambda results: _math_only(results, "gain_in_bleu"),
}
