"""One model, one prediction file: complete or not there, resumed, never over another file."""

import json

import pytest
from typer.testing import CliRunner

import kdscope
from kdscope import tables
from kdscope.cli import app
from kdscope.data.prompts import TEMPLATES
from kdscope.data.sources import load_items
from kdscope.errors import ConfigError, DataError, ModelError, StoreError
from kdscope.evaluation import answering
from kdscope.generation.decoder import TransformersDecoder
from kdscope.generation.settings import Decoding
from kdscope.models.adapters import add_adapter
from kdscope.models.loading import load_model
from kdscope.report.compare import compare_files
from tests.tiny import STUDENT, random_model, tokenizer

LORA = {"r": 2, "alpha": 4, "targets": ["q_proj"]}


def ask(out, model="tiny-student-small", tasks="tiny-math,tiny-choice", limit=5, **settings):
    return kdscope.evaluate(
        model, tasks, out, limit=limit, batch_size=3, max_new_tokens=12, **settings
    )


def test_the_verb_writes_one_file_that_compare_reads(tmp_path):
    out = tmp_path / "student.parquet"
    command = ["evaluate", "tiny-student-small", "--tasks", "tiny-math", "--tasks", "tiny-choice",
               "--limit", "5", "--max-new-tokens", "12", "--out", str(out), "--choices",
               "--json"]  # fmt: skip
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    found = json.loads(done.stdout)
    assert [(row["task"], row["n"]) for row in found["tasks"]] == [
        ("tiny-math", 5),
        ("tiny-choice", 5),
    ]
    assert set(found["tasks"][0]["accuracy"]) == {"estimate", "low", "high", "signature"}
    frame = tables.read("generations", out).to_pandas()
    assert len(frame) == 10
    assert tables.read("choices", tmp_path / "student.choices.parquet").num_rows == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "student.choices.parquet", "student.parquet",
    ]  # fmt: skip
    assert compare_files([out, out], resamples=50).systems[1].name
    again = CliRunner().invoke(app, command, catch_exceptions=False)
    assert json.loads(again.stdout)["complete_before"]


def test_few_items_can_be_sampled_and_answer_as_they_would_among_all():
    items = load_items("tiny-math", limit=5)
    decodings = answering.with_samples(Decoding(12, 0.0, 0), 2, 1.0)
    decoder = TransformersDecoder(random_model(), tokenizer(), 4)

    def ask_all(sampled):
        asking = answering.Asking(TEMPLATES["clean"], decodings, sampled)
        seen = []
        rows = answering.answer_rows(decoder, items, asking, {}, progress=lambda *n: seen.append(n))
        assert seen[-1] == (len(rows), len(rows))
        return {(row["sample"], row["item"]): row["text"] for row in rows}

    every, few = ask_all(None), ask_all(3)
    assert list(few) == [
        (sample, item.item) for sample in range(3) for item in items[: 3 if sample else 5]
    ]
    assert few == {key: every[key] for key in few}
    assert few[1, items[0].item] != few[2, items[0].item]


def test_a_prediction_file_can_have_samples_of_a_few_items(tmp_path):
    out = tmp_path / "few.parquet"
    ask(out, tasks="tiny-math", samples=2, sample_limit=3)
    assert tables.read("generations", out)["sample"].to_pylist() == [0] * 5 + [1] * 3 + [2] * 3
    with pytest.raises(StoreError, match="another evaluation"):
        ask(out, tasks="tiny-math", samples=2, sample_limit=2)
    with pytest.raises(ConfigError, match="sample_limit is 3 and samples 0"):
        ask(tmp_path / "none.parquet", sample_limit=3)


def test_another_file_is_never_written_over(tmp_path):
    out = tmp_path / "x.parquet"
    ask(out, tasks="tiny-math", limit=2)
    before = out.read_bytes()
    with pytest.raises(StoreError, match="another evaluation"):
        ask(out, tasks="tiny-math", limit=3)
    assert out.read_bytes() == before
    (tmp_path / "notes.parquet").write_text("mine")
    with pytest.raises(StoreError, match="something else"):
        ask(tmp_path / "notes.parquet")
    assert (tmp_path / "notes.parquet").read_text() == "mine"


def test_a_killed_evaluation_goes_on_and_gives_the_same_file(tmp_path, monkeypatch):
    ask(tmp_path / "whole.parquet")
    with monkeypatch.context() as patch:

        def killed(text, item, grade=answering.grade):
            if item.task == "tiny-choice":
                raise RuntimeError("killed")
            return grade(text, item)

        patch.setattr(answering, "grade", killed)
        with pytest.raises(RuntimeError, match="killed"):
            ask(tmp_path / "killed.parquet")
    assert not (tmp_path / "killed.parquet").exists()
    assert (tmp_path / "killed.parquet.partial").is_file()
    with pytest.raises(StoreError, match="beginning of another evaluation"):
        ask(tmp_path / "killed.parquet", seed=1)
    said = []
    ask(tmp_path / "killed.parquet", say=said.append)
    assert "4 finished batches" in said[0]
    assert (tmp_path / "killed.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_an_adapter_folder_is_a_model(tmp_path):
    adapted = add_adapter(load_model(STUDENT), LORA, 0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.05)
    adapted.save_pretrained(tmp_path / "student")
    found = ask(tmp_path / "a.parquet", model=str(tmp_path / "student"), tasks="tiny-math")
    ask(tmp_path / "b.parquet", tasks="tiny-math")
    one, other = (tables.read("generations", tmp_path / f"{n}.parquet") for n in "ab")
    assert found["model"] == "student"
    assert one["mean_logprob"] != other["mean_logprob"]


def test_a_prompt_without_room_is_counted_not_cut(tmp_path):
    said = []
    found = kdscope.evaluate(
        "tiny-student-small", "tiny-math", tmp_path / "x.parquet", limit=20,
        max_new_tokens=512 - 40, batch_size=20, say=said.append, prompt="clean",
    )  # fmt: skip
    count = found["tasks"][0]["too_long"]
    assert 0 < count < 20
    assert f"{count} prompts leave no room" in said[-1]
    rows = tables.read("generations", tmp_path / "x.parquet").to_pylist()
    unasked = [row for row in rows if row["finish_reason"] == "too_long"]
    assert len(unasked) == count
    assert not any(row["valid"] for row in unasked)


def test_own_tasks_and_options_without_room(tmp_path):
    lines = ["Which side?", "Which side? " * 300, "And now?"]
    rows = [json.dumps({"prompt": line, "answer": "left"}) for line in lines]
    (tmp_path / "sides.jsonl").write_text("\n".join(rows))
    task = {
        "name": "sides", "path": str(tmp_path / "sides.jsonl"), "form": "word",
        "options": ["left", "right"], "statement": "It is {}.",
    }  # fmt: skip
    said = []
    found = ask(tmp_path / "x.parquet", tasks=[task], choices=True, say=said.append)
    assert found["tasks"][0]["too_long"] == 1
    assert any("sides: 1 items with their options exceed" in line for line in said)
    scored = tables.read("choices", tmp_path / "x.choices.parquet").to_pylist()
    assert [row["item"] for row in scored] == ["0", "0", "2", "2"]
    rows[0] = json.dumps({"prompt": "Which side?", "answer": "right"})
    (tmp_path / "sides.jsonl").write_text("\n".join(rows))
    with pytest.raises(StoreError, match="another evaluation"):
        ask(tmp_path / "x.parquet", tasks=[task], choices=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tasks": "no-such-task"}, ConfigError, "no-such-task"),
        ({"model": "tiny-studnt"}, ModelError, "tiny-student"),
        ({"prompt": "alpaca"}, DataError, "alpaca"),
        ({"prompt": "chat"}, DataError, "no chat template"),
        ({"limit": 0}, ConfigError, "limit"),
    ],
)
def test_bad_input_leaves_nothing(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        ask(tmp_path / "x.parquet", **change)
    assert not (tmp_path / "x.parquet").exists()
