"""Studies that are published in parts: what is kept, what is put together, what is refused."""

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from kdscope import tables
from kdscope.errors import StoreError, TableError, UserError
from kdscope.report.results import Results, load
from kdscope.study.api import Study
from kdscope.study.launch import Options
from kdscope.study.published import build_study, keep
from kdscope.study.published import keeping as keeping_module
from kdscope.study.published.building import published, write_tables
from kdscope.study.published.claims import verdicts
from kdscope.study.published.merging import merge
from kdscope.study.published.part import LIMIT, RECORD, checksum, read_parts
from kdscope.study.published.summary import MARKER, readme_block, studies_page, write_summaries

STUDY = {
    "name": "small",
    "seeds": [0, 1],
    "teachers": ["tiny-teacher"],
    "students": ["tiny-student-small"],
    "train": {"data": "tiny-train", "limit": 8, "batch_size": 4, "warmup_steps": 0},
    "methods": {"sft": {}, "fkl": {}},
    "evaluate": {
        "tasks": ["tiny-math", "tiny-choice"],
        "limit": 4,
        "decoding": {"strategy": "greedy", "max_new_tokens": 12},
        "distributions": 2,
    },
    "statistics": {"resamples": 50},
}
ROOT = Path(__file__).parents[2]
STUDENT = "tiny-student-small/fkl/tiny-teacher/s0"


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return path


@pytest.fixture(scope="session")
def kept(study, tmp_path_factory):
    """A repository with a part for each seed, and the run that has both seeds."""
    root = tmp_path_factory.mktemp("repository")
    (root / "README.md").write_text(f"# Before\n\n{MARKER}\n{MARKER}\n\nAfter\n")
    run = tmp_path_factory.mktemp("run") / "small"
    assert not Study(study, out=run).run(Options(workers=1)).failed
    for seed in (0, 1):
        narrowed = shutil.copytree(run, run.with_name(f"seed-{seed}"))
        assert not Study(study, {"seeds": [seed]}, out=narrowed).run(Options(workers=1)).failed
        parts = root / "docs" / "studies" / "parts"
        keep(narrowed, f"seed-{seed}", str(study), [f"seeds=[{seed}]"], parts)
    return root, run


@pytest.fixture(scope="session")
def built(kept, tmp_path_factory):
    """The same repository with the study built."""
    root = shutil.copytree(kept[0], tmp_path_factory.mktemp("built") / "repository")
    build_study("small", root)
    return root


@pytest.fixture
def root(kept, tmp_path):
    return shutil.copytree(kept[0], tmp_path / "repository")


def part(root, name):
    return root / "docs" / "studies" / "parts" / "small" / name


def change(folder, table=None, edit=None, **record):
    """Alter a part as if it had been kept so: a table's rows, or what the record says."""
    path = folder / RECORD
    document = yaml.safe_load(path.read_text()) | record
    if table:
        file = folder / f"{table}.parquet"
        tables.write(table, [edit(row) for row in tables.read(table, file).to_pylist()], file)
        document["files"][file.name] = checksum(file)
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def same(one, other):
    """Equal rows, the order of sums aside."""
    numbers = ["estimate", "low", "high", "statistic", "p", "p_adjusted"]
    texts = [name for name in one.columns if name not in numbers]
    pd.testing.assert_frame_equal(one[texts], other[texts])
    pd.testing.assert_frame_equal(one[numbers], other[numbers], rtol=1e-9, atol=1e-9)


def saying(model, text):
    """An edit that puts another text into a system's answers."""
    return lambda row: row | {"text": text} if row["model"] == model else row


def test_two_parts_have_the_statistics_of_one_run(kept, built):
    whole = tables.read("comparisons", kept[1] / "tables" / "comparisons.parquet").to_pandas()
    assert len(whole) > 100
    same(load(built / "docs/studies/small")["comparisons"], whole)


def test_the_page_is_self_contained_and_names_the_commands(built, study):
    page = built / "docs/studies/small/index.html"
    text = page.read_text()
    assert page.stat().st_size < LIMIT
    assert f"kdscope run {study} &#39;seeds=[0]&#39;; kdscope run" in text
    assert "src=" not in text.replace("img-src", "")


def test_figures_of_the_summaries_are_those_of_the_tables(built):
    readme, page = (built / name for name in ("README.md", "docs/studies/README.md"))
    found = load(built / "docs/studies/small").level("accuracy")
    row = found[found["method"] == "fkl"].iloc[0]
    cells = f"{row['estimate'] * 100:.1f} [{row['low'] * 100:.1f}, {row['high'] * 100:.1f}]"
    assert readme.read_text().startswith("# Before")
    assert readme.read_text().endswith("After\n")
    for path in (readme, page):
        assert f"| tiny-student-small | fkl | {cells} |" in path.read_text()
        assert "| 8 | 2 |" in path.read_text()
    assert "| KD consistently outperforms SFT | " in page.read_text()
    before = readme.read_text(), page.read_text()
    write_summaries(built, published(built))
    assert (readme.read_text(), page.read_text()) == before


def test_a_part_keeps_no_name_of_a_machine_and_says_what_made_it(kept):
    folder = part(kept[0], "seed-0")
    record = yaml.safe_load((folder / RECORD).read_text())
    assert record["study"]["seeds"] == [0]
    assert record["command"].endswith("'seeds=[0]'")
    assert record["seconds"]["distill"] > 0
    assert record["versions"][0]["torch"]
    assert record["kinds"]["predict"] >= 2
    assert {"cores", "gpu", "processor", "system", "threads"} == set(record["machines"][0])
    assert tables.read("steps", folder / "steps.parquet")["host"].null_count > 0
    assert set(tables.read("steps", folder / "steps.parquet")["host"].to_pylist()) == {None}
    assert str(kept[1]) not in (folder / RECORD).read_text()


def test_a_teacher_of_another_machine_is_a_second_run_with_its_own_students(root):
    teacher = "tiny-teacher/teacher/s0"
    change(part(root, "seed-1"), "generations", saying(teacher, "otherwise"))
    found = merge(read_parts(part(root, "seed-1").parent)).tables
    models = set(found["generations"]["model"].to_pylist())
    assert {teacher, f"{teacher}@seed-1"} <= models
    references = {
        (row["seed"], row["reference"])
        for row in found["fidelity"].to_pylist()
        if row["relation"] == "teacher"
    }
    assert references == {(0, teacher), (1, f"{teacher}@seed-1")}
    build_study("small", root)
    levels = load(root / "docs/studies/small").level("agreement")
    assert set(levels["seeds"]) == {2}


# -- what is refused -------------------------------------------------------------------------------


def refused(root, *words, error=UserError):
    with pytest.raises(error) as caught:
        build_study("small", root)
    for word in words:
        assert word in str(caught.value)


def test_other_settings_are_refused_with_their_values(root):
    folder = part(root, "seed-1")
    document = yaml.safe_load((folder / RECORD).read_text())["study"]
    document["train"]["limit"] = 9
    change(folder, study=document)
    refused(root, "'seed-0'", "'seed-1'", "train.limit: 8 against 9")


def test_other_methods_of_one_name_are_refused(root):
    folder = part(root, "seed-1")
    document = yaml.safe_load((folder / RECORD).read_text())["study"]
    document["methods"]["fkl"]["temperature"] = [2.0]
    change(folder, study=document)
    refused(root, "methods.fkl.temperature: null against [2.0]")


def test_another_version_of_a_step_is_refused(root):
    folder = part(root, "seed-1")
    kinds = yaml.safe_load((folder / RECORD).read_text())["kinds"]
    change(folder, kinds=kinds | {"predict": kinds["predict"] + 1})
    refused(root, "version of predict")


def test_the_same_seed_twice_with_other_answers_is_refused(root):
    shutil.copytree(part(root, "seed-0"), part(root, "seed-0-again"))
    once = merge(read_parts(part(root, "seed-0").parent)).tables["generations"].to_pylist()
    assert len(once) == len({(row["model"], row["task"], row["item"]) for row in once})
    change(part(root, "seed-0-again"), "generations", saying(STUDENT, "otherwise"))
    refused(root, "'seed-0-again'", STUDENT, "same seed twice")


def test_other_questions_are_refused(root):
    change(part(root, "seed-1"), "items", lambda row: row | {"item": row["item"] + "x"})
    refused(root, "other questions", "tiny-choice")


def test_a_part_that_the_page_rests_on_and_that_is_gone_is_named(root):
    page = root / "docs" / "studies" / "small"
    page.mkdir()
    (page / "published.yaml").write_text("parts: [seed-0, seed-1]\n")
    shutil.rmtree(part(root, "seed-1"))
    refused(root, "lacks the part 'seed-1'", "seed-0", error=StoreError)


def test_no_parts_at_all(root):
    with pytest.raises(StoreError, match="holds no part"):
        build_study("unknown", root)


def test_a_missing_and_a_changed_table_are_named(root):
    file = part(root, "seed-1") / "fidelity.parquet"
    text = file.read_bytes()
    file.unlink()
    refused(root, "lacks its file fidelity.parquet", error=StoreError)
    tables.write("fidelity", tables.read("fidelity", part(root, "seed-0") / file.name), file)
    refused(root, "fidelity.parquet is not the file that was kept", error=StoreError)
    file.write_bytes(text)
    assert len(read_parts(file.parents[1])) == 2


@pytest.mark.parametrize(
    ("change_columns", "told"),
    [
        (lambda table: table.drop_columns(["bleu"]), "lacks 'bleu'"),
        (lambda table: table.append_column("mood", pa.nulls(table.num_rows)), "has also 'mood'"),
    ],
)
def test_a_table_with_other_columns_is_refused(root, change_columns, told):
    file = part(root, "seed-1") / "fidelity.parquet"
    pq.write_table(change_columns(pq.read_table(file)), file)
    refused(root, "fidelity.parquet", told, error=TableError)


def test_keep_refuses_another_command_and_a_part_that_is_there(kept, study, tmp_path):
    run = kept[1]
    with pytest.raises(UserError, match=r"seeds: \[0\] against \[0, 1\]"):
        keep(run, "wrong", str(study), ["seeds=[0]"], tmp_path)
    assert not any(tmp_path.iterdir())
    keep(run, "both", str(study), [], tmp_path)
    with pytest.raises(UserError, match="is there already"):
        keep(run, "both", str(study), [], tmp_path)
    keep(run, "both", str(study), [], tmp_path, replace=True)
    with pytest.raises(UserError, match="no name for a part"):
        keep(run, "../both", str(study), [], tmp_path)


def test_keep_refuses_a_run_that_is_not_finished(kept, study, tmp_path):
    run = shutil.copytree(kept[1], tmp_path / "run", ignore=shutil.ignore_patterns("*-s1-*"))
    steps = tables.read("steps", run / "tables/steps.parquet").to_pylist()
    rest = [row for row in steps if "fkl-tiny-teacher-s1" not in row["step"]]
    tables.write("steps", rest, run / "tables/steps.parquet")
    with pytest.raises(StoreError, match=r"is not finished.*fkl-tiny-teacher-s1"):
        keep(run, "half", str(study), [], tmp_path / "parts")


def test_keep_refuses_what_is_too_large(kept, study, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping_module, "LIMIT", 1000)
    with pytest.raises(UserError, match="MiB"):
        keep(kept[1], "large", str(study), [], tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


# -- claims ----------------------------------------------------------------------------------------


def gain(method, low, high, p_adjusted):
    return {
        "scope": "cell", "measure": "difference_in_accuracy", "task": "all", "student": "s",
        "method": method, "settings": "{}", "teacher": "t", "estimate": (low + high) / 2, "low": low,
        "high": high, "p_adjusted": p_adjusted, "n": 10, "seeds": 1, "reference": "sft",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "status"),
    [
        ([("fkl", 0.1, 0.2, 0.01), ("gkd", 0.01, 0.3, 0.03)], "reproduced"),
        ([("fkl", 0.1, 0.2, 0.01), ("gkd", -0.3, -0.1, 0.01)], "contradicted"),
        ([("fkl", 0.1, 0.2, 0.01), ("gkd", -0.3, -0.1, 0.07)], "undecided"),
        ([("fkl", 0.1, 0.2, 0.01), ("gkd", -0.1, 0.2, 0.5)], "undecided"),
        ([], "not run"),
    ],
)
def test_a_claim_follows_from_the_intervals_of_all_cells(cells, status):
    rows = tables.from_rows("comparisons", [gain(*cell) for cell in cells]).to_pandas()
    empty = {name: tables.from_rows(name, ()).to_pandas() for name in tables.SCHEMAS}
    found = {v.claim: v for v in verdicts(Results(empty | {"comparisons": rows}))}
    assert found["KD consistently outperforms SFT"].status == status
    assert found["The study has 21 teacher-student pairs"].status == "not run"
    assert "poster" in found["The study has 21 teacher-student pairs"].why


# -- what this repository publishes ----------------------------------------------------------------


def test_the_summaries_of_this_repository_come_from_its_tables():
    studies = published(ROOT)
    assert (ROOT / "README.md").read_text().split(MARKER)[1] == "\n" + readme_block(studies)
    if studies:
        assert (ROOT / "docs/studies/README.md").read_text() == studies_page(studies)
    for study in studies:
        page = ROOT / "docs/studies" / study.name / "index.html"
        assert page.stat().st_size < LIMIT
        assert read_parts(ROOT / "docs/studies/parts" / study.name, list(study.records))


@pytest.mark.slow
def test_the_statistics_of_this_repository_follow_from_its_parts(tmp_path):
    for study in published(ROOT):
        merged = merge(read_parts(ROOT / "docs/studies/parts" / study.name))
        write_tables(merged, tmp_path)
        made = tables.read("comparisons", tmp_path / "comparisons.parquet").to_pandas()
        same(made, study.results["comparisons"])
