"""The paper's sentences about its ablations: temperature, the teacher's tuning, noise."""

import pandas as pd

from kdscope.paper.claims_gains import (
    FAILS,
    HOLDS,
    PART,
    Check,
    Finding,
    averages,
    needs_files,
    no_data,
    spoken,
)
from kdscope.paper.covariates import TEACHER
from kdscope.paper.examination import Reexamination
from kdscope.paper.printed import BENCHMARKS
from kdscope.paper.reading import UNTUNED_TEACHER
from kdscope.paper.records import AVERAGE


def _losses_untuned(x: Reexamination) -> list[pd.Series]:
    """Per benchmark, what each pair loses on average over tasks with an untuned teacher."""
    if not x.released:
        return []
    drops = []
    for name in BENCHMARKS:
        frame = x.released[name].scores.frame
        rows = frame[(frame["task"] == AVERAGE) & (frame["temperature"] == 1.0)]
        wide = rows.pivot_table(index=["teacher", "student"], columns="method", values="score")
        drops.append((wide["SeqKD"] - wide[UNTUNED_TEACHER]).dropna())
    return drops


def _untuned_teacher(x: Reexamination) -> Finding:
    if not x.released:
        return needs_files("the runs with an untuned teacher")
    drops = _losses_untuned(x)
    return Finding(
        f"up to {drops[0].max():.1f}; {drops[1].max():.1f}",
        FAILS,
        f"The mean loss is {drops[0].mean():.1f} and {drops[1].mean():.1f} points, against SeqKD "
        "with the tuned teacher.",
    )


def _tau_default(x: Reexamination) -> Finding:
    if not x.released:
        return needs_files("the runs at every temperature")
    frame = x.released["commonsense"].scores.frame
    rows = frame[(frame["task"] == AVERAGE) & (frame["method"] == "RevKD")]
    at_one = rows[rows["temperature"] == 1.0].set_index(["teacher", "student"])["score"]
    printed = averages(x, "commonsense").query("method == 'RevKD'")
    printed = printed.set_index(["teacher", "student"])["score"]
    changed = [pair for pair in printed.index if abs(printed[pair] - at_one[pair]) > 0.02]
    low = ", ".join(f"{at_one[pair]:.2f}" for pair in changed)
    return Finding(
        f"{len(changed)} rows of Table 8 are at tau 2 or 5",
        FAILS,
        f"RevKD collapsed at tau = 1 in these pairs (averages {low}); the table prints another "
        "temperature without saying so. Tables 1 to 4 use the best temperature per task.",
    )


def _tau_two(x: Reexamination) -> Finding:
    if not x.released:
        return needs_files("the runs at every temperature")
    words = []
    for name in BENCHMARKS:
        frame = x.released[name].scores.frame
        rows = frame[(frame["task"] == AVERAGE) & frame["method"].isin(["SeqKD", "RevKD"])]
        keys = ["method", "teacher", "student"]
        wide = rows.pivot_table(index=keys, columns="temperature", values="score").dropna()
        best = (
            wide.idxmax(axis=1)
            .groupby("method")
            .agg(lambda t: f"{int((t == 2.0).sum())} of {len(t)}")
        )
        words.append(f"SeqKD {best['SeqKD']}, RevKD {best['RevKD']}")
    return Finding(
        f"math: {words[0]} · commonsense: {words[1]}",
        PART,
        "True of SeqKD. In math RevKD is best at tau = 1 in every pair.",
    )


def _tau_numbers(x: Reexamination) -> Finding:
    if not x.released:
        return needs_files("the runs at every temperature")
    frame = x.released["math"].scores.frame
    rows = frame[(frame["task"] == AVERAGE) & (frame["method"] == "SeqKD")]
    at = rows.set_index(["teacher", "student", "temperature"])["score"]
    keys = [
        ("3B", "1.5B", 1.0),
        ("3B", "1.5B", 2.0),
        ("7B", "3B", 2.0),
        ("3B", "0.5B", 5.0),
        ("7B", "3B", 5.0),
    ]
    found = [float(at[f"Qwen2.5-{t}", f"Qwen2.5-{s}", tau]) for t, s, tau in keys]
    close = all(
        abs(a - b) <= 0.011 for a, b in zip(found, (65.09, 66.93, 75.95, 8.3, 66.51), strict=True)
    )
    return Finding(
        "; ".join(f"{value:.2f}" for value in found),
        HOLDS if close else FAILS,
        "Within rounding.",
    )


def _tau_five(x: Reexamination) -> Finding:
    if not x.released:
        return needs_files("the runs at every temperature")
    drops = []
    for name in BENCHMARKS:
        frame = x.released[name].scores.frame
        rows = frame[(frame["task"] == AVERAGE) & (frame["method"] == "SeqKD")]
        wide = rows.pivot(index=["teacher", "student"], columns="temperature", values="score")
        drops.append((wide[1.0] - wide[5.0]).dropna())
    math, commonsense = (float(drop.mean()) for drop in drops)
    return Finding(
        f"SeqKD loses {math:.1f}; {commonsense:.1f} against tau = 1, mean of {len(drops[0])} pairs",
        HOLDS if math > commonsense > 0 else PART,
        f"By up to {drops[0].max():.1f} and {drops[1].max():.1f} points.",
    )


def _adaptation(x: Reexamination) -> Finding:
    if not x.released:
        return needs_files("the runs with an untuned teacher")
    math, commonsense = (float(drop.mean()) for drop in _losses_untuned(x))
    slopes = [spoken(x.find("corrected", name, TEACHER, AVERAGE)) for name in BENCHMARKS]
    return Finding(
        f"untuned costs {math:.1f}; {commonsense:.1f} points · a point of the teacher brings "
        f"{slopes[0]}; {slopes[1]}",
        PART,
        "An untuned teacher costs much; that a tuned teacher's score matters little is not shown.",
    )


def _noise_zero(x: Reexamination) -> Finding:
    one = averages(x, "math", "Qwen2.5-0.5B").set_index(["teacher", "method"])["score"]
    two = averages(x, "commonsense", "Qwen2.5-3B").set_index(["teacher", "method"])["score"]
    found = float(one["Qwen2.5-3B", "SeqKD"]), float(two["Qwen2.5-7B", "SeqKD"])
    return Finding(
        f"{found[0]:.2f}; {found[1]:.2f}",
        HOLDS,
        "SeqKD in the tables, which in the code is forward KL.",
    )


ABLATION_CHECKS: dict[str, Check] = {
    "untuned_teacher": _untuned_teacher,
    "adaptation": _adaptation,
    "tau_default": _tau_default,
    "tau_two": _tau_two,
    "tau_five": _tau_five,
    "tau_numbers": _tau_numbers,
    "noise_sweep": no_data("The runs with a noisy teacher were not released."),
    "noise_commonsense": no_data("The runs with a noisy teacher were not released."),
    "noise_zero": _noise_zero,
}
