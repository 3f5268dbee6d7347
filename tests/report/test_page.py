"""The page: complete, self-contained, safe, and honest about what is missing."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from markupsafe import Markup
from synthetic_study import (
    ABLATIONS,
    HOSTILE,
    LIKENESS,
    STUDENTS,
    TASKS,
    make_study,
    resolved_study,
)

from kdscope import tables
from kdscope.errors import TableError
from kdscope.report import page as page_module
from kdscope.report import theme
from kdscope.report.answer import choices, headline
from kdscope.report.page import build, report_figures, report_tables, script_json
from kdscope.report.results import Results, load


@pytest.fixture(scope="module")
def text(site: Path) -> str:
    return (site / "index.html").read_text(encoding="utf-8")


def test_first_screen_answers_the_question(text: str) -> None:
    first = text[: text.index('<section id="study"')]
    assert re.search(r"<h1>(Use|Lean to) \w+.* with teacher tiny-teacher for .*</h1>", first)
    for words in (
        "Accuracy",
        "Agreement with teacher",
        "Gain over SFT",
        "Runner-up",
        "95 % intervals",
    ):
        assert words in first
    assert first.count("<svg") == 3


def test_every_section_opens_with_a_question_and_an_answer(text: str) -> None:
    sections = re.findall(r'<section id="(\w+)">\s*<h2>(.*?)</h2>(.*?)</section>', text, re.DOTALL)
    assert len(sections) >= 11
    for name, question, body in sections:
        assert question.endswith("?"), name
        assert re.search(r'<p class="(answer|missing)">\s*\S', body), name


def test_the_page_needs_nothing_else(text: str) -> None:
    assert "default-src 'none'" in html.unescape(text)
    links = re.findall(r'(?:src|href)="([^"#]*)"', text)
    assert set(links) <= {"viewer/index.html", ""}
    assert not re.search(r"@import|url\((?!#)", text)
    assert len(text) < 3_000_000


def test_hostile_text_stays_text(text: str) -> None:
    assert text.count("<script") == 2
    assert "<img" not in text
    assert "onerror=window" not in re.sub(r"&lt;.*?&gt;", "", text)
    assert "\u202e" not in text
    assert "\x07" not in text


def test_script_json_cannot_leave_its_element() -> None:
    document = {"text": [*HOSTILE, "<!-- ]]> \u2028"]}
    out = str(script_json(document))
    assert not set("<>&\u2028") & set(out)
    assert json.loads(out) == document


@pytest.mark.usefixtures("undrawn")
def test_names_are_escaped_too(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "tables", items=12)
    study = resolved_study() | {"name": "<b>x</b>", "train": {"data": "<script>1</script>"}}
    page = build(folder, study, tmp_path / "report", command="kdscope run '<i>'")
    text = page.read_text(encoding="utf-8")
    assert "<b>x</b>" not in text
    assert "<script>1" not in text
    assert "'<i>'" not in text


def test_numbers_are_those_of_the_table(results, text: str) -> None:
    rows = results.level("difference_in_accuracy")
    row = next(rows.query("student == 'tiny-student' and method == 'gkd'").itertuples())
    shown = f"{row.estimate * 100:+.1f}</strong>", f"{row.estimate * 100:+.1f}</span>"
    assert any(form in text for form in shown)
    row = choices(results)[0].winner
    assert f"{row.estimate * 100:.1f}\u00a0%" in text
    assert f"({row.low * 100:.1f} to {row.high * 100:.1f})" in text


def _part(text: str, name: str) -> str:
    start = text.index(f'<section id="{name}">')
    return html.unescape(text[start : text.index("</section>", start)])


def test_likeness_besides_answers_is_shown(results, text: str) -> None:
    steps, tokens, samples, options = (
        _part(text, name) for name in ("steps", "tokens", "samples", "options")
    )
    assert all('class="missing"' not in part for part in (steps, tokens, samples, options))
    assert "Its commonest error is “wrong quantity”" in steps
    assert "(exposure bias)" in tokens
    assert tokens.count("<svg") == 1
    assert "two samples of the teacher agree in" in samples
    assert "CAPA with its teacher" in options
    assert re.search(r"off by \d+\.\d points", options)
    assert options.count("<svg") == 2
    row = next(results.level("exposure_bias").itertuples())
    assert f"{row.estimate:+.2f}" in tokens
    distances = {table.name: table for table in report_tables(results)}["token-distances"]
    assert {row[2] for row in distances.rows} == {"reference", "teacher", "student"}


@pytest.mark.usefixtures("undrawn")
def test_what_was_not_measured_is_said(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    shutil.copytree(study, folder)
    path = folder / "comparisons.parquet"
    rows = tables.read("comparisons", path).to_pylist()
    tables.write("comparisons", [row for row in rows if row["measure"] not in LIKENESS], path)
    text = build(folder, resolved_study(), tmp_path / "report", command="x").read_text("utf-8")
    for name, field in (
        ("steps", "step fidelity"),
        ("tokens", "evaluate.distributions"),
        ("samples", "evaluate.samples"),
        ("options", "evaluate.choices"),
    ):
        assert re.search(rf'class="missing">[^<]*{field}', _part(text, name)), name


def _index(text: str) -> tuple[list[str], int]:
    """Links of the paper's index, and how many of its rows say what is missing."""
    section = _part(text, "paper")
    return re.findall(r'<a href="#([\w-]+)">yes</a>', section), section.count(">missing: it needs")


@pytest.mark.usefixtures("undrawn")
def test_every_figure_and_table_of_the_paper_is_there_or_missed(tmp_path: Path) -> None:
    whole = make_study(tmp_path / "whole", items=20, temperatures=(2,), ablations=ABLATIONS)
    text = build(whole, resolved_study(), tmp_path / "report", command="x").read_text("utf-8")
    links, missing = _index(text)
    assert (len(links), missing) == (20, 0)
    assert all(f'id="{link}"' in text for link in links)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(whole / "contamination.parquet", bare)
    text = build(bare, {"name": "bare"}, tmp_path / "report", command="x").read_text("utf-8")
    assert _index(text) == ([], 20)


# What studies may lack, and which of the paper's figures and tables they then cannot show.
LACKING: list[dict[str, set[str]]] = [
    {
        "test == 'one_way_anova'": {"Table 1"},
        "reference == 'student_size'": {"Table 3"},
        "test == 'spearman' and reference == 'bleu'": {"Table 5"},
        "measure == 'accuracy' and task != 'all'": {"Table 7", "Table 8"},
        "settings.str.contains('temperature')": {"Figure 6"},
    },
    {
        "reference == 'teacher_accuracy'": {"Table 2"},
        "test == 'spearman' and reference == 'agreement'": {"Table 4"},
        "measure in ('bleu', 'bleu_floor')": {"Figure 4", "Figure 9", "Figure 11"},
        "settings.str.contains('teacher_noise')": {"Figure 5"},
        "settings.str.contains('teacher_adapted')": {"Figure 2"},
    },
    {"measure == 'agreement'": {"Figure 3", "Figure 8", "Figure 10"}},
    {
        "measure == 'accuracy'": {
            *(f"Figure {number}" for number in range(1, 12)), "Table 7", "Table 8",
        }
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A study that varied everything that the paper varies."""
    folder = tmp_path_factory.mktemp("varied") / "tables"
    make_study(folder, items=20, temperatures=(2,), ablations=ABLATIONS)
    return load(folder, resolved_study(), "x")


@pytest.mark.parametrize("lacking", LACKING)
@pytest.mark.usefixtures("undrawn")
def test_what_a_study_lacks_is_missed_in_its_place_alone(
    varied: Results, lacking: dict[str, set[str]]
) -> None:
    kept = known = varied["comparisons"]
    for rows in lacking:
        there = ~kept.eval(rows, engine="python").fillna(False).astype(bool)
        assert not there.all(), rows
        kept = kept[there]
    assert 0 < len(kept) < len(known)
    results = Results({**varied.frames, "comparisons": kept}, varied.study, "")
    section = _part(page_module.page(results), "paper")
    told = r"<td[^>]*>((?:Figure|Table) \d+)</td>(?:(?!</tr>).)*missing: it needs"
    missed = set(re.findall(told, section, re.DOTALL))
    assert missed == set().union(*lacking.values())


@pytest.mark.usefixtures("undrawn")
def test_each_figure_and_table_of_the_paper_shows_what_it_is_about(varied: Results) -> None:
    """Behind each link stands what the paper's figure or table of that number shows."""
    figures = {figure.name: figure for figure in report_figures(varied)}
    by_name = {table.name: table for table in report_tables(varied)}
    methods = {"sft", "seqkd", "fkl", "revkd", "gkd"}

    def column(table, name: str) -> set:
        return {row[list(table.columns).index(name)] for row in table.rows}

    accuracy = by_name["accuracy"]  # Figures 1 and 7
    assert methods <= {str(label) for label in column(accuracy, "method")}
    for name, kinds in (
        ("agreement-before-after", {"with its own SFT student"}),  # Figures 3, 8 and 10
        ("bleu-before-after", {"floor: another item"}),  # Figures 4, 9 and 11
    ):
        shown = figures[name].table
        assert column(shown, "kind") == kinds | {"SFT student", "recommended student"}
        assert column(shown, "task") == set(varied.tasks)
        assert column(shown, "student") == set(STUDENTS)
    for name, values in (
        ("ablation-teacher-adapted", {"0", "1"}),  # Figure 2
        ("ablation-teacher-noise", {"0", "2"}),  # Figure 5
        ("ablation-temperature", {"1", "2"}),  # Figure 6
    ):
        shown = figures[name].table
        assert {row[2] for row in shown.rows} == values, name
        assert all(row[3].low is not None for row in shown.rows)
    tests = {(row[0], row[1]) for row in by_name["paper-tests"].rows}  # Tables 1 to 5
    assert {name for name, _ in tests} == {"one-sided t", "one-way ANOVA", "Spearman"}
    assert len([on for name, on in tests if name == "Spearman"]) == 4
    assert column(by_name["tasks"], "task") == set(varied.tasks)  # Table 6
    assert set(varied.tasks) <= set(by_name["accuracy-by-task"].columns)  # Tables 7 and 8
    assert page_module.page(varied).count('<article class="pair">') >= 10  # Table 9


def test_reliability_and_risk_are_those_of_the_scored_options(results, study: Path) -> None:
    named = {table.name: table for table in report_tables(results)}
    rows = tables.read("choices", study / "choices.parquet").to_pandas()
    own = rows[rows["student"].isna()]
    sure = np.exp(own["logprob"]).groupby(own["item"]).agg(lambda x: x.max() / x.sum())
    best = own.loc[own.groupby("item")["logprob"].idxmax()].set_index("item")["gold"]
    teacher = [row for row in named["reliability"].rows if row[0] == "tiny-teacher"]
    assert sum(row[4] for row in teacher) == len(sure)
    low, high = sure.between(0.4, 0.5, inclusive="right"), 45
    place = next(row for row in teacher if abs(row[2].value - high) <= 5)
    assert place[3].value == pytest.approx(100 * best[low].mean())
    assert place[2].value == pytest.approx(100 * sure[low].mean())
    risk = [row for row in named["risk-coverage"].rows if row[0] == "tiny-teacher"]
    assert risk[-1][2].value == pytest.approx(100)
    assert risk[-1][3].value == pytest.approx(100 * (1 - best.mean()))


def test_ten_pairs_picked_by_rule(text: str) -> None:
    assert text.count('<article class="pair">') >= 10


def test_recommendation(results) -> None:
    found = choices(results)
    assert [choice.student for choice in found] == ["tiny-student", "tiny-student-small"]
    for choice in found:
        assert choice.runner_up.estimate <= choice.winner.estimate
        assert choice.doubts
    assert headline([]).startswith("No accuracy")


def test_an_untuned_student_that_does_better_is_told_at_once(results) -> None:
    assert all(choice.untuned is None for choice in choices(results))
    comparisons = results["comparisons"].copy()
    untuned = (comparisons["measure"] == "accuracy") & (comparisons["method"] == "base")
    comparisons.loc[untuned, ["estimate", "low", "high"]] = (0.99, 0.98, 1.0)
    found = choices(replace(results, frames={**results.frames, "comparisons": comparisons}))
    assert all(choice.winner.method != "base" for choice in found)
    assert headline(found).endswith("but untuned they did better.")
    assert all("Untuned it answers better, 99.0\u00a0%" in choice.doubts[0] for choice in found)


def test_headline_says_what_is_not_established(results) -> None:
    first, second = choices(results)
    weak = replace(second, gain=second.gain._replace(low=-0.01))
    text = headline([first, weak])
    assert text.startswith("Use ")
    assert "; lean to " in text
    assert "no gain over SFT is established" in text
    sft = replace(second, winner=second.winner._replace(method="sft"))
    assert "keep SFT for tiny-student-small" in headline([first, sft])


def test_students_listed_as_entries_keep_their_order(study: Path) -> None:
    entries = [
        {"model": "org/tiny-student-small", "name": ""},
        {"model": "x", "name": "tiny-student"},
    ]
    found = load(study, resolved_study() | {"students": entries})
    assert found.students == ["tiny-student-small", "tiny-student"]


def test_a_collapsed_run_is_reported(text: str) -> None:
    section = text[text.index('id="collapsed"') :]
    assert (
        "33\u00a0% of the runs of revkd on tiny-student-small"
        in section[: section.index("</section>")]
    )


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts are specified but not drawn, which takes most of the time."""
    monkeypatch.setattr(page_module, "drawn", lambda figure: (figure, Markup("<svg></svg>")))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", sorted(set(tables.SCHEMAS)))
def test_a_missing_table_is_named_not_fatal(study: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "tables"
    shutil.copytree(study, folder)
    (folder / f"{name}.parquet").unlink(missing_ok=True)
    page = build(folder, resolved_study(), tmp_path / "report", command="x")
    assert "<h1>" in page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
def test_only_generations(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    shutil.copy(study / "generations.parquet", folder)
    text = build(folder, {"name": "bare"}, tmp_path / "report", command="x").read_text("utf-8")
    assert text.count('class="missing"') >= 6


def test_no_table_at_all_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="holds no result table"):
        build(tmp_path, {}, tmp_path / "report", command="x")


def test_building_twice_gives_the_same_bytes(site: Path, study: Path, tmp_path: Path) -> None:
    again = build(
        study,
        resolved_study(),
        tmp_path,
        command="kdscope run quickstart",
        viewer="viewer/index.html",
    )
    assert again.read_bytes() == (site / "index.html").read_bytes()


def test_one_colour_per_method() -> None:
    known = theme.styles(theme.METHOD_STYLES)
    assert len({style.light for style in known.values()}) == len(known)
    with_others = theme.styles([*theme.METHOD_STYLES, "tvd", "mse"])
    assert {name: with_others[name] for name in known} == known
    assert len({style.light for style in with_others.values()}) == len(with_others)


def test_tables_cover_every_task(results) -> None:
    named = {table.name: table for table in report_tables(results)}
    assert list(named["accuracy-by-task"].columns)[3:] == list(TASKS)


def test_ablations_stay_out_of_the_main_tables(results) -> None:
    assert set(results.level("accuracy")["settings"]) == {"{}"}
    assert '{"temperature":2}' in set(results.level("accuracy", main=False)["settings"])


def test_settings_without_default_are_main(study: Path) -> None:
    results = load(study, resolved_study())
    kept = results["comparisons"].query("settings != '{}' or method != 'fkl'")
    other = type(results)({**results.frames, "comparisons": kept}, results.study, "")
    assert "fkl · temperature 2" in set(other.level("accuracy")["label"])


def test_the_papers_index_leads_to_what_is_there(text: str) -> None:
    section = text[text.index('<section id="paper">') :]
    section = section[: section.index("</section>")]
    assert section.count("<tr>") == 1 + 11 + 9
    links = re.findall(r'<a href="#([\w-]+)">yes</a>', section)
    assert len(links) + section.count(">missing: it needs") == 20
    assert links
    assert all(f'id="{link}"' in text for link in links)


def test_captions_are_words_and_signatures_stay_in_the_details(text: str) -> None:
    notes = re.findall(r'<p class="note">(.*?)</p>', text, re.DOTALL)
    assert any("95\u00a0% intervals: " in note for note in notes)
    assert not [note for note in notes if re.search(r"\w\|\w|R:\d", note)]
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    signed = [f for f in figures if "95\u00a0% intervals" in f.split("<details>")[0]]
    assert len(signed) >= 5
    assert all("<code>" in figure.split("<details>")[1] for figure in signed)


def test_ids_are_unique(text: str) -> None:
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
