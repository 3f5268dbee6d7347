"""``evaluate.engine: vllm``: which steps know of it, what is refused before anything starts, and the steps themselves."""

import json

import pytest
import yaml
from typer.testing import CliRunner

import kdscope
from kdscope import tables
from kdscope.cli import app
from kdscope.errors import ConfigError, MissingExtraError
from kdscope.generation import vllm_decoder
from kdscope.study import overview as overview_module
from kdscope.study import preflight
from kdscope.study.context import StepContext
from kdscope.study.overview import overview
from kdscope.study.plan import build_plan
from kdscope.study.resolve import load_study
from kdscope.study.steps import distill, predict, sft, teacher_texts
from tests import fake_vllm

MODELS = {
    "teachers": [{"model": "tiny-student", "dtype": "bfloat16"}],
    "students": [{"model": "tiny-student-small", "dtype": "bfloat16"}],
}
STUDY = {
    "name": "served",
    **MODELS,
    "include_base": True,
    "train": {"data": "tiny-train", "limit": 8, "epochs": 1, "batch_size": 8},
    "methods": {"sft": {}, "seqkd": {}},
    "evaluate": {"tasks": ["tiny-math"], "limit": 2, "samples": 1,
                 "decoding": {"max_new_tokens": 20}, "engine": "vllm"},
}  # fmt: skip
DEFAULT = {name: value for name, value in STUDY["evaluate"].items() if name != "engine"}


@pytest.fixture
def vllm(monkeypatch):
    return fake_vllm.install(monkeypatch)


def written(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return str(path)


def plan(folder, **changes):
    return build_plan(load_study(written(folder, **changes)))


def mistakes(folder, **changes):
    with pytest.raises(ConfigError) as caught:
        load_study(written(folder, **changes))
    return str(caught.value)


def test_only_steps_that_decode_know_of_the_engine(tmp_path):
    served, plain = plan(tmp_path), plan(tmp_path, evaluate=DEFAULT)
    named = plan(tmp_path, evaluate={**DEFAULT, "engine": "transformers"})
    assert named.steps.keys() == plain.steps.keys()
    assert not any("engine" in step.fields for step in plain.steps.values())
    document = load_study(written(tmp_path, evaluate=DEFAULT)).document()
    assert "engine" not in document["evaluate"]
    knowing = {step.kind for step in served.steps.values() if "engine" in step.fields}
    assert knowing == {"predict", "teacher_texts"}
    trained = {key for key, step in plain.steps.items() if step.kind == "sft"}
    assert trained <= served.steps.keys()


def test_all_that_it_cannot_serve_is_a_mistake_with_its_place(tmp_path):
    text = mistakes(
        tmp_path,
        teachers=[
            {"model": "tiny-teacher", "dtype": "bfloat16", "quantize": "nf4"},
            {"model": "tiny-student", "dtype": "bfloat16", "device_map": "auto"},
        ],
        students=["tiny-student-small", {"model": "tiny-teacher", "name": "cut", "layers": 2,
                                         "dtype": "bfloat16"}],
        teacher_decoding={"strategy": "sample", "temperature": 4},
        ablations={"teacher_quantize": ["int8"]},
    )  # fmt: skip
    for part in (
        "teachers[0]", "its weights are rounded (nf4)",
        "teachers[1]", "it is spread over devices",
        "students[0]", "adapters in 16 bits only; give the model dtype: bfloat16",
        "students[1]", "it is cut after it is loaded",
        "ablations.teacher_quantize", "rounds weights after they are loaded",
        "teacher_decoding.temperature", "from 0.01 to 2, not at 4",
    ):  # fmt: skip
        assert part in text, text


def test_whole_weights_in_float32_are_served(tmp_path):
    train = {**STUDY["train"], "lora": None}
    load_study(
        written(tmp_path, teachers=["tiny-student"], students=["tiny-student-small"], train=train)
    )
    text = mistakes(
        tmp_path, teachers=["tiny-student"], students=["tiny-student-small"], train=train,
        teacher_train={"lora": {"r": 2}},
    )  # fmt: skip
    assert text.count("16 bits only") == 1


def test_the_missing_extra_and_the_missing_gpu_are_known_before_any_training(tmp_path, monkeypatch):
    study = overview(written(tmp_path), out=tmp_path / "run")
    monkeypatch.setattr(overview_module, "find_spec", lambda name: None if name == "vllm" else name)
    assert study.missing_extras() == ["vllm"]
    with pytest.raises(MissingExtraError, match=r"needs vLLM.*pip install -e '\.\[train,vllm\]'"):
        preflight.check(study)
    monkeypatch.setattr(overview_module, "find_spec", lambda name: name)
    monkeypatch.setattr(preflight, "visible_gpus", list)
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        preflight.check(study)
    preflight.check(study, here=False)  # the nodes of a cluster have them
    monkeypatch.setattr(preflight, "visible_gpus", lambda: ["0"])
    preflight.check(study)
    monkeypatch.setenv("KDSCOPE_VLLM_MEMORY", "2")
    with pytest.raises(ConfigError, match="KDSCOPE_VLLM_MEMORY"):
        preflight.check(study)
    plain = overview(written(tmp_path, evaluate=DEFAULT), out=tmp_path / "run")
    assert plain.missing_extras() == []


def test_a_run_without_it_ends_before_its_folder_is_there(tmp_path):
    command = ["run", written(tmp_path), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code != 0
    assert not (tmp_path / "run").exists()


def test_steps_answer_as_in_transformers(vllm, tmp_path):
    steps = plan(tmp_path).steps
    places, served = {}, {}
    for key, step in steps.items():
        run = {"sft": sft.run, "predict": predict.run, "teacher_texts": teacher_texts.run}.get(
            step.kind
        )
        if run is None or any(k not in places for k in step.input_keys()):
            continue
        places[key] = tmp_path / step.path
        inputs = {role: [places[k] for k in keys] for role, keys in step.inputs.items()}
        context = {"resume": places[key] / "resume", "run_dir": tmp_path}
        context["resume"].mkdir(parents=True)
        on_gpu = "engine" in step.fields
        run(
            step.fields,
            inputs,
            places[key],
            StepContext(**context, device="cuda" if on_gpu else "cpu"),
        )
        if on_gpu:
            served[key] = (run, inputs)
    kinds = [steps[key].kind for key in served]
    assert kinds.count("predict") == 4
    assert kinds.count("teacher_texts") == 1
    for key, (run, inputs) in served.items():
        out = tmp_path / "transformers" / key
        out.mkdir(parents=True)
        fields = {n: value for n, value in steps[key].fields.items() if n != "engine"}
        role = "model" if "model" in fields else "teacher"
        fields[role] = {**fields[role], "dtype": "float32"}  # as the stand-in computes
        run(fields, inputs, out, StepContext(resume=out / "resume", run_dir=tmp_path))
        assert answers(places[key]) == answers(out)
    bases = [engine.given["model"].rpartition("/")[2] for engine in vllm.built if not engine.ended]
    assert sorted(bases) == ["tiny-student", "tiny-student-small"]


def answers(folder):
    """What was answered, drawn samples left out: their draws are others."""
    if (folder / "texts.jsonl").exists():
        return [json.loads(line) for line in (folder / "texts.jsonl").read_text().splitlines()]
    rows = tables.read("generations", folder / "generations.parquet").to_pylist()
    names = ("model", "item", "text", "finish_reason", "tokens", "correct")
    return [[row[name] for name in names] for row in rows if row["sample"] == 0]


def test_the_verb_evaluate_takes_the_engine(vllm, tmp_path, monkeypatch):
    how = {"limit": 3, "max_new_tokens": 12}
    plain, served = tmp_path / "plain.parquet", tmp_path / "served.parquet"
    kdscope.evaluate("tiny-student-small", "tiny-math", plain, device="cpu", **how)
    given = {"dtype": "bfloat16", "device": "cuda", "engine": "vllm", **how}
    kdscope.evaluate("tiny-student-small", "tiny-math", served, **given)
    texts = [
        tables.read("generations", path).column("text").to_pylist() for path in (plain, served)
    ]
    assert texts[0] == texts[1]
    assert kdscope.evaluate("tiny-student-small", "tiny-math", served, **given)["complete_before"]
    command = ["evaluate", "tiny-student-small", "--tasks", "tiny-math", "--limit", "2", "--out"]
    done = CliRunner().invoke(app, [*command, str(tmp_path / "x.parquet"), "--engine", "vllm"])
    assert isinstance(done.exception, ConfigError)
    assert "needs a CUDA GPU" in str(done.exception)
    with pytest.raises(ConfigError, match="choose one of transformers, vllm"):
        kdscope.evaluate("tiny-student-small", "tiny-math", plain, engine="vlm")


ON_POLICY = {
    "methods": {"sft": {}, "gkd": {"on_policy": 1.0}},
    "evaluate": DEFAULT,
    "train": {**STUDY["train"], "rollouts": "vllm"},
}


def test_only_on_policy_training_knows_of_the_engine_of_rollouts(tmp_path):
    served = plan(tmp_path, **ON_POLICY)
    plain = plan(tmp_path, **{**ON_POLICY, "train": STUDY["train"]})
    new = [served.steps[key] for key in served.steps.keys() - plain.steps.keys()]
    assert {step.kind for step in new} == {
        "distill",
        "predict",
        "fidelity",
        "distributions",
        "stats",
        "report",
    }
    (trained,) = [step for step in new if step.kind == "distill"]
    assert trained.fields["on_policy"]["engine"] == "vllm"
    assert overview(written(tmp_path, **ON_POLICY), out=tmp_path / "run").needs_vllm()


def test_rollouts_that_it_cannot_make_are_mistakes_with_their_place(tmp_path):
    text = mistakes(
        tmp_path,
        teachers=["tiny-teacher"],
        students=[{"model": "tiny-teacher", "name": "cut", "layers": 2, "dtype": "bfloat16"}],
        methods={"gkd": {"sampling_temperature": [1.0, 3.0]}},
        evaluate=DEFAULT,
        train={**STUDY["train"], "rollouts": "vllm", "lora": {"base": "nf4"}},
    )
    for part in (
        "students[0]", "train.rollouts: vllm: it is cut after it is loaded",
        "train.lora.base", "over weights in 4 bits",
        "methods.gkd.sampling_temperature", "not at 3",
    ):  # fmt: skip
        assert part in text, text
    assert "teachers[0]" not in text


def test_a_student_is_trained_on_its_rollouts_from_vllm(vllm, tmp_path, monkeypatch):
    monkeypatch.setattr(vllm_decoder, "unfit_device", lambda device: None)  # as built for CPUs
    steps = plan(tmp_path, **ON_POLICY).steps
    places = {}
    for key, step in steps.items():
        run = {"sft": sft.run, "distill": distill.run}.get(step.kind)
        if run is not None:
            places[key] = tmp_path / step.path
            (places[key] / "resume").mkdir(parents=True)
            inputs = {role: [places[k] for k in keys] for role, keys in step.inputs.items()}
            context = StepContext(resume=places[key] / "resume", run_dir=tmp_path)
            run(step.fields, inputs, places[key], context)
    (engine,) = vllm.built
    assert len(engine.asked) == 8  # one epoch of eight examples
    assert engine.given["model"].endswith("tiny-student-small")
    assert not engine.given["enable_sleep_mode"]
    assert engine.given["enforce_eager"]
