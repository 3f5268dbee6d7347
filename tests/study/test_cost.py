"""The cost model: it orders steps sensibly, learns factors, and schedules."""

import pytest

from kdscope.study.cost import (
    BETWEEN,
    RECENT,
    Machine,
    cache_bytes,
    costs,
    learn,
    makespan,
    own_seconds,
    save_machine,
    this_machine,
)
from kdscope.study.graph import Graph, Plan
from kdscope.study.lengths import train_length
from kdscope.study.overview import overview, parameters
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study


@pytest.fixture(scope="module")
def quickstart():
    resolved = load_study("quickstart")
    return build_plan(resolved), parameters(resolved)


def by_label(plan, found, kind, part):
    return [found[k] for k, s in plan.steps.items() if s.kind == kind and part in s.label]


def test_more_work_costs_more(quickstart):
    plan, weights = quickstart
    found = costs(plan, Machine(), weights)
    assert all(cost.seconds > 0 and cost.memory > 0 for cost in found.values())
    teacher = by_label(plan, found, "sft", "tiny-teacher")[0]
    student = by_label(plan, found, "sft", "tiny-student-small")[0]
    assert teacher.seconds > student.seconds
    gkd = by_label(plan, found, "distill", "small-gkd")[0]
    fkl = by_label(plan, found, "distill", "small-fkl")[0]
    assert gkd.seconds > fkl.seconds


@pytest.mark.parametrize(
    ("study", "part", "measured"),  # peak of the resident set in bytes, two cores, 2026-11-25
    [
        ("quickstart", "tiny-teacher-teacher", 1.68e9),
        ("quickstart", "tiny-student-fkl", 1.62e9),
        ("laptop-commonsense", "26l-sft", 5.96e9),
    ],
)
def test_the_memory_of_a_training_is_predicted_within_a_factor_of_one_and_a_half(
    study, part, measured
):
    found = overview(study)
    steps = [step for step in found.plan.steps.values() if step.kind in {"sft", "distill"}]
    costs = [found.costs[step.key].memory for step in steps if part in step.label]
    assert measured / 1.5 < min(costs) <= max(costs) < measured * 1.5


def test_factors_are_learnt_by_kind_and_size(quickstart):
    plan, weights = quickstart
    before = costs(plan, Machine(), weights)
    measured = [(s, 3 * before[k].seconds) for k, s in plan.steps.items() if s.kind == "sft"]
    after = costs(plan, learn(Machine(), measured, weights), weights)
    for key, step in plan.steps.items():
        factor = 3 if step.kind == "sft" else 1
        assert after[key].seconds == pytest.approx(factor * before[key].seconds)


def test_makespan_of_a_fork():
    graph = Graph()
    one = graph.add("sft", "one", {"n": 1}, {})
    ends = [graph.add("predict", f"p{i}", {"n": i}, {"adapter": [one]}) for i in range(4)]
    plan = Plan("fork", graph.steps, ())
    found = dict.fromkeys(plan.steps, 10.0 - BETWEEN)
    start = makespan(plan, found, [one], 1) - 10.0
    assert makespan(plan, found, plan.steps, 1) == pytest.approx(start + 50)
    assert makespan(plan, found, plan.steps, 2) == pytest.approx(start + 30)
    assert makespan(plan, found, ends, 4) == pytest.approx(start + 10)
    assert makespan(plan, found, [], 2) == 0


def learnt(plan, weights, factors):
    """The machine after runs in which every step took these multiples of its prediction."""
    before, machine = costs(plan, Machine(), weights), Machine()
    for factor in factors:
        measured = [(s, factor * before[k].seconds) for k, s in plan.steps.items()]
        machine = learn(machine, measured, weights)
    return machine


def test_one_bad_run_does_not_spoil_what_was_learnt(quickstart):
    plan, weights = quickstart
    before = costs(plan, Machine(), weights)
    after = costs(plan, learnt(plan, weights, [1.2, 1.2, 1.2, 20.0]), weights)
    texts = [key for key, step in plan.steps.items() if step.kind == "teacher_texts"]
    assert after[texts[0]].seconds == pytest.approx(1.2 * before[texts[0]].seconds, rel=1e-3)


def test_a_machine_that_has_changed_is_learnt_anew(quickstart):
    plan, weights = quickstart
    machine = learnt(plan, weights, [5.0] * RECENT + [1.0] * RECENT)
    assert all(len(values) <= RECENT for values in machine.ratios.values())
    for key, cost in costs(plan, machine, weights).items():
        assert cost.seconds == pytest.approx(costs(plan, Machine(), weights)[key].seconds, rel=1e-3)


def test_rollouts_and_tasks_have_factors_of_their_own(quickstart):
    plan, weights = quickstart
    before = costs(plan, Machine(), weights)
    measured = []
    for key, step in plan.steps.items():
        slow = step.fields.get("on_policy") or "tiny-long" in step.label
        measured.append((step, (9.0 if slow else 1.0) * before[key].seconds))
    after = costs(plan, learn(Machine(), measured, weights), weights)
    for key, step in plan.steps.items():
        slow = bool(step.fields.get("on_policy")) or "tiny-long" in step.label
        assert after[key].seconds == pytest.approx(
            (9.0 if slow else 1.0) * before[key].seconds, rel=1e-3
        )


def test_an_unseen_task_is_predicted_like_others_of_its_size(quickstart):
    plan, weights = quickstart
    before = costs(plan, Machine(), weights)
    seen = [(s, 3.0 * before[k].seconds) for k, s in plan.steps.items()
            if s.kind == "predict" and "tiny-math" in s.label]  # fmt: skip
    after = costs(plan, learn(Machine(), seen, weights), weights)
    other = [k for k, s in plan.steps.items() if s.kind == "predict" and "tiny-choice" in s.label]
    assert all(after[k].seconds == pytest.approx(3.0 * before[k].seconds, rel=1e-3) for k in other)


def manifest(**changed):
    return {
        "seconds": 100.0, "cpu_seconds": 20.0, "device": "cpu", "threads": 1,
        "machine": {"load": 9.0, "cores": 2},
    } | changed  # fmt: skip


def test_a_step_counts_with_the_time_it_would_have_taken_alone():
    assert own_seconds(manifest()) == 20.0  # four fifths of the time others had the core
    assert own_seconds(manifest(cpu_seconds=130.0)) == 100.0  # children beside it
    assert own_seconds(manifest(threads=2)) is None  # a crowded machine: nobody can say
    assert own_seconds(manifest(threads=2, machine={"load": 1.9, "cores": 2})) == 100.0
    assert own_seconds(manifest(device="cuda", machine={"load": 0.5, "cores": 2})) == 100.0


def test_what_was_learnt_is_kept_and_older_records_are_passed_over(quickstart):
    plan, weights = quickstart
    machine = learnt(plan, weights, [2.0])
    save_machine(machine)
    assert this_machine() == machine


def test_the_embedded_study_is_predicted_from_a_few_numbers(quickstart):
    """Seconds of a slot as measured on a virtual machine of two cores, its numbers by `kdscope doctor`."""
    plan, weights = quickstart
    found = costs(plan, Machine(), weights)
    total = sum(cost.seconds for cost in found.values())
    assert 300 < total < 3000


def test_a_cache_is_estimated_by_its_rows_and_the_teachers_head():
    def of(**changes):
        teacher = {"name": "t", "id": "Qwen/Qwen2.5-7B", "dtype": "bfloat16"}
        data = {"name": "gsm8k-train", "limit": 1000}
        fields = {"teacher": teacher, "data": data, "top_k": None, "cache_dtype": "exact"}
        return cache_bytes(fields | changes, {})

    rows, head = 1000 * train_length("gsm8k-train").answer, 152_064 * 3584 * 2
    assert of() == pytest.approx(rows * 3584 * 2 + head)
    assert of(cache_dtype="int8") == pytest.approx(rows * (3584 + 4) + head)
    assert of(top_k=20) == pytest.approx(rows * 160)


def test_a_plan_says_what_the_cache_takes_and_that_it_is_an_estimate(tmp_path):
    lines = overview("quickstart", out=tmp_path / "none").lines()
    (line,) = [line for line in lines if line.startswith("teacher cache: about ")]
    assert "in 1 step, an estimate" in line
