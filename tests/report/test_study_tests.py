"""The sections on methods and on certainty, from the rows of a study with a known truth."""

import html

import pandas as pd
import pytest
from synthetic_study import resolved_study

from kdscope import tables
from kdscope.report.answer import choices
from kdscope.report.results import Results, load
from kdscope.report.sections import certainty, inheritance, methods
from kdscope.report.sections import tests as differences
from kdscope.report.sections.answers import RULES, pairs
from kdscope.stats.multiplicity import adjust
from tests.fidelity import synthetic
from tests.fidelity.test_summary import comparisons


def results_of(study) -> Results:
    frames = {name: tables.from_rows(name, ()).to_pandas() for name in tables.SCHEMAS}
    rows = comparisons(study, resamples=200, margin=0.05)
    frames["comparisons"] = tables.from_rows("comparisons", rows).to_pandas()
    return Results(frames, {"name": "synthetic"})


@pytest.fixture(scope="module")
def results() -> Results:
    return results_of(synthetic.study(count=24, methods=("fkl", "revkd", "gkd")))


def named(section) -> dict:
    return {table.name: table for table in section.tables}


def test_methods_are_compared_with_each_other(results) -> None:
    section = methods.section(results)
    made = named(section)
    assert {"methods-overall", "methods-pairs", "methods-over-sft", "answer-model"} <= set(made)
    assert section.question.endswith("?")
    answer = html.unescape(str(section.answer))
    assert "Over 6 student-task blocks" in answer
    assert "equivalent within 5 points" in answer
    assert len(made["methods-pairs"].rows) == 6  # four treatments
    assert {row[0] for row in made["methods-over-sft"].rows} == {"fkl", "revkd", "gkd"}
    assert section.missing == ["No method was run at several settings, so none had to be chosen."]


def test_certainty_shows_every_run_and_what_it_would_take(results) -> None:
    section = certainty.section(results)
    made = named(section)
    assert set(made) == {"mcnemar", "items-and-seeds", "power", "families"}
    assert not section.missing
    assert len(made["mcnemar"].rows) == 2 * 3 * 3
    assert made["mcnemar"].columns[3:] == ["seed 0", "seed 1", "seed 2"]
    answer = html.unescape(str(section.answer))
    assert "On 72 questions two runs must differ by" in answer
    assert "to see 1 point you need" in answer
    assert "seeds" in answer


def test_mcnemar_counts_are_those_of_the_answers(results) -> None:
    rows = results["comparisons"]
    row = next(rows[rows["test"] == "mcnemar"].itertuples())
    shown = named(certainty.section(results))["mcnemar"].rows[0][3]
    won = round(row.statistic)
    lost = won - round(row.estimate * row.n)
    assert shown.startswith(f"{won} : {lost}, p ")


def test_both_corrections_stand_beside_the_p(results) -> None:
    table = named(differences.section(results))["differences"]
    assert table.columns[-3:] == ["p", "p, Holm", "p, BH"]
    rows = results.level("difference_in_accuracy")
    wanted = adjust(list(rows["p"]), "bh")
    shown = [row[-1] for row in table.rows if row[3] == "all tasks"]
    assert [cell.value for cell in shown] == pytest.approx(wanted)


def test_errors_are_shown_by_kind_of_question(results) -> None:
    section = inheritance.section(results, choices(results))
    made = named(section)
    assert set(made) == {"inherited-errors", "rewording"}
    assert {row[2] for row in made["inherited-errors"].rows} == {"length: short question"}
    assert "two wordings of one problem are both right or both wrong in" in str(section.answer)
    assert "repeats most of the teacher's errors in" in html.unescape(str(section.answer))
    empty = Results({name: tables.from_rows(name, ()).to_pandas() for name in tables.SCHEMAS})
    assert len(inheritance.section(empty, []).missing) == 2


def test_one_seed_and_one_method_are_said() -> None:
    study = synthetic.study(count=12, seeds=(0,), methods=("fkl",), students=1)
    results = results_of(study)
    section = certainty.section(results)
    assert any("one seed" in sentence for sentence in section.missing)
    assert "seeds" not in str(section.answer)
    section = methods.section(results)
    assert any("three methods" in sentence for sentence in section.missing)


def test_a_study_without_sft_says_what_it_lacks() -> None:
    empty = Results({name: tables.from_rows(name, ()).to_pandas() for name in tables.SCHEMAS})
    for section in (certainty.section(empty), methods.section(empty)):
        assert not section.tables
        assert len(section.missing) >= 4
        assert str(section.answer)


def test_a_chosen_setting_is_charged_for_the_choice() -> None:
    questions, systems, links = synthetic.study(count=24, methods=("fkl",), students=1)
    for name in [name for name in systems if "/fkl/" in name]:
        other = f"{name}/t2"
        systems[other] = [
            {**row, "model": other, "settings": '{"temperature":2}', "correct": i % 2 == 0}
            for i, row in enumerate(systems[name])
        ]
        links.append((other, "teacher", "teacher"))
    table = named(methods.section(results_of((questions, systems, links))))["settings-chosen"]
    (row,) = table.rows
    assert row[:2] == ["student-1B", "fkl"]
    assert 0 <= row[4].value <= 100
    assert row[5].value >= 0
    assert isinstance(table, methods.Table)
    assert pd.notna(row[3].low)


def test_the_error_table_is_picked_by_rule(study) -> None:
    """The first of each rule is the extreme of all: wrong and closest, right and farthest."""
    results = load(study, resolved_study())
    rows = results["fidelity"]
    rows = results.main(rows[(rows["relation"] == "teacher") & (rows["method"] != "base")])
    rows = rows[rows["reference_correct"].fillna(False).astype(bool)]
    right = rows["correct"].astype(bool)
    picked = pairs(results, each=3)
    close = [pair for pair in picked if pair.rule == RULES["close"]]
    far = [pair for pair in picked if pair.rule == RULES["far"]]
    assert len(close) == len(far) == 3
    assert close[0].fidelity == rows[~right]["bleu"].max()
    assert far[0].fidelity == rows[right]["bleu"].min()
    assert all(pair.teacher_right and not pair.student_right for pair in close)
    assert all(pair.teacher_right and pair.student_right for pair in far)
    assert pairs(results, each=3) == picked
