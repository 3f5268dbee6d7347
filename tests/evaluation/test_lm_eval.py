"""lm-eval beside kdscope: it loads a student's folder as it is, its likelihoods and its answers are ours."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from lm_eval.models.huggingface import HFLM

import kdscope
from kdscope import tables
from kdscope.data import TEMPLATES, load_items
from kdscope.evaluation import import_predictions
from kdscope.evaluation.choice_scoring import choice_rows, statements
from kdscope.generation.settings import RUN_ON
from kdscope.models.adapters import add_adapter, load_trained, merged
from kdscope.models.loading import load_model, load_tokenizer
from kdscope.models.sources import embedded_folder
from tests.tiny import STUDENT

LORA = {"r": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]}

# float32 keeps seven digits: sums of a dozen log-probabilities of models this small differ by some 1e-5 when other
# rows stand beside them or the adapter is folded into the weights (measured: 1.1e-5 apart, 2.3e-5 folded in).
ROUNDING = 1e-4


@pytest.mark.filterwarnings("ignore")  # of lm-eval and what it imports
def test_a_students_folder_loads_and_scores_options_alike(tmp_path):
    adapted = add_adapter(load_model(STUDENT), LORA, 0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.05)
    adapted.save_pretrained(tmp_path / "model")
    base = str(embedded_folder(STUDENT["name"]))
    backend = HFLM(
        pretrained=base, peft=str(tmp_path / "model"), batch_size=4, device="cpu", dtype="float32"
    )
    items, clean = load_items("tiny-choice", limit=6), TEMPLATES["clean"]
    words = load_tokenizer(STUDENT)
    asked = [  # cut where training cuts: lm-eval would join the colon and the newline to one token
        (
            ("", ""),
            words(clean.prompt(item.question))["input_ids"],
            words(clean.response(said))["input_ids"],
        )
        for item in items
        for said in statements(item)
    ]
    theirs = [score for score, _ in backend._loglikelihood_tokens(asked, disable_tqdm=True)]
    student = load_trained(load_model(STUDENT), tmp_path / "model").eval()
    for model in (student, merged(student)):
        ours = choice_rows(model, words, items, clean, {})
        assert [row["logprob"] for row in ours] == pytest.approx(theirs, abs=ROUNDING)
    untuned = choice_rows(load_model(STUDENT), words, items, clean, {})
    assert [row["logprob"] for row in untuned] != pytest.approx(theirs, abs=0.1)


@pytest.mark.slow
def test_the_command_answers_with_a_distilled_student_as_kdscope_does(tmp_path):
    """`lm_eval --model hf --model_args pretrained=BASE,peft=STUDENT`, on a task of a local file, offline."""
    done = kdscope.distill(
        "tiny-teacher", STUDENT["name"], "fkl", "tiny-train", tmp_path / "run", limit=64, epochs=1,
        learning_rate=3e-3,
    )  # fmt: skip
    items, clean = load_items("tiny-math", limit=12), TEMPLATES["clean"]
    records = [{"prompt": clean.prompt(item.question), "answer": item.gold} for item in items]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, records)))
    task = {
        "task": "tiny-math",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "test.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": list(RUN_ON), "max_gen_toks": 32, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    }
    (tmp_path / "tiny-math.yaml").write_text(yaml.safe_dump(task))
    base = embedded_folder(STUDENT["name"])
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args",
               f"pretrained={base},peft={done.model},dtype=float32", "--tasks", "tiny-math",
               "--include_path", str(tmp_path), "--device", "cpu", "--batch_size", "4",
               "--log_samples", "--output_path", str(tmp_path / "out")]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    ran = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | offline, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    (samples,) = (tmp_path / "out").rglob("samples_tiny-math_*.jsonl")
    theirs = {row["item"]: row for row in import_predictions(samples).generations}
    found = kdscope.evaluate(
        str(done.model), "tiny-math", tmp_path / "ours.parquet", limit=12, max_new_tokens=32
    )
    ours = tables.read("generations", tmp_path / "ours.parquet").to_pylist()
    assert found["tasks"][0]["n"] == len(theirs) == 12
    assert len({row["text"] for row in ours}) > 1
    for row in ours:
        assert theirs[row["item"]]["text"].strip() == row["text"].strip()
        assert theirs[row["item"]]["answer_flexible"] == row["answer_flexible"]
        assert theirs[row["item"]]["correct"] == row["correct"]
