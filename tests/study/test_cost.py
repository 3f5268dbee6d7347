"""The cost model: it orders steps sensibly, learns factors, and schedules."""

import pytest

from kdscope.study.cost import Cost, Machine, costs, learn, makespan
from kdscope.study.graph import Graph, Plan
from kdscope.study.overview import parameters
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
    found = {key: Cost(10.0, 0.0, 0.0) for key in plan.steps}
    start = makespan(plan, found, [one], 1) - 10.0
    assert makespan(plan, found, plan.steps, 1) == pytest.approx(start + 50)
    assert makespan(plan, found, plan.steps, 2) == pytest.approx(start + 30)
    assert makespan(plan, found, ends, 4) == pytest.approx(start + 10)
    assert makespan(plan, found, [], 2) == 0
