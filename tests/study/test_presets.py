"""The presets: complete headers, the paper's own grid, and a plan without data, weights or network."""

import csv
import json
import re
import socket
from collections import Counter
from importlib.resources import files

import pytest
import yaml

from kdscope.errors import ConfigError
from kdscope.study.overview import overview
from kdscope.study.resolve import load_study
from kdscope.study.source import PRESETS, preset_list, preset_names

PAPER = ("paper-math", "paper-commonsense")
ELEVEN = (*PAPER, "clean-math", "clean-commonsense")
ABLATIONS = ("ablation-noise", "ablation-temperature", "ablation-teacher")
WANTED = {*ELEVEN, *ABLATIONS, "poster", "single-gpu", "laptop", "laptop-commonsense"}
SIZE = re.compile(r"(\d+(?:\.\d+)?)B")


def text_of(name: str) -> str:
    return (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


def printed_pairs(table: str) -> list[tuple[str, str]]:
    """The teacher-student pairs of one of the paper's result tables, in its order."""
    content = (files("kdscope.paper") / "tables" / table).read_text(encoding="utf-8")
    rows = csv.DictReader(content.splitlines())
    return list(dict.fromkeys((r["teacher"], r["student"]) for r in rows if r["teacher"]))


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine with no data, no cache and no network."""
    monkeypatch.delenv("KDSCOPE_DATA", raising=False)
    monkeypatch.setenv("KDSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))


def test_every_study_of_the_issue_is_there():
    assert set(preset_names()) >= WANTED
    assert {entry["name"] for entry in preset_list()} == set(preset_names())
    assert all(entry["description"] for entry in preset_list())


@pytest.mark.parametrize("name", preset_names())
def test_a_header_says_what_a_reader_must_know(name):
    header = "\n".join(line for line in text_of(name).splitlines() if line.startswith("#"))
    assert header.startswith(f"# kdscope run {name}")
    assert yaml.safe_load(text_of(name))["name"] == name
    for part in (r"Hardware:|Cost:", r"hours?|minutes?|hour", r"\d+(\.\d+)? [MGT]B", r"Expect"):
        assert re.search(part, header), part


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_header_states_numbers_with_their_tolerance(name):
    header = text_of(name).partition("\nname:")[0]
    assert re.search(r"Tolerance[^:]*:? .*\d", header)


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_planned_with_its_cost_on_a_bare_machine(name, bare, tmp_path):
    found = overview(name, out=tmp_path / "run")
    total = found.document()["total"]
    assert total["steps"] == len(found.plan.steps) > 0
    assert total["seconds"] > 0
    assert total["memory"] > 0
    assert total["disk"] > 0


def test_a_plan_names_the_weights_that_are_not_here_and_their_size(bare, monkeypatch, tmp_path):
    here = {"Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-0.5B"}
    monkeypatch.setattr("kdscope.study.overview.in_hub_cache", lambda name, pin: name in here)
    found = overview("single-gpu", out=tmp_path / "run")
    ((name, amount),) = found.missing_weights()
    assert name == "Qwen/Qwen2.5-1.5B"
    assert amount == pytest.approx(3.1e9, rel=0.02)
    assert any(line.startswith(f"missing: {name}, about 3.1 GB") for line in found.lines())


@pytest.mark.parametrize("name", preset_names())
def test_presets_name_catalogue_ids_and_never_paths(name, bare):
    resolved = load_study(name)
    assert resolved.locations() == {}
    assert "/work" not in text_of(name)


@pytest.mark.parametrize("name", ELEVEN)
def test_the_papers_eleven_pairs_are_those_of_its_tables(name, bare):
    pairs = load_study(name).pairs
    assert set(pairs) == set(printed_pairs("table_7.csv")) == set(printed_pairs("table_8.csv"))
    assert len({model for pair in pairs for model in pair}) == 8


def test_the_posters_pairs_are_all_whose_teacher_is_at_least_as_large(bare):
    resolved = load_study("poster")
    names = sorted({*resolved.teachers, *resolved.students})
    assert len(names) == 8
    family = {name: name.split("-")[0].rstrip("0123456789.") for name in names}
    size = {name: float(SIZE.search(name).group(1)) for name in names}
    wanted = {
        (one, other)
        for one in names
        for other in names
        if family[one] == family[other] and size[one] >= size[other]
    }
    assert set(resolved.pairs) == wanted
    assert Counter(family[teacher] for teacher, _ in resolved.pairs) == {"Qwen": 15, "Llama": 6}
    assert tuple(task.name for task in resolved.tasks) == (
        "dollyeval",
        "selfinst",
        "vicunaeval",
        "sni",
        "unni",
        "ifeval",
    )


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_take_the_five_pairs_with_released_numbers(name, bare):
    small = [p for p in printed_pairs("table_7.csv") if p[0] in ("Qwen2.5-3B", "Qwen2.5-7B")]
    resolved = load_study(name)
    assert len(small) == 5
    assert set(resolved.pairs) == set(small)
    assert "fkl" in resolved.study.methods
    assert "seqkd" not in resolved.study.methods


@pytest.mark.parametrize(
    ("name", "axis"),
    [
        ("ablation-noise", {("fkl", s) for s in (None, 1.0, 2.0, 5.0)}),
        ("ablation-temperature", {(m, t) for m in ("fkl", "revkd") for t in (None, 2.0, 5.0)}),
        ("ablation-teacher", {("fkl", None), ("fkl", False)}),
    ],
)
def test_the_values_of_an_ablation(name, axis, bare):
    plan = overview(name, look=False).plan
    found = {
        (cell.method, next(iter(cell.apart.values()), None)) for cell in plan.cells if cell.teacher
    }
    assert found == axis


@pytest.mark.parametrize("name", [*PAPER, "poster", *ABLATIONS])
def test_hyper_parameters_are_the_papers(name, bare):
    study = load_study(name).study
    train = study.train
    assert (train.batch_size, train.learning_rate, train.max_length) == (16, 3e-4, 256)
    assert train.lora is not None
    assert (train.lora.r, train.lora.alpha, train.lora.dropout) == (8, 16, 0.05)
    assert (train.validation, train.split_seed, train.warmup_steps) == (500, 6, 100)
    assert train.select == "best_nll"
    assert train.epochs == (4 if train.data == "math10k" else 3)
    assert study.evaluate.decoding.strategy == "sample"
    assert study.evaluate.decoding.temperature == 1.0
    assert (study.prompt, study.conventions, study.seeds) == ("paper", "paper", (6,))


@pytest.mark.parametrize("name", ["clean-math", "clean-commonsense", "single-gpu"])
def test_clean_studies_are_greedy_with_samples_and_three_seeds(name, bare):
    study = load_study(name).study
    assert len(study.seeds) == 3
    assert study.evaluate.decoding.strategy == "greedy"
    assert study.evaluate.samples >= 4
    assert study.conventions == "kdscope"
    assert study.train.data != "math10k"


@pytest.mark.parametrize("name", ["poster", *ABLATIONS])
def test_the_further_commands_of_a_header_are_studies_too(name, bare):
    commands = re.findall(rf"^#   kdscope run {name} (.+)$", text_of(name), re.MULTILINE)
    assert commands
    for arguments in commands:
        assert overview(name, arguments.split(), look=False).plan.steps


def test_models_of_other_families_are_refused_before_anything_is_loaded(bare, tmp_path):
    study = yaml.safe_load(text_of("single-gpu"))
    study["students"] = ["meta-llama/Llama-3.2-1B"]
    path = tmp_path / "mixed.yaml"
    path.write_text(json.dumps(study))
    with pytest.raises(ConfigError, match="different tokenizers"):
        load_study(str(path))
