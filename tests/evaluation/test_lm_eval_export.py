"""What we export as lm-eval's folder is read by lm-eval's own functions."""

import json
import math
from collections import defaultdict
from datetime import UTC, datetime

import pytest
from lm_eval import result_schema, utils
from lm_eval.api.metrics import mean_stderr
from lm_eval.loggers import evaluation_tracker

from kdscope.data.records import Item
from kdscope.evaluation.exporters import export_lm_eval
from kdscope.evaluation.grading import grade

NAME = "small__gkd__big__s0"
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
TEXTS = ("The answer is 0.", "The answer is 1.", "So it is 2", "I do not know")


@pytest.fixture
def written(tmp_path):
    items = [Item("gsm8k", str(i), f"Q{i}", str(i), "number") for i in range(4)]
    items += [Item("my-texts", "0", "Say it", "a cat sat", "text")]
    texts = [*TEXTS, "a cat"]
    rows = [
        {
            "model": "small/gkd/big/s0", "task": item.task, "item": item.item, "sample": 0,
            "text": text, "prompt_hash": None, **grade(text, item)._asdict(),
        }
        for item, text in zip(items, texts, strict=True)
    ]  # fmt: skip
    return export_lm_eval(rows, items, tmp_path / NAME, created=WHEN)


def test_names_are_those_that_lm_eval_takes_apart(written):
    names = [f"{path.parent.name}/{path.name}" for path in written]
    assert utils.get_results_filenames(names) == names[-1:]
    samples = utils.get_sample_results_filenames(names)
    assert samples == names[:-1]
    bare = [path.name for path in written]
    assert [utils.get_file_task_name(name) for name in bare[:-1]] == ["gsm8k", "my-texts"]
    assert utils.get_file_datetime(bare[0]) == "2026-01-02T03-04-05.000678"
    assert utils.get_latest_filename(bare[:-1]) in bare
    assert utils.sanitize_model_name("small/gkd/big/s0") == NAME


def test_results_are_means_and_errors_of_the_samples_as_lm_eval_takes_them(written):
    results = json.loads(written[-1].read_text())
    mine = results["results"]["gsm8k"]
    by_filter = defaultdict(list)
    for line in written[0].read_text().splitlines():
        sample = json.loads(line)
        by_filter[sample["filter"]].append(sample[sample["metrics"][0]])
    assert by_filter == {"strict-match": [1, 1, 0, 0], "flexible-extract": [1, 1, 1, 0]}
    for name, values in by_filter.items():
        assert mine[f"exact_match,{name}"] == sum(values) / len(values)
        assert math.isclose(mine[f"exact_match_stderr,{name}"], mean_stderr(values))
    text = results["results"]["my-texts"]
    assert 0 < text["score,none"] < 1
    assert text["score_stderr,none"] == "N/A"
    assert results["n-samples"]["gsm8k"] == {"original": 4, "effective": 4}


def test_fields_are_those_of_lm_eval_s_schema(written):
    results = json.loads(written[-1].read_text())
    assert results.keys() <= result_schema.EvalResults.__annotations__.keys()
    assert results["config"].keys() <= result_schema._EvalConfig.__annotations__.keys()
    needed = result_schema._TaskMetrics.__required_keys__ - {"sample_count"}
    assert needed <= results["results"]["gsm8k"].keys()
    for path in written[:-1]:
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            named = result_schema.SampleResult.__annotations__.keys()
            assert named <= sample.keys()
            assert sample.keys() - named == set(sample["metrics"])


def test_lm_eval_prints_its_table_of_them(written):
    table = utils.make_table(json.loads(written[-1].read_text()))
    row = next(line for line in table.splitlines() if "flexible-extract" in line)
    assert [cell.strip() for cell in row.split("|")[3:10]] == [
        "flexible-extract", "0", "exact_match", "↑", "0.75", "±", "0.2500",
    ]  # fmt: skip


def test_lm_eval_makes_its_card_of_the_folder(written, monkeypatch):
    """Its reader of a repository of results, which lists the files and loads the newest."""
    cards = []
    files = {f"{path.parent.name}/{path.name}": str(path) for path in written}

    class Hub:
        def list_repo_files(self, **_):
            return list(files)

    import huggingface_hub

    monkeypatch.setattr(
        huggingface_hub, "hf_hub_url", lambda filename, **_: files[filename], raising=True
    )
    monkeypatch.setattr(
        huggingface_hub.DatasetCard, "push_to_hub", lambda self, *_, **__: cards.append(str(self))
    )
    tracker = evaluation_tracker.EvaluationTracker()
    tracker.api = Hub()
    tracker.recreate_metadata_card()
    (card,) = cards
    assert f"{NAME}__gsm8k" in card
    assert '"exact_match,flexible-extract": 0.75' in card
