"""`losses: paper` through the real steps: fine-tuning, cache, students with and without rollouts."""

import math

import pytest
import yaml

from kdscope import tables
from kdscope.models.loading import load_tokenizer
from kdscope.study.context import StepContext
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study
from kdscope.study.steps import distill, sft, teacher_cache
from kdscope.study.steps.training_data import training_text

RUN = {"sft": sft.run, "teacher_cache": teacher_cache.run, "distill": distill.run}
STUDY = {
    "name": "as-the-paper",
    "conventions": "paper",
    "losses": "paper",
    "teachers": [{"model": "tiny-student", "dtype": "float32"}],
    "students": [{"model": "tiny-student-small", "dtype": "float32"}],
    "train": {
        "data": "tiny-train",
        "limit": 8,
        "epochs": 1,
        "batch_size": 8,
        "validation": 2,
        "warmup_steps": 0,
    },
    "methods": {"fkl": {}, "revkd": {"temperature": 2}, "gkd": {}},
    "evaluate": {"tasks": ["tiny-math"]},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Measures and folder of every training step, by method."""
    folder = tmp_path_factory.mktemp("paper")
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    places, found = {}, {}
    for step in build_plan(load_study(str(path))).steps.values():
        if step.kind in RUN:
            out = folder / step.path
            (out / "resume").mkdir(parents=True)
            inputs = {role: [places[key] for key in keys] for role, keys in step.inputs.items()}
            context = StepContext(resume=out / "resume", run_dir=folder)
            found[step.fields.get("method", step.kind)] = (
                step, RUN[step.kind](step.fields, inputs, out, context), out,
            )  # fmt: skip
            places[step.key] = out
    return found


def lengths(step):
    tokenizer = load_tokenizer({"name": "tiny-student", "source": "embedded"})
    text = training_text(step.fields["data"], None, tokenizer, "paper", 256)
    return [example.length for example in text.train]


def test_every_position_is_trained_on_and_cached(done):
    everything = sum(lengths(done["sft"][0]))
    assert done["teacher_cache"][1]["tokens"] == everything + 8  # places after ends
    for method in ("fkl", "revkd"):
        assert done[method][1]["tokens"] == everything
    assert (
        done["sft"][1]["tokens"] == everything - 8
    )  # the first token of an example is predicted by nothing


def test_rollouts_replace_four_sequences_at_a_time(done):
    step, measures, _ = done["gkd"]
    assert step.fields["on_policy"]["sequences_per_coin"] == 4
    assert measures["optimizer_steps"] == 1
    assert measures["tokens"] > 8


@pytest.mark.parametrize("method", ["fkl", "revkd", "gkd"])
def test_losses_are_finite_and_the_prompt_is_validated_on(done, method):
    rows = tables.read("curves", done[method][2] / "curves.parquet").to_pylist()
    values = {row["measure"]: row["value"] for row in rows}
    assert math.isfinite(values["loss"])
    assert values["loss"] > 0
    assert math.isfinite(values["validation_nll"])
