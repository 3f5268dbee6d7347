"""What a method's setting is worth if it is chosen on other items than it is judged on."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdscope.fidelity.comparison_rows import Row, study_row
from kdscope.fidelity.levels import Run
from kdscope.stats.records import Estimate
from kdscope.stats.selection import Selected, select_on_validation

# An ablation asks what a condition does, and these ask how much was read or how it was asked: nobody
# chooses between them, so they are no candidates.
_CONDITIONS = (
    "teacher_noise", "teacher_adapted", "teacher_quantize", "train_limit", "decoding",
    "evaluation_prompt",
)  # fmt: skip


def selection_rows(
    runs: Sequence[Run], items: Sequence[tuple[str, str]], *, resamples: int, seed: int
) -> list[Row]:
    """Rows for each student and method with several settings: the choice, and what it costs.

    A study answers no validation questions, so half of its items, those whose id has an even hash,
    serve for the choice and the others for judging. Scores are means over seeds.

    Args:
        runs: every run of the study.
        items: (task, item) of the study's items, in the order of the runs' columns.
        resamples: R of the nested bootstrap.
        seed: of the resamples.
    """
    half = np.array([_even(*item) for item in items], bool)
    rows: list[Row] = []
    for (teacher, student, method), candidates in _candidates(runs).items():
        known = np.all([own.columns["graded_run"] > 0 for c in candidates.values() for own in c], 0)
        scores = np.array(
            [np.mean([own.columns["right"] for own in c], 0) for c in candidates.values()]
        )
        if not (known & half).any() or not (known & ~half).any():
            continue
        found = select_on_validation(
            scores[:, known & half], scores[:, known & ~half], resamples=resamples, seed=seed
        )
        chosen = list(candidates)[found.chosen]
        common = {
            "teacher": teacher, "student": student, "method": method, "settings": chosen,
            "seeds": min(len(c) for c in candidates.values()), "reference": None,
        }  # fmt: skip
        rows += _rows(found, len(candidates), common)
    return rows


def _even(task: str, item: str) -> bool:
    return hashlib.sha256(f"{task}\0{item}".encode()).digest()[0] % 2 == 0


def _candidates(runs: Sequence[Run]) -> dict[tuple[Any, Any, Any], dict[str, list[Run]]]:
    """Settings and their runs of every (teacher, student, method) that has several settings."""
    found: dict[tuple[Any, Any, Any], dict[str, list[Run]]] = {}
    for run in runs:
        who = run.system
        settings = who["settings"] or "{}"
        if who["student"] is None or any(name in settings for name in _CONDITIONS):
            continue
        key = (who["teacher"], who["student"], who["method"])
        found.setdefault(key, {}).setdefault(settings, []).append(run)
    return {key: own for key, own in found.items() if len(own) > 1}


def _rows(found: Selected, candidates: int, common: dict[str, Any]) -> list[Row]:
    halves = f"|candidates:{candidates}|validation:half-of-items|items-pooled"
    test = found.test._replace(signature=found.test.signature + halves)
    others = {
        "selection_stability": Estimate(found.stability, n=test.n, signature=test.signature),
        "selection_optimism": Estimate(found.optimism, n=test.n, signature=test.signature),
    }
    return [
        study_row("method", name, "nested_bootstrap", estimate, **common)
        for name, estimate in {"accuracy_of_chosen": test, **others}.items()
    ]
