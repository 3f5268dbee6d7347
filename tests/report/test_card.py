"""The model card and the evaluation results that go with the weights to the hub."""

import yaml
from huggingface_hub._eval_results import parse_eval_result_entries

from kdscope.report.card import card_text, eval_results


def test_the_hub_reads_the_evaluation_results(results) -> None:
    text = eval_results(results, "tiny-student", "gkd", "tiny-teacher")
    entries = parse_eval_result_entries(yaml.safe_load(text))
    rows = results.level("accuracy", None)
    rows = rows[(rows["student"] == "tiny-student") & (rows["method"] == "gkd")]
    expected = rows[rows["task"] != "all"].set_index("task")["estimate"].to_dict()
    assert {entry.task_id: entry.value for entry in entries} == {
        task: round(value, 6) for task, value in expected.items()
    }
    assert {entry.date for entry in entries} == {"2026-01-01T00:00:00Z"}
    assert all("95 % interval" in str(entry.notes) for entry in entries)


def test_the_card_says_what_is_lost_and_how_it_was_made(results) -> None:
    text = card_text(results, "tiny-student", "gkd", "tiny-teacher")
    head = yaml.safe_load(text.split("---")[1])
    assert head["base_model"] == "tiny-student"
    assert "method:gkd" in head["tags"]
    row = next(
        results.level("accuracy")
        .query("student == 'tiny-student' and method == 'gkd'")
        .itertuples()
    )
    assert f"this model {100 * row.estimate:.1f}\u00a0%" in text
    assert "b KL(p || m) + (1-b) KL(q || m)" in text
    assert "kdscope run quickstart" in text
