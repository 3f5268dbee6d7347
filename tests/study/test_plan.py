"""The grid and its graph: shared steps once, axes, ablations, and keys."""

import json
from collections import Counter

import pytest
import yaml

from kdscope.errors import ConfigError
from kdscope.study.cost import answers
from kdscope.study.graph import plan_from_document
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study

STUDY = {
    "name": "small",
    "seeds": [0, 1],
    "teachers": ["tiny-teacher"],
    "students": ["tiny-student", "tiny-student-small"],
    "train": {"data": "tiny-train"},
    "methods": {"sft": {}, "seqkd": {}, "fkl": {}, "gkd": {}},
    "evaluate": {"tasks": ["tiny-math", "tiny-choice"]},
}


@pytest.fixture
def plan(tmp_path):
    def make(*overrides, **changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **changes}))
        return build_plan(load_study(str(path), overrides))

    return make


def kinds(plan):
    return Counter(step.kind for step in plan.steps.values())


def test_shared_steps_are_one_step(plan):
    found = plan()
    assert kinds(found) == {
        "sft": 1 + 4,  # the teacher, and two students x two seeds
        "teacher_texts": 1,
        "teacher_cache": 1,
        "distill": 3 * 4,
        "predict": 2 * (1 + 4 + 12),
        "fidelity": 16,
        "distributions": 16,
        "stats": 1,
        "report": 1,
    }
    assert len(found.cells) == 16


def test_every_step_comes_after_its_inputs_and_paths_are_unique(plan):
    seen, found = set(), plan(include_base=True)
    for step in found.steps.values():
        assert set(step.input_keys()) <= seen
        seen.add(step.key)
    assert len({step.path for step in found.steps.values()}) == len(found.steps)


def test_lists_open_axes_as_a_product(plan):
    found = plan(methods={"fkl": {"temperature": [1, 2], "hard_weight": [0, 0.5]}}, seeds=[0])
    apart = [dict(cell.apart) for cell in found.cells if cell.student == "tiny-student"]
    assert apart == [{}, {"hard_weight": 0.5}, {"temperature": 2.0},
                     {"temperature": 2.0, "hard_weight": 0.5}]  # fmt: skip


def test_idle_axes_open_no_cell(plan):
    found = plan(methods={"sft": {"temperature": [1, 2]}, "seqkd": {"teacher_noise": [0, 1]}})
    assert len(found.cells) == 8
    assert any("methods.sft.temperature cannot change sft" in note for note in found.notes)
    same = plan(methods={"fkl": {"temperature": [1], "scale_by_t2": [True, False]}}, seeds=[0])
    assert len(same.cells) == 2


def test_ablations_vary_one_factor_at_a_time(plan):
    found = plan(
        ablations={"teacher_noise": [0, 1, 5], "teacher_adapted": [False]}, seeds=[0],
        students=["tiny-student"],
    )  # fmt: skip
    apart = Counter((cell.method, json.dumps(dict(cell.apart))) for cell in found.cells)
    noise = {json.dumps({"teacher_noise": value}) for value in (1.0, 5.0)}
    untuned = json.dumps({"teacher_adapted": False})
    assert {a for m, a in apart if m == "sft"} == {"{}"}
    assert {a for m, a in apart if m == "seqkd"} == {"{}", untuned}
    assert {a for m, a in apart if m == "fkl"} == {"{}", untuned, *noise}
    assert kinds(found)["teacher_texts"] == 2
    base = [s for s in found.steps.values() if s.fields.get("system", {}).get("method") == "base"]
    assert {s.kind for s in base} == {"predict"}  # the untuned teacher is the reference there


def test_pairs_instead_of_the_product(plan):
    found = plan(pairs=[["tiny-teacher", "tiny-student"]])
    assert {cell.student for cell in found.cells} == {"tiny-student"}


def test_init_sft_takes_the_sft_student_of_the_same_seed(plan):
    found = plan(init="sft")
    for step in found.steps.values():
        if step.kind == "distill":
            (start,) = step.inputs["init"]
            assert found.steps[start].fields["seed"] == step.fields["seed"]
    assert kinds(found)["sft"] == 5


def test_teacher_sequences_for_token_level_methods(plan):
    found = plan(sequences="teacher")
    caches = [step for step in found.steps.values() if step.kind == "teacher_cache"]
    assert len(caches) == 1
    assert caches[0].inputs["texts"]


def test_self_distillation_trains_one_model_once(plan):
    found = plan(teachers=["tiny-student"], students=["tiny-student"], seeds=[0])
    assert kinds(found)["sft"] == 1
    models = {s.fields["system"]["model"] for s in found.steps.values() if s.kind == "predict"}
    assert {"tiny-student/teacher/s0", "tiny-student/sft/s0"} <= models


def changed(before, after):
    return Counter(step.kind for key, step in after.steps.items() if key not in before.steps)


def test_a_changed_field_reruns_exactly_what_depends_on_it(plan):
    before = plan()
    assert set(changed(before, plan("statistics.resamples=500"))) == {"stats", "report"}
    assert set(changed(before, plan("description=other"))) == {"report"}
    assert set(changed(before, plan("evaluate.limit=5"))) == {
        "predict",
        "fidelity",
        "distributions",
        "stats",
        "report",
    }
    beta = changed(before, plan("methods.gkd.beta=0.1"))
    assert beta["distill"] == 4
    assert beta["predict"] == 8
    assert set(beta) == {"distill", "predict", "fidelity", "distributions", "stats", "report"}
    more = changed(before, plan("methods.fkl.temperature=[1, 2]"))
    assert more["distill"] == 4  # only the new cells
    teacher = changed(before, plan("teacher_train.epochs=1"))
    assert teacher["sft"] == 1
    assert teacher["distill"] == 12
    assert not changed(before, plan("seeds=[0]"))["distill"]


def test_an_explicit_default_changes_no_key(plan):
    assert not changed(plan(), plan("train.epochs=3", "methods.fkl.temperature=1"))["distill"]


def test_a_limit_of_the_samples_is_a_field_only_where_it_is_written(plan):
    asked = [s.fields for s in plan("evaluate.samples=2").steps.values() if s.kind == "predict"]
    assert not any("sample_limit" in fields for fields in asked)
    few = plan("evaluate.samples=2", "evaluate.sample_limit=5")
    asked = [s.fields for s in few.steps.values() if s.kind == "predict"]
    assert {fields["sample_limit"] for fields in asked} == {5}
    assert answers({**asked[0], "limit": 20}, 250) == 20 + 2 * 5
    assert answers({**asked[0], "limit": 3}, 250) == 3 + 2 * 3
    one = plan("evaluate.samples=2", "evaluate.sample_seeds=1", include_base=True)
    asked = [s.fields for s in one.steps.values() if s.kind == "predict"]
    apart = {f["system"]["model"]: f["samples"] for f in asked}
    assert {model for model, samples in apart.items() if not samples} == {
        f["system"]["model"] for f in asked if f["system"]["seed"] == 1
    }
    with pytest.raises(ConfigError, match=r"evaluate\.sample_limit .*limits the samples"):
        plan("evaluate.sample_limit=5")


def test_kind_versions_invalidate_their_kind(plan, monkeypatch):
    from kdscope.study import steps  # the registry itself is what is patched

    before = plan()
    monkeypatch.setitem(steps.KINDS, "fidelity", steps.KINDS["fidelity"]._replace(version=99))
    assert set(changed(before, plan())) == {"fidelity", "stats", "report"}


def test_the_document_is_the_plan(plan):
    found = plan(include_base=True)
    document = json.loads(json.dumps(found.document()))
    assert list(plan_from_document(document).steps.values()) == [
        *(type(s)(s.kind, s.label, s.key, s.version, s.fields, s.inputs, s.system)
          for s in found.steps.values())
    ]  # fmt: skip


def test_a_million_cells_must_be_confirmed(plan):
    with pytest.raises(ConfigError, match="--many"):
        plan(seeds=list(range(20_000)))
    axis = [i / 1000 for i in range(1, 1001)]
    with pytest.raises(ConfigError, match="--many"):
        plan(methods={"gkd": {"beta": axis, "temperature": axis}})


def test_an_empty_axis_is_a_mistake(plan):
    with pytest.raises(ConfigError, match="temperature"):
        plan(methods={"fkl": {"temperature": []}})
