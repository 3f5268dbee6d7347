"""A scaled-down twin of every GPU or laptop preset: the same grid and steps, the embedded family, few items."""

import numpy as np
import pytest
import yaml

from kdscope.study.api import Study
from kdscope.study.identity import canonical
from kdscope.study.overview import overview
from kdscope.study.source import PRESETS

TWINS = (
    "single-gpu", "ablation-noise", "ablation-temperature", "ablation-teacher", "paper-math",
    "paper-commonsense", "clean-math", "clean-commonsense", "laptop", "laptop-commonsense", "poster",
)  # fmt: skip
STAND_INS = {
    "14B": "tiny-teacher",
    "8B": "tiny-teacher",
    "7B": "tiny-teacher",
    "3B": "tiny-student",
}


def stand_in(entry: str | dict) -> dict:
    """A tiny model under the name of the real one."""
    model = {"model": entry} if isinstance(entry, str) else entry
    name = model["model"].split("/")[-1]
    size = name.rpartition("-")[2]
    tiny = {"model": STAND_INS.get(size, "tiny-student-small"), "dtype": "float32"}
    if "layers" not in model:
        return tiny | {"name": name}
    return tiny | {"name": f"{name}-{model['layers']}l", "layers": 3}


def twin(name: str) -> dict:
    """The preset's grid with everything that costs time made small."""
    study = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    study["name"] = "twin"
    study["teachers"] = [stand_in(entry) for entry in study["teachers"]]
    study["students"] = [stand_in(entry) for entry in study["students"]]
    small = {"data": "tiny-train", "limit": 4, "epochs": 1, "batch_size": 4, "validation": 2}
    study["train"] |= small | {"split_seed": 0, "warmup_steps": 0}
    study["evaluate"] |= {"tasks": ["tiny-math"], "limit": 2, "batch_size": 2}
    study["evaluate"]["decoding"] |= {"max_new_tokens": 4}
    study["evaluate"]["samples"] = min(study["evaluate"].get("samples", 0), 1)
    study["statistics"] = {"resamples": 20}
    return study


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_grid_of_its_preset(name, tmp_path):
    path = tmp_path / "twin.yaml"
    path.write_text(yaml.safe_dump(twin(name), sort_keys=False))
    small, real = overview(str(path), look=False).plan, overview(name, look=False).plan
    kinds = [
        [step.kind for step in plan.steps.values() if step.kind != "predict"]
        for plan in (small, real)
    ]
    assert kinds[0] == kinds[1]
    cells = [
        [(c.teacher, c.student, c.method, c.seed, dict(c.apart)) for c in p.cells]
        for p in (small, real)
    ]
    assert cells[0] == cells[1]


# Twins that are one and the same study, so that one run serves both.
ALIKE = {
    "paper-commonsense": "paper-math",
    "clean-commonsense": "clean-math",
    "laptop-commonsense": "laptop",
}


def short_twin(name: str) -> dict:
    """The twin with one seed, one question, and one student's distributions left in."""
    study = twin(name)
    study["seeds"] = study["seeds"][:1]
    study["evaluate"] |= {"limit": 1, "distributions": int(name == "single-gpu")}
    return study


@pytest.mark.parametrize(("name", "other"), ALIKE.items())
def test_twins_of_both_halves_are_one_study(name, other):
    def grid(study):
        epochs = {"epochs", "max_length", "select", "learning_rate"}
        train = {n: value for n, value in study["train"].items() if n not in epochs}
        return {**study, "train": train, "description": "", "include_base": None}

    assert grid(short_twin(name)) == grid(short_twin(other))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TWINS if name not in ALIKE])
def test_a_twin_runs_to_its_end(name, tmp_path):
    path = tmp_path / "twin.yaml"
    path.write_text(yaml.safe_dump(short_twin(name), sort_keys=False))
    study = Study(path, out=tmp_path / "run")
    outcome = study.run()
    assert not outcome.failed
    results, plan = study.results(), study.plan().plan
    wanted = {(c.teacher, c.student, c.method, canonical(dict(c.apart))) for c in plan.cells}
    distilled = {cell for cell in wanted if cell[0]}  # an SFT student may be a teacher, too
    for table, cells in (("generations", wanted), ("comparisons", wanted), ("curves", distilled)):
        rows = results[table].astype(object)
        rows = rows.where(rows.notna(), None)[["teacher", "student", "method", "settings"]]
        assert cells <= set(rows.itertuples(index=False, name=None)), table
    loss = results["curves"]
    loss = loss[loss["measure"] == "loss"]["value"]
    assert len(loss) >= len(distilled)
    assert np.isfinite(loss).all()
    assert (tmp_path / "run" / "report" / "index.html").stat().st_size > 10_000
