"""Hours on a GPU that is not there: every part moves the way it must, and the cache is worth what it saves."""

import pytest

from kdscope.models.families import SHAPES, family_of, shape_of
from kdscope.study.gpu_cost import A100, H100, gpu_hours
from kdscope.study.overview import overview

GPU = ("paper-math", "paper-commonsense", "clean-math", "poster", "single-gpu", "ablation-noise")


def hours(name, *overrides, device=H100):
    found = gpu_hours(overview(name, overrides, look=False).plan, device)
    assert found is not None
    return found


@pytest.mark.parametrize("name", GPU)
def test_the_cache_saves_and_the_reference_costs_many_times_more(name):
    found = hours(name)
    assert 0 < found.cached < found.live < found.reference
    assert 0 <= found.rollouts < found.cached
    assert found.reference > 5 * found.cached
    assert hours(name, device=A100).cached > found.cached


def test_a_study_without_rollouts_spends_none():
    assert hours("ablation-noise").rollouts == 0
    assert hours("single-gpu").rollouts > 0
    assert hours("single-gpu", "methods.gkd.on_policy=1.0").rollouts > hours("single-gpu").rollouts


def test_more_seeds_cost_more_but_the_teacher_only_once():
    one, three = hours("single-gpu", "seeds=[0]").cached, hours("single-gpu").cached
    assert one < three < 3 * one


def test_unknown_shapes_are_not_guessed():
    assert gpu_hours(overview("quickstart", look=False).plan) is None


@pytest.mark.parametrize(
    ("model", "billions"), [("0.5B", 0.494), ("1.5B", 1.54), ("7B", 7.62), ("14B", 14.77)]
)
def test_shapes_have_the_published_number_of_weights(model, billions):
    shape = shape_of(f"Qwen/Qwen2.5-{model}-Instruct")
    assert shape == SHAPES[f"Qwen/Qwen2.5-{model}"]
    assert shape.weights / 1e9 == pytest.approx(billions, rel=0.005)


def test_families_by_hub_id():
    names = {
        "Qwen/Qwen2.5-0.5B": "qwen2.5", "Qwen/Qwen3-4B": "qwen3", "google/gemma-3-1b-pt": "gemma3",
        "meta-llama/Llama-3.2-1B": "llama3", "meta-llama/Llama-3.1-8B": "llama3",
        "meta-llama/Meta-Llama-3-8B": "llama3", "HuggingFaceTB/SmolLM2-135M": "smollm2",
    }  # fmt: skip
    assert {model: family_of(model).name for model in names} == names
    assert family_of("someone/else") is None
    assert family_of("meta-llama/Llama-3.2-1B").gated


def test_the_papers_coin_decodes_in_nearly_every_step_and_its_masks_need_more_disk():
    paper, ours = (
        overview("paper-math", look=False),
        overview("paper-math", ["losses=corrected"], look=False),
    )
    found = [gpu_hours(o.plan).rollouts for o in (paper, ours)]
    assert found[0] == pytest.approx(found[1] * (1 - 0.5**4) / 0.5, rel=0.01)
    assert paper.document()["total"]["disk"] > 1.3 * ours.document()["total"]["disk"]
