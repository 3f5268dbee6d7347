"""The paper's own tests on a study: one-sided t, one-way ANOVA, Spearman, under their own names.

They treat (teacher, student, method) triples as independent observations, which they are not:
students and teachers repeat. They stand beside the paired, item-level comparisons so that a study
can be read as the paper reads its own.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdscope.errors import NotEstimableError
from kdscope.fidelity.comparison_rows import Row, study_row
from kdscope.stats.classic import one_sided_t, one_way_anova, spearman
from kdscope.stats.multiplicity import adjust
from kdscope.stats.records import Estimate

Key = tuple[Any, Any, Any]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bBmM])(?![a-zA-Z])")
_UNIT = {"b": 1e9, "m": 1e6}


def parameters(name: str) -> float | None:
    """Number of parameters that a name states (``0.5B``, ``135M``); None if it states none."""
    found = _SIZE.findall(name)
    return float(found[-1][0]) * _UNIT[found[-1][1].lower()] if found else None


def paper_tests(rows: Sequence[Row], sizes: Mapping[str, float]) -> list[Row]:
    """Rows of the paper's tests from the cells' rows.

    One observation is the improvement over SFT of one distilled cell at the study's own setting,
    averaged over seeds. What cannot be estimated (too few cells, nothing varies) has no row.
    """
    result: list[Row] = []
    for task in dict.fromkeys(row["task"] for row in rows):
        gains = _values(rows, "difference_in_accuracy", task)
        result += _task_tests(task, gains, _covariates(rows, task, gains, sizes))
    for name in dict.fromkeys(row["test"] for row in result):
        family = [row for row in result if row["test"] == name]
        for row, value in zip(family, adjust([row["p"] for row in family]), strict=True):
            row["p_adjusted"] = value
            row["signature"] += f"|adjust:holm({len(family)})"
    return result


def _values(rows: Sequence[Row], measure: str, task: str) -> dict[Key, Row]:
    """Rows of one measure of the distilled cells at the study's own setting."""
    return {
        (row["teacher"], row["student"], row["method"]): row
        for row in rows
        if row["measure"] == measure
        and row["task"] == task
        and row["teacher"] is not None
        and row["student"] is not None
        and row["method"] not in ("sft", "base")
        and row["settings"] in (None, "{}")
    }


def _covariates(
    rows: Sequence[Row], task: str, gains: Mapping[Key, Row], sizes: Mapping[str, float]
) -> dict[str, dict[Key, float]]:
    """What the paper correlates improvement with, and what it should have."""
    teachers = {
        row["teacher"]: row["estimate"]
        for row in rows
        if row["measure"] == "accuracy" and row["task"] == task and row["student"] is None
    }
    found: dict[str, dict[Key, float]] = {"teacher_accuracy": {}, "student_size": {}}
    for key in gains:
        if key[0] in teachers:
            found["teacher_accuracy"][key] = teachers[key[0]]
        size = sizes.get(key[1]) or parameters(key[1])
        if size is not None:
            found["student_size"][key] = size
    for name in ("agreement", "bleu", "gain_in_agreement", "gain_in_bleu"):
        found[name] = {key: row["estimate"] for key, row in _values(rows, name, task).items()}
    return found


def _task_tests(
    task: str, gains: Mapping[Key, Row], covariates: Mapping[str, Mapping[Key, float]]
) -> list[Row]:
    # Rounded, so that equal gains are equal and no test divides by their rounding error.
    values = {key: round(row["estimate"], 12) for key, row in gains.items()}
    by_method: dict[str, list[float]] = {}
    for (_, _, method), value in values.items():
        by_method.setdefault(method, []).append(value)
    seeds = max((row["seeds"] for row in gains.values()), default=None)
    common = {"task": task, "seeds": seeds, "measure": "difference_in_accuracy"}
    found = [
        _test("one_sided_t", lambda: one_sided_t(list(values.values())), scope="study", **common)
    ]
    for method, group in by_method.items():
        found.append(
            _test("one_sided_t", _bind(one_sided_t, group), scope="method", method=method, **common)
        )
    groups = list(by_method.values())
    found.append(_test("one_way_anova", lambda: one_way_anova(*groups), scope="study", **common))
    for name, other in covariates.items():
        keys = [key for key in values if key in other]
        call = _bind(spearman, [values[key] for key in keys], [other[key] for key in keys])
        found.append(_test("spearman", call, scope="study", reference=name, **common))
    return [row for row in found if row is not None]


def _bind(test: Callable[..., Estimate], *arguments: Any) -> Callable[[], Estimate]:
    return lambda: test(*arguments)


def _test(name: str, call: Callable[[], Estimate], **fields: Any) -> Row | None:
    """A row of one test; None where it cannot be made."""
    try:
        result = call()
    except NotEstimableError:
        return None
    return study_row(fields.pop("scope"), fields.pop("measure"), name, result, **fields)
