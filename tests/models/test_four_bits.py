"""A base in 4 bits: adapters learn on it, and without bitsandbytes the message says what to install."""

import importlib.util

import pytest
import torch

from kdscope.data.collation import pad_batch
from kdscope.distillation.training import Machine, fit
from kdscope.divergences import Objective
from kdscope.errors import MissingExtraError
from kdscope.models.adapters import add_adapter
from kdscope.models.loading import load_model
from kdscope.models.quantization import quantised
from kdscope.study.config import Lora
from kdscope.study.overview import overview
from kdscope.study.preflight import check
from tests.distillation.test_training import LORA, TRAIN, examples
from tests.tiny import TEACHER, tokenizer

NF4 = "train.lora.base=nf4"


def test_without_bitsandbytes_it_is_refused_before_anything_starts(tmp_path, monkeypatch):
    found = importlib.util.find_spec

    def absent(name, *more):
        return None if name == "bitsandbytes" else found(name, *more)

    monkeypatch.setattr("kdscope.study.overview.find_spec", absent)
    study = overview("quickstart", [NF4], out=tmp_path / "none")
    assert study.missing_extras() == ["quant"]
    with pytest.raises(MissingExtraError, match=r"needs bitsandbytes.*\.\[quant\]"):
        check(study)
    assert overview("quickstart", out=tmp_path / "none").missing_extras() == []


def test_a_full_base_is_left_out_of_keys_and_nf4_is_not():
    assert "base" not in Lora().model_dump()
    assert Lora(base="nf4").model_dump()["base"] == "nf4"


def test_adapters_learn_on_a_base_in_4_bits(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra quant is not installed")
    whole, small = load_model(TEACHER), quantised(load_model(TEACHER), "nf4", trained=True)
    packed = small.model.layers[0].mlp.up_proj.weight
    assert packed.dtype == torch.uint8
    assert packed.numel() * 2 == whole.model.layers[0].mlp.up_proj.weight.numel()
    batch = pad_batch(examples(), tokenizer().pad_token_id)
    before = packed.clone()
    with torch.no_grad():
        one, other = (
            m(batch.input_ids, attention_mask=batch.attention_mask).logits for m in (whole, small)
        )
    near = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), 0)
    assert 0.9 < float(near) < 1.0 - 1e-6  # rounded, and still the same model
    trained = fit(
        add_adapter(small, LORA, 0), tokenizer(), examples(), Objective("nll"),
        TRAIN | {"epochs": 6}, 0, Machine("cpu", None, tmp_path / "c"),
    )  # fmt: skip
    losses = [row["value"] for row in trained.curves if row["measure"] == "loss"]
    assert losses[-1] < 0.9 * losses[0]
    assert torch.equal(packed, before)
