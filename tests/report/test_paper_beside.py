"""The paper's cells beside a study's: found by name, with their difference and its interval."""

import pandas as pd
import pytest

from kdscope import tables
from kdscope.paper.printed import tasks_of
from kdscope.report.results import Results
from kdscope.report.sections import paper_beside


def study_of(rows: list[dict], names: list[str]) -> Results:
    frames = {name: tables.from_rows(name, []).to_pandas() for name in tables.SCHEMAS}
    common = {"scope": "cell", "measure": "accuracy", "settings": "{}", "n": 1000, "seeds": 3}
    full = [
        {**common, "low": r["estimate"] - 0.02, "high": r["estimate"] + 0.02, **r} for r in rows
    ]
    frames["comparisons"] = tables.from_rows("comparisons", full).to_pandas()
    study = {"name": "mine", "evaluate": {"tasks": names}}
    return Results({k: pd.DataFrame(v) for k, v in frames.items()}, study)


def test_cells_of_both_are_matched_by_model_method_and_task() -> None:
    pair = {"teacher": "Qwen2.5-3B", "student": "Qwen2.5-0.5B"}
    rows = [
        {**pair, "method": "fkl", "task": "gsm8k", "estimate": 0.40},
        {**pair, "method": "seqkd", "task": "gsm8k", "estimate": 0.40},  # not the paper's SeqKD
        {"student": "Qwen2.5-0.5B", "method": "sft", "task": "svamp", "estimate": 0.419},
        {"teacher": "Qwen2.5-3B", "method": "sft", "task": "svamp", "estimate": 0.718},
        {**pair, "method": "fkl", "task": "tiny-math", "estimate": 0.4},
    ]
    table = paper_beside.matches(study_of(rows, ["gsm8k", "svamp", "tiny-math"]))
    found = {(row[0], row[1], row[2]): (row[3], row[5]) for row in table.rows}
    assert len(found) == 3
    value, delta = found["Qwen2.5-0.5B", "fkl", "gsm8k"]
    assert value.value == pytest.approx(27.45)
    assert delta.value == pytest.approx(12.55)
    assert 0 < delta.low < delta.value < delta.high
    assert found["Qwen2.5-0.5B", "sft", "svamp"][1].value == pytest.approx(0.0)
    assert found["Qwen2.5-3B", "sft", "svamp"][0].value == pytest.approx(71.8)


def test_the_average_needs_all_tasks_of_the_benchmark() -> None:
    cell = {"student": "Qwen2.5-0.5B", "method": "sft", "task": "all", "estimate": 0.5284}
    every = [name.lower() for name in tasks_of("math")]
    full = [cell, *({**cell, "task": name} for name in every)]
    averages = [r for r in paper_beside.matches(study_of(full, every)).rows if r[2] == "all tasks"]
    assert [round(row[5].value, 2) for row in averages] == [0.0]
    part = paper_beside.matches(study_of(full[:3], every[:2]))
    assert "all tasks" not in {row[2] for row in part.rows}


def test_other_models_have_no_counterpart() -> None:
    row = {"student": "tiny-student", "method": "sft", "task": "gsm8k", "estimate": 0.5}
    section = paper_beside.section(study_of([row], ["gsm8k"]))
    assert "No cell" in section.answer
    assert section.missing
