"""Axes of any study: training size, decoding and prompt of the evaluation, and keys that stay as they were."""

import json
from collections import Counter

import pytest
import yaml

from kdscope.errors import ConfigError
from kdscope.study.api import Study
from kdscope.study.identity import digest
from kdscope.study.overview import overview
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study

STUDY = {
    "name": "small",
    "seeds": [0],
    "teachers": ["tiny-teacher"],
    "students": ["tiny-student"],
    "train": {"data": "tiny-train", "limit": 400},
    "methods": {"sft": {}, "seqkd": {}, "fkl": {}, "gkd": {"init": "sft"}},
    "evaluate": {"tasks": ["tiny-math", "tiny-choice"]},
}


@pytest.fixture
def plan(tmp_path):
    def make(**changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **changes}))
        return build_plan(load_study(str(path)))

    return make


def fresh(before, after):
    return Counter(step.kind for key, step in after.steps.items() if key not in before.steps)


def steps(plan, kind, **columns):
    """Steps of a kind whose system has these columns."""
    return [
        step
        for step in plan.steps.values()
        if step.kind == kind
        and all((step.system or step.fields["system"])[n] == v for n, v in columns.items())
    ]


def test_training_size_changes_students_alone(plan):
    before, after = plan(), plan(ablations={"train_limit": [400, 50]})
    new = fresh(before, after)
    assert (new["sft"], new["distill"], new["predict"]) == (1, 3, 2 * 4)
    assert not new["teacher_cache"]
    assert not new["teacher_texts"]
    settings = '{"train_limit":50}'
    for step in steps(after, "distill", settings=settings):
        assert step.fields["data"]["limit"] == 50
    gkd = steps(after, "distill", settings=settings, method="gkd")[0]
    (start,) = gkd.inputs["init"]
    assert after.steps[start].fields["data"]["limit"] == 50
    (cache,) = gkd.inputs["cache"]
    assert after.steps[cache].fields["data"]["limit"] == 400
    (teacher,) = gkd.inputs["teacher"]
    assert after.steps[teacher].fields["data"]["limit"] == 400


def test_more_training_records_than_the_study_has_need_a_cache_of_their_own(plan):
    before, after = plan(), plan(ablations={"train_limit": [800]})
    new = fresh(before, after)
    assert (new["teacher_cache"], new["teacher_texts"], new["sft"]) == (1, 1, 1)
    stats = next(step for step in after.steps.values() if step.kind == "stats")
    assert stats.fields["data"]["limit"] == 800  # contamination is looked for in all of it
    assert stats.fields["teacher_data"]["limit"] == 400


def test_a_student_is_compared_with_the_sft_student_of_the_same_size(plan):
    after = plan(ablations={"train_limit": [50]})
    for step in after.steps.values():
        if step.kind == "fidelity" and step.fields["sft_student"]:
            assert step.fields["system"]["settings"] == step.fields["sft_student"]["settings"]


def test_an_axis_under_one_method_is_compared_with_the_only_sft_student(plan):
    after = plan(methods={"sft": {}, "fkl": {"train_limit": [400, 50]}})
    found = [s.fields["sft_student"] for s in after.steps.values() if s.kind == "fidelity"]
    assert {system["settings"] for system in found if system} == {"{}"}
    assert len(steps(after, "sft", student="tiny-student")) == 1


@pytest.mark.parametrize(
    ("ablation", "settings"),
    [
        ({"decoding": ["greedy", "sample"]}, {"decoding": "sample(t=1)"}),
        (
            {"decoding": [{"strategy": "sample", "temperature": 0.7, "top_p": 0.9}]},
            {"decoding": "sample(t=0.7,top_p=0.9)"},
        ),
        (
            {"decoding": [{"strategy": "greedy", "max_new_tokens": 9}]},
            {"decoding": "greedy(max=9)"},
        ),
        ({"evaluation_prompt": ["clean", "paper"]}, {"evaluation_prompt": "paper"}),
    ],
)
def test_evaluation_axes_train_nobody_and_ask_everybody_alike(plan, ablation, settings):
    before, after = plan(), plan(ablations=ablation)
    new = fresh(before, after)
    assert set(new) == {"predict", "fidelity", "distributions", "stats", "report"}
    assert new["predict"] == 2 * (4 + 1)  # four students and the teacher, on two tasks
    text = json.dumps(settings, separators=(",", ":"))
    asked = steps(after, "predict", settings=text)
    assert len(asked) == new["predict"]
    for step in asked:
        if "decoding" in ablation:
            assert step.fields["decoding"] != before_decoding(before)
        else:
            assert step.fields["prompt"] == "paper"
    for step in after.steps.values():
        if step.kind == "fidelity" and step.key not in before.steps:
            given = (step.fields["system"], step.fields["teacher"], step.fields["sft_student"])
            assert {system["settings"] for system in given if system} == {text}


def before_decoding(plan):
    return next(s for s in plan.steps.values() if s.kind == "predict").fields["decoding"]


def test_an_untuned_teacher_is_asked_alike_too(plan):
    after = plan(ablations={"decoding": ["sample"]}, teacher_adapted=False)
    base = {s.fields["system"]["settings"] for s in steps(after, "predict", method="base")}
    assert base == {"{}", '{"decoding":"sample(t=1)"}'}


def test_ablations_vary_one_factor_at_a_time(plan):
    changes = {"train_limit": [50], "decoding": ["sample"], "evaluation_prompt": ["paper"]}
    after = plan(ablations={**changes, "teacher_noise": [1], "temperature": [2]})
    assert max(len(cell.apart) for cell in after.cells) == 1
    names = {name for cell in after.cells for name in cell.apart}
    assert names == {*changes, "teacher_noise", "temperature"}
    every = Counter(cell.method for cell in after.cells)
    assert every == {"sft": 4, "seqkd": 4, "fkl": 6, "gkd": 6}


def test_rows_stay_distinguishable(plan):
    after = plan(ablations={"train_limit": [50, 60], "decoding": ["sample", {"max_new_tokens": 5}]})
    names = [(c.student, c.method, c.seed, json.dumps(dict(c.apart))) for c in after.cells]
    assert len(set(names)) == len(names)
    predicts = [(s.fields["system"]["model"], s.fields["task"]["name"])
                for s in after.steps.values() if s.kind == "predict"]  # fmt: skip
    assert len(set(predicts)) == len(predicts)


@pytest.mark.parametrize(
    "ablations",
    [{"train_limit": [0]}, {"decoding": ["beam"]}, {"evaluation_prompt": ["mine"]},
     {"decoding": []}],
)  # fmt: skip
def test_bad_values_are_named(plan, ablations):
    (name,) = ablations
    with pytest.raises(ConfigError, match=f"ablations.{name}"):
        plan(ablations=ablations)


# Keys of a study that was planned on 2026-11-25, one digest over the sorted keys of each kind. A change here
# makes every run of today compute that kind again: raise the kind's version only where its results change. What statistics
# and report show changes often and costs little: of them the fields alone are compared, not their versions.
STORED = {
    "sft": "581551547145c1eb",
    "predict": "29467471a093504c",
    "fidelity": "3f1f9e87136dfc5d",
    "distributions": "5bb635fd2dd50d2e",
    "teacher_texts": "2171e9cf3f940a31",
    "distill": "e3b883ad5e5cbcc4",
    "teacher_cache": "51b2ce465ed67533",
    "stats": "f4d7306792fcbc17",
    "report": "9b4c5485a3e509d7",
}


def test_keys_of_a_study_stay_as_they_were(tmp_path, monkeypatch):
    monkeypatch.delenv("KDSCOPE_DATA", raising=False)
    monkeypatch.setenv("KDSCOPE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "study.yaml"
    path.write_text(
        """
name: keys
seeds: [0, 1]
teachers: [Qwen/Qwen2.5-7B]
students: [Qwen/Qwen2.5-0.5B, {model: Qwen/Qwen2.5-1.5B, layers: 20, dtype: float32}]
include_base: true
train: {data: gsm8k-train, limit: 1000, validation: 100, epochs: 2}
teacher_train: {epochs: 1}
methods:
  sft: {}
  seqkd: {}
  fkl: {temperature: [1, 2]}
  revkd: {init: sft}
  gkd: {beta: 0.3, sequences: teacher}
ablations: {teacher_noise: [1], teacher_adapted: [false], epochs: [1]}
evaluate: {tasks: [gsm8k, svamp], limit: 100, samples: 2}
"""
    )
    kinds = {}
    for step in build_plan(load_study(str(path))).steps.values():
        mark = digest(step.fields) if step.kind in ("stats", "report") else step.key
        kinds.setdefault(step.kind, []).append(mark)
    assert {kind: digest(sorted(keys))[:16] for kind, keys in kinds.items()} == STORED


def test_the_papers_losses_are_their_own_steps_and_ours_keep_their_keys(plan):
    ours, paper = (
        plan(ablations={"temperature": [2]}),
        plan(losses="paper", ablations={"temperature": [2]}),
    )
    assert plan(losses="corrected").steps.keys() == plan().steps.keys()
    for kind in ("sft", "teacher_cache", "distill"):
        assert not [s for s in paper.steps.values() if s.kind == kind and s.key in ours.steps]
    forms = {
        (step.fields["method"], step.system["settings"]): step.fields["objective"]
        for step in steps(paper, "distill")
    }
    assert forms["fkl", "{}"]["name"] == "paper_forward_kl"
    hot = forms["fkl", '{"temperature":2.0}']
    assert (hot["temperature"], hot["scale_by_t2"]) == (2.0, True)
    assert forms["gkd", "{}"] | {"name": "", "beta": 0} == {
        "name": "", "beta": 0, "alpha": None, "mu": None, "temperature": 1.0, "scale_by_t2": False, "hard_weight": 0.0,
    }  # fmt: skip
    assert ("gkd", '{"temperature":2.0}') not in forms  # the reference's JSD has no temperature
    gkd = steps(paper, "distill", method="gkd")[0]
    assert gkd.fields["on_policy"]["sequences_per_coin"] == 4
    assert gkd.fields["train"]["reduction"] == "token"
    assert steps(paper, "distill", method="fkl")[0].fields["train"]["reduction"] == "sequence"
    assert {s.fields.get("positions") for s in paper.steps.values() if s.kind == "sft"} == {"every"}


@pytest.mark.parametrize(
    ("changes", "where"),
    [({"teacher_signal": "topk"}, "losses"), ({"ablations": {"hard_weight": [0.5]}}, "ablations.hard_weight")],
)  # fmt: skip
def test_what_the_papers_losses_cannot_be_is_refused(plan, changes, where):
    with pytest.raises(ConfigError, match=where):
        plan(losses="paper", **changes)


def test_a_paper_formula_is_an_objective_of_any_study(plan):
    found = plan(methods={"sft": {}, "fkl": {"objective": ["forward_kl", "paper_forward_kl"]}})
    names = {step.fields["objective"]["name"] for step in steps(found, "distill")}
    assert names == {"forward_kl", "paper_forward_kl"}
    assert all("positions" not in step.fields for step in found.steps.values())


def test_a_quantised_teacher_is_fine_tuned_once_and_is_the_reference_of_its_students(plan):
    before, after = plan(), plan(ablations={"teacher_quantize": ["int8", "nf4"]})
    new = fresh(before, after)
    assert (new["sft"], new["teacher_cache"], new["teacher_texts"], new["distill"]) == (0, 2, 2, 6)
    assert new["predict"] == 2 * (6 + 2)
    for step in after.steps.values():
        if step.kind in ("distill", "teacher_cache", "distributions") and step.key in before.steps:
            assert "quantize" not in step.fields["teacher"]
        if step.kind == "fidelity" and step.key not in before.steps:
            own, teacher = step.fields["system"]["settings"], step.fields["teacher"]["settings"]
            assert own == teacher
            assert step.fields["sft_student"]["settings"] == "{}"
    rounded = {s.fields["model"].get("quantize") for s in steps(after, "predict", student=None)}
    assert rounded == {None, "int8", "nf4"}


def test_a_teacher_may_be_rounded_by_its_entry(plan):
    entry = {"model": "tiny-teacher", "quantize": "nf4"}
    found = plan(teachers=[entry])
    assert {c.teacher for c in found.cells} == {None, "tiny-teacher-nf4"}
    whole = steps(found, "sft", student=None)
    assert [s.key for s in whole] == [s.key for s in steps(plan(), "sft", student=None)]
    both = plan(teachers=["tiny-teacher", entry])
    assert len(steps(both, "sft", student=None)) == 1


def test_a_student_cannot_be_rounded(plan):
    with pytest.raises(ConfigError, match="only teachers are quantised"):
        plan(students=[{"model": "tiny-student", "quantize": "int8"}])


@pytest.mark.parametrize(
    "entry", [{"quantize": "int4"}, {"attention": "fast"}, {"device_map": "gpu"}]
)
def test_words_of_a_model_entry_are_checked(plan, entry):
    (name,) = entry
    with pytest.raises(ConfigError, match=rf"teachers.0.{name}|teachers\[0\].{name}|{name}"):
        plan(teachers=[{"model": "tiny-teacher", **entry}])


def test_kernel_and_device_map_are_part_of_a_models_identity_once_written(plan):
    plain, written = plan(), plan(teachers=[{"model": "tiny-teacher", "attention": "eager"}])
    assert not [k for k, s in written.steps.items() if s.kind == "distill" and k in plain.steps]
    fields = steps(written, "sft", student=None)[0].fields["model"]
    assert fields["attention"] == "eager"
    assert "device_map" not in fields


@pytest.mark.slow
def test_every_axis_runs_to_its_end(tmp_path):
    """Rows, comparisons and page of a study in which everything is varied once."""
    axes = {
        "train_limit": [8], "decoding": ["sample"], "evaluation_prompt": ["paper"], "teacher_noise": [1],
        "temperature": [2], "teacher_adapted": [False], "epochs": [2], "sequences": ["teacher"],
    }  # fmt: skip
    study = {
        "name": "axes",
        "teachers": ["tiny-teacher"],
        "students": ["tiny-student-small"],
        "train": {"data": "tiny-train", "limit": 16, "epochs": 1, "batch_size": 8},
        "methods": {"sft": {}, "fkl": {"init": "sft"}},
        "ablations": axes,
        "evaluate": {"tasks": ["tiny-math"], "limit": 3, "distributions": 0, "decoding": {"max_new_tokens": 12}},
        "statistics": {"resamples": 50},
    }  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    run = Study(path, out=tmp_path / "run")
    outcome = run.run()
    assert not outcome.failed
    results = run.results()
    gains = results["comparisons"]
    for measure in (
        "difference_in_accuracy",
        "difference_in_accuracy_strict",
        "difference_in_accuracy_paper",
    ):
        rows = gains[
            (gains["measure"] == measure) & (gains["method"] == "fkl") & (gains["task"] == "all")
        ]
        varied = {name for text in rows["settings"] for name in json.loads(text)}
        assert varied == set(axes)
    answers = results["generations"]
    asked = {
        (m, s): set(rows["prompt_hash"]) for (m, s), rows in answers.groupby(["method", "settings"])
    }
    assert (
        asked["fkl", '{"evaluation_prompt":"paper"}']
        == asked["sft", '{"evaluation_prompt":"paper"}']
    )
    assert asked["fkl", '{"evaluation_prompt":"paper"}'].isdisjoint(asked["fkl", "{}"])
    sampled = answers[answers["settings"] == '{"decoding":"sample(t=1)"}']
    assert set(sampled["decoding"]) == {"sample(t=1)"}
    page = (tmp_path / "run" / "report" / "index.html").read_text(encoding="utf-8")
    for words in (
        "Does the verdict change with the extractor?",
        "Accuracy by train limit",
        "Accuracy by decoding",
    ):
        assert words in page


def test_a_plan_names_the_extra_that_rounding_needs(tmp_path, monkeypatch):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "ablations": {"teacher_quantize": ["nf4"]}}))
    monkeypatch.setattr(
        f"{overview.__module__}.find_spec", lambda name: None if name == "bitsandbytes" else name
    )
    assert overview(str(path), out=tmp_path / "run").missing_extras() == ["quant"]
    path.write_text(yaml.safe_dump(STUDY))
    assert overview(str(path), out=tmp_path / "run").missing_extras() == []
