"""The answer of a study: which method, which teacher, for which student, and how sure that is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kdscope.report.parts import listing, spoken
from kdscope.report.results import Results
from kdscope.report.tabulate import number


@dataclass(frozen=True)
class Choice:
    """What is recommended for one student.

    Attributes:
        student: its name.
        winner: the row of ``comparisons`` with the highest accuracy over all tasks.
        agreement, gain: the winner's agreement with the teacher and its gain over SFT, or None.
        runner_up: the next system, or None.
        untuned: the student without any training, where it is more accurate than the winner; else None.
        doubts: sentences on what is uncertain.
    """

    student: str
    winner: Any
    agreement: Any | None
    gain: Any | None
    runner_up: Any | None
    untuned: Any | None
    doubts: tuple[str, ...]

    @property
    def distilled(self) -> bool:
        """Whether the most accurate system had a teacher at all."""
        return self.winner.method not in {"sft", "base"}

    @property
    def established(self) -> bool:
        """Whether its gain over SFT has an interval above 0, or there is no SFT to gain over."""
        return self.gain is None or pd.isna(self.gain.low) or self.gain.low > 0


def choices(results: Results) -> list[Choice]:
    """The recommendation for every student that was evaluated, in the study's order."""
    accuracy = results.level("accuracy", main=False)
    accuracy = accuracy[accuracy["student"].notna() & accuracy["estimate"].notna()]
    offered = np.array([not _is_ablation(text) for text in accuracy["settings"]], dtype=bool)
    ranked = accuracy[offered].sort_values("estimate", ascending=False, kind="stable")
    gone = collapsed_cells(results)
    found = []
    for student in results.students:
        own = list(ranked[ranked["student"] == student].itertuples())
        sound = [
            row
            for row in own
            if gone.get((row.student, row.label), 0.0) < 0.5 and row.method != "base"
        ]
        if sound or own:
            untuned = next((row for row in own if row.method == "base"), None)
            found.append(_choice(results, student, sound or own, untuned, gone))
    return found


def headline(found: list[Choice]) -> str:
    """The answer in one sentence."""
    if not found:
        return "No accuracy was measured, so this study recommends nothing yet."
    groups: dict[tuple, list[Choice]] = {}
    for choice in found:
        key = (choice.winner.label, choice.winner.teacher, choice.established)
        groups.setdefault(key if choice.distilled else ("", None, True), []).append(choice)
    parts = []
    for (label, teacher, established), chosen in groups.items():
        names = _audience([choice.student for choice in chosen], len(groups) == 1)
        told = (
            f" with teacher {teacher}" if isinstance(teacher, str) and teacher not in label else ""
        )
        if not label:
            parts.append(f"keep SFT for {names}: no method did better")
        elif established:
            parts.append(f"use {label}{told} for {names}")
        else:
            parts.append(
                f"lean to {label}{told} for {names}, though no gain over SFT is established"
            )
        if all(choice.untuned is not None for choice in chosen):
            parts[-1] += f", but untuned {'it' if len(chosen) == 1 else 'they'} did better"
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def _audience(names: list[str], alone: bool) -> str:
    if alone and len(names) > 1:
        return "both students" if len(names) == 2 else "all students"
    return listing(names)


def collapsed_cells(results: Results) -> dict[tuple[str, str], float]:
    """Share of runs that collapsed, by (student, label); cells without a collapse are absent."""
    rows = results["comparisons"]
    rows = rows[(rows["measure"] == "collapsed") & (rows["estimate"] > 0) & (rows["task"] == "all")]
    rows = rows[rows["method"] != "base"]  # an untuned model is below SFT without having collapsed
    seeds = results.level("accuracy", main=False).set_index(["student", "label"])["seeds"].to_dict()
    found: dict[tuple[str, str], float] = {}
    for row in rows.to_dict("records"):
        key = (row["student"], results.label(row))
        share = row["estimate"] if row["seed"] != row["seed"] else 1 / max(1, seeds.get(key) or 1)
        pooled = row["seed"] != row["seed"]
        found[key] = max(found.get(key, 0.0), share) if pooled else found.get(key, 0.0) + share
    return found


# What nobody would choose for a student, or what is not a property of one.
_ABLATIONS = (
    "teacher_noise", "teacher_adapted", "teacher_quantize", "train_limit", "decoding",
    "evaluation_prompt",
)  # fmt: skip


def _is_ablation(settings: object) -> bool:
    return isinstance(settings, str) and any(f'"{name}"' in settings for name in _ABLATIONS)


def _choice(
    results: Results, student: str, own: list[Any], untuned: Any | None, gone: dict
) -> Choice:
    winner, runner_up = own[0], own[1] if len(own) > 1 else None
    if untuned is not None and untuned.estimate <= winner.estimate:
        untuned = None
    agreement = _same_cell(results, "agreement", winner)
    gain = _same_cell(results, "difference_in_accuracy", winner)
    doubts = _doubts(winner, runner_up, gain, gone)
    if untuned is not None:
        better = spoken(untuned)
        doubts.insert(0, f"Untuned it answers better, {better}: no training here paid for it.")
    return Choice(student, winner, agreement, gain, runner_up, untuned, tuple(doubts))


def _same_cell(results: Results, measure: str, cell: Any) -> Any | None:
    rows = results.level(measure, main=False)
    rows = rows[(rows["student"] == cell.student) & (rows["label"] == cell.label)]
    if measure == "difference_in_accuracy" and len(rows) > 1:
        rows = rows[rows["reference"].fillna("").str.contains("sft")]
    return next(iter(rows.itertuples()), None)


def _doubts(winner: Any, runner_up: Any | None, gain: Any | None, gone: dict) -> list[str]:
    doubts = []
    if runner_up is not None and runner_up.high == runner_up.high and winner.low == winner.low:
        lead = number((winner.estimate - runner_up.estimate) * 100)
        if winner.estimate == runner_up.estimate:
            doubts.append(f"{winner.label} and {runner_up.label} are level.")
        elif runner_up.high >= winner.low:
            doubts.append(
                f"{winner.label} leads {runner_up.label} by {lead} points and their intervals "
                "overlap: the order of the two is not settled."
            )
        else:
            doubts.append(
                f"{winner.label} leads {runner_up.label} by {lead} points; "
                "their intervals are apart."
            )
    if gain is not None and gain.low == gain.low and gain.low <= 0 <= gain.high:
        doubts.append(
            f"The gain over SFT, {spoken(gain, signed=True, unit=' points')}, may be none at all."
        )
    if pd.notna(winner.seeds) and winner.seeds < 3:
        doubts.append("Fewer than three seeds: how much another training would differ is unknown.")
    if winner.settings not in ("{}", None):
        doubts.append("Its setting was chosen among several on these same questions.")
    share = gone.get((winner.student, winner.label), 0.0)
    if share:
        doubts.append(f"{100 * share:.0f}\u00a0% of its runs collapsed.")
    return doubts
