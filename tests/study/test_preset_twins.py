"""A scaled-down twin of every GPU or laptop preset: the same grid and steps, the embedded family, few items."""

import pytest
import yaml

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
