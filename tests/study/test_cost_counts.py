"""The operations that the GPU cost model counts on paper, against those that a real step makes on the embedded family.

What the model leaves out on purpose is what may differ: attention between tokens, adapters, padding of a batch.
"""

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen2Model

from kdscope.data import load_items
from kdscope.data.prompts import TEMPLATES
from kdscope.models.families import Shape
from kdscope.models.loading import load_model, load_tokenizer
from kdscope.study import gpu_cost
from kdscope.study.context import StepContext
from kdscope.study.gpu_cost import Device
from kdscope.study.lengths import Length
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study
from kdscope.study.steps import distill, predict, sft, teacher_cache
from kdscope.study.steps.training_data import training_text

COUNTER = Device(
    "a counter", flops=1.0, share=1.0, bandwidth=float("inf"), layer=0.0
)  # seconds are operations
RUN = {
    "sft": sft.run,
    "teacher_cache": teacher_cache.run,
    "distill": distill.run,
    "predict": predict.run,
}
STUDY = {
    "name": "counted",
    "teachers": ["tiny-teacher"],
    "students": ["tiny-student"],
    "train": {"data": "tiny-train", "limit": 32, "epochs": 1, "batch_size": 8},
    "methods": {"sft": {}, "fkl": {}},
    "teacher_adapted": False,
    "evaluate": {"tasks": ["tiny-math"], "limit": 16, "batch_size": 16, "distributions": 0},
}


def shape_of(name: str) -> Shape:
    config = load_model({"name": name, "source": "embedded", "dtype": "float32"}).config
    return Shape(
        config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads,
        config.num_key_value_heads, len(load_tokenizer({"name": name, "source": "embedded"})),
        config.tie_word_embeddings,
    )  # fmt: skip


def pointwise(x_shape, w_shape, *_, out_shape=None, **__) -> int:
    """oneDNN's linear product, which the counter does not know."""
    rows = 1
    for size in x_shape[:-1]:
        rows *= size
    return 2 * rows * x_shape[-1] * w_shape[0]


def counted(run) -> float:
    known = {}
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        known[torch.ops.mkldnn._linear_pointwise] = pointwise
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        run()
    return float(counter.get_total_flops())


@pytest.fixture(scope="module")
def ratios(tmp_path_factory):
    """Predicted over counted operations of one step of each kind, with the text's real lengths."""
    folder = tmp_path_factory.mktemp("counts")
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    plan = build_plan(load_study(str(path)))
    shapes = {name: shape_of(name) for name in ("tiny-teacher", "tiny-student")}
    found, done = {}, {}
    for step in plan.steps.values():
        out = folder / step.path
        if step.kind not in RUN or step.kind in found:
            continue
        if step.kind == "predict" and step.fields["system"]["student"] is None:
            continue
        (out / "resume").mkdir(parents=True)
        inputs = {role: [done[key] for key in keys] for role, keys in step.inputs.items()}
        context = StepContext(resume=out / "resume", run_dir=folder)
        measures = {}

        def run(step=step, out=out, inputs=inputs, context=context, measures=measures):
            measures |= RUN[step.kind](step.fields, inputs, out, context)

        seen = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Qwen2Model, "forward", noting(Qwen2Model.forward, seen))
            operations = counted(run)
        done[step.key] = out
        found[step.kind] = predicted(step, shapes, measures, seen) / operations
    return found


def noting(forward, seen):
    """A forward pass that notes how many positions it computes, padding included."""

    def wrapped(self, input_ids=None, *arguments, **options):
        seen.append(input_ids.numel())
        return forward(self, input_ids, *arguments, **options)

    return wrapped


def predicted(step, shapes, measures, seen) -> float:
    """The model's operations, told how long the texts really are."""
    patch = pytest.MonkeyPatch()
    patch.setattr(gpu_cost, "train_length", lambda _: text_lengths(step, sum(seen)))
    patch.setattr(gpu_cost, "task_length", lambda _: answer_lengths(step, measures))
    for name in ("PADDED", "PADDED_PROMPTS"):  # padding is counted in the lengths
        patch.setattr(gpu_cost, name, 1.0)
    patch.setattr(gpu_cost, "START", 0.0)
    patch.setattr(gpu_cost, "LOAD_RATE", float("inf"))
    try:
        return gpu_cost._Estimate(step, shapes, COUNTER).seconds().cached
    finally:
        patch.undo()


def text_lengths(step, positions) -> Length:
    """Mean tokens of an answer, and all other positions of an example, padding among them."""
    tokenizer = load_tokenizer({"name": "tiny-student", "source": "embedded"})
    text = training_text(step.fields["data"], None, tokenizer, step.fields["prompt"], 256).train
    assert len(text) == 32
    answers = sum(len(example.response) for example in text)
    return Length((positions - answers) / 32, answers / 32)


def answer_lengths(step, measures) -> Length:
    tokenizer = load_tokenizer({"name": "tiny-student", "source": "embedded"})
    template = TEMPLATES[step.fields["prompt"]]
    items = load_items("tiny-math", limit=16)
    prompts = [tokenizer(template.prompt(i.question, i.input))["input_ids"] for i in items]
    return Length(sum(map(len, prompts)) / 16, measures["tokens"] / 16)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("teacher_cache", 0.97, 1.0),  # attention between tokens is left out
        ("sft", 0.88, 1.0),  # and adapters: a tenth of so narrow a model, 1 % of Qwen2.5-0.5B
        ("distill", 0.88, 1.0),
        ("predict", 0.8, 1.2),  # how long the longest answer of a batch is, it guesses
    ],
)
def test_operations_on_paper_are_those_of_a_real_step(ratios, kind, low, high):
    assert low <= ratios[kind] <= high


def test_the_counter_counts_what_a_model_does():
    """A product that is known, so that equal mistakes on both sides are none."""
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    assert counted(lambda: a @ b) == 2 * 3 * 5 * 7
