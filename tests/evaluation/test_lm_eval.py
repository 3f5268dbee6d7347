"""lm-eval beside kdscope: it loads a student's folder as it is, and its likelihoods are ours."""

import pytest
from lm_eval.models.huggingface import HFLM

from kdscope.data import TEMPLATES, load_items
from kdscope.evaluation.choice_scoring import choice_rows, statements
from kdscope.models.adapters import add_adapter, load_trained, merged
from kdscope.models.loading import load_model, load_tokenizer
from kdscope.models.sources import embedded_folder
from tests.tiny import STUDENT

LORA = {"r": 2, "alpha": 4, "targets": ["q_proj", "v_proj"]}


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
    student = merged(load_trained(load_model(STUDENT), tmp_path / "model")).eval()
    ours = choice_rows(student, words, items, clean, {})
    assert [row["logprob"] for row in ours] == pytest.approx(theirs, abs=2e-3)
