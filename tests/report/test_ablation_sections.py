"""What a study's own axes show in the report: sizes as curves, decodings as tables, extractors as verdicts."""

import pytest

from kdscope.report.results import Results
from kdscope.report.sections import ablations, extractors
from kdscope.tables import from_rows


def row(measure, method, estimate, settings="{}", half=0.02):
    return {
        "scope": "cell", "measure": measure, "task": "all", "student": "small", "method": method,
        "teacher": None if method == "sft" else "big", "settings": settings, "estimate": estimate,
        "low": estimate - half, "high": estimate + half, "n": 100, "seeds": 1, "signature": "s",
    }  # fmt: skip


def results(rows, **study):
    table = from_rows("comparisons", rows).to_pandas()
    empty = {name: from_rows(name, []).to_pandas() for name in ("generations", "items", "steps")}
    return Results({"comparisons": table, **empty}, {"name": "x", **study}, "")


def by_extractor(flexible, strict, paper, method="fkl"):
    values = {"": flexible, "_strict": strict, "_paper": paper}
    return [row(f"difference_in_accuracy{name}", method, value) for name, value in values.items()]


def test_a_verdict_that_changes_with_the_extractor_is_named():
    found = extractors.section(results(
        [*by_extractor(0.05, 0.05, -0.05), *by_extractor(0.05, 0.06, 0.07, "gkd")]))  # fmt: skip
    assert "Yes, for 1 of 2 cells: fkl on small" in found.answer
    words = {cells[1]: cells[-1] for cells in found.tables[0].rows}
    assert words == {"fkl": "flexible better, strict better, paper worse", "gkd": "better"}


def test_a_verdict_that_holds_is_said_to_hold():
    found = extractors.section(results(by_extractor(0.01, 0.0, -0.01)))
    assert "No: all 1 cells" in found.answer
    assert found.tables[0].rows[0][-1] == "alike"


def test_older_results_say_what_they_lack():
    found = extractors.section(results([row("difference_in_accuracy", "fkl", 0.05)]))
    assert not found.tables
    assert "run the study again" in found.missing[0]


def test_training_size_is_a_curve_with_the_studys_own_point():
    rows = [row("accuracy", "fkl", 0.5), row("accuracy", "fkl", 0.3, '{"train_limit":50}')]
    found = ablations.section(results(rows, train={"limit": 400}))
    (figure,) = found.figures
    assert [cells[2] for cells in figure.table.rows] == ["50", "400"]


@pytest.mark.parametrize(
    ("settings", "own", "other"),
    [
        ('{"decoding":"sample(t=1)"}', "greedy", "sample(t=1)"),
        ('{"evaluation_prompt":"paper"}', "clean", "paper"),
    ],
)
def test_settings_that_are_no_numbers_are_a_table(settings, own, other):
    rows = [row("accuracy", "fkl", 0.5), row("accuracy", "fkl", 0.3, settings)]
    study = {"evaluate": {"decoding": {"strategy": "greedy"}}, "prompt": "clean"}
    found = ablations.section(results(rows, **study))
    (table,) = found.tables
    assert {cells[2]: cells[3].value for cells in table.rows} == {own: 50.0, other: 30.0}
    assert "See the tables" in found.answer


def test_nobody_is_advised_an_ablation():
    from kdscope.report.answer import _is_ablation

    for name in ("train_limit", "decoding", "evaluation_prompt", "teacher_noise"):
        assert _is_ablation(f'{{"{name}":1}}')
    assert not _is_ablation('{"temperature":2.0}')


def test_a_teacher_asked_twice_is_one_teacher_on_the_first_screen():
    own = {"student": None, "teacher": "big"}
    rows = [
        row("accuracy", "sft", 0.8) | own,
        row("accuracy", "sft", 0.7, '{"decoding":"sample(t=1)"}') | own,
        row("accuracy", "sft", 0.4),
        row("accuracy", "sft", 0.3, '{"decoding":"sample(t=1)"}'),
    ]
    main = results(rows).level("accuracy")
    assert sorted(main["estimate"]) == [0.4, 0.8]


@pytest.mark.parametrize(
    ("method", "written", "settings", "points"),
    [
        ("gkd", {}, '{"beta":0.9}', ["0.5", "0.9"]),
        ("gkd", {"beta": 0.3}, '{"beta":0.9}', ["0.3", "0.9"]),
        ("gkd", {"beta": [0.2, 0.9]}, '{"beta":0.9}', ["0.2", "0.9"]),
        ("gkd", {}, '{"on_policy":1.0}', ["0.5", "1"]),
        ("fkl", {}, '{"teacher_noise":5.0}', ["0", "5"]),
    ],
)
def test_a_curve_has_the_studys_own_point(method, written, settings, points):
    rows = [row("accuracy", method, 0.5), row("accuracy", method, 0.3, settings)]
    found = ablations.section(results(rows, methods={method: written}))
    (figure,) = found.figures
    assert [cells[2] for cells in figure.table.rows] == points
