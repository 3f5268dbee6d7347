"""Finished batches survive a kill; half a batch does not count."""

import pytest

from kdscope.errors import StoreError
from kdscope.generation import decoding as decoding_module
from kdscope.generation.decoding import generate
from kdscope.generation.journal import Journal, batch_name
from kdscope.generation.settings import Completion, Decoding
from tests.tiny import PROMPTS, random_model, tokenizer

ANSWER = Completion((3, 4), "stop", -0.1234567890123)


def test_a_torn_last_line_is_dropped(tmp_path):
    path = tmp_path / "j"
    journal = Journal(path, "me")
    journal.add("one", [ANSWER])
    whole = path.read_bytes()
    journal.add("two", [ANSWER])
    path.write_bytes(path.read_bytes()[:-7])
    again = Journal(path, "me")
    assert again.find("one") == [ANSWER]
    assert again.find("two") is None
    assert path.read_bytes() == whole


def test_answers_of_another_subject_are_refused(tmp_path):
    Journal(tmp_path / "j", "me").add("one", [ANSWER])
    with pytest.raises(StoreError, match="another evaluation"):
        Journal(tmp_path / "j", "you")


def test_a_batch_is_known_by_all_that_was_asked():
    first = batch_name(["a"], [[1, 2]], Decoding(4))
    others = [
        batch_name(["b"], [[1, 2]], Decoding(4)),
        batch_name(["a"], [[1, 3]], Decoding(4)),
        batch_name(["a"], [[1, 2]], Decoding(5)),
    ]
    assert first not in others


def test_a_killed_generation_repeats_whole_batches_only(tmp_path, monkeypatch):
    prompts = tokenizer()(list(PROMPTS))["input_ids"]
    keys = [f"t/{i}/0" for i in range(len(prompts))]
    settings = Decoding(8, stop=())
    ask = (random_model(), tokenizer(), prompts, keys, settings)
    expected = generate(*ask, batch_size=2)
    decode, done = decoding_module._decode, []

    def killed_at_the_third(*given):
        if len(done) == 2:
            raise RuntimeError("killed")
        done.append(given)
        return decode(*given)

    monkeypatch.setattr(decoding_module, "_decode", killed_at_the_third)
    with pytest.raises(RuntimeError, match="killed"):
        generate(*ask, batch_size=2, journal=Journal(tmp_path / "j"))
    done.clear()
    found = generate(*ask, batch_size=2, journal=Journal(tmp_path / "j"))
    assert len(done) == 1
    assert found == expected
