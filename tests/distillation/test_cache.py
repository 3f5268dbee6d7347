"""The cache: exact, resumed to the bit, and refused with a reason whenever it is not what is asked for."""

import errno
import json
import shutil
from collections import namedtuple

import pytest
import torch

from kdscope.data.collation import Encoded, pad_batch
from kdscope.data.prompts import TEMPLATES, template_digest
from kdscope.distillation import cache_writing
from kdscope.distillation.cache import TeacherCache, token_digest
from kdscope.distillation.cache_files import write_tensors
from kdscope.distillation.cache_writing import cache_bytes, write_cache
from kdscope.distillation.signals import CachedTeacher
from kdscope.distillation.sources import ExactStates, Int8States, TopKStates
from kdscope.errors import CacheError, ModelError, NumericalError, StoreError
from kdscope.models.vocabulary import require_one_vocabulary, vocabulary_digest
from tests.distillation.test_training import examples, teacher
from tests.tiny import tokenizer

ABOUT = {"prompt": "clean", "template": "t1", "tokenizer": "k1"}


def written(folder, some=None, source=None, **more):
    folder.mkdir(exist_ok=True)
    return write_cache(
        folder, some or examples(6), source or ExactStates(teacher(), 0), about=ABOUT, **more
    )


def all_rows(folder, some):
    cache = TeacherCache(folder)
    return torch.cat([cache.rows(example)["states"] for example in some])


def test_states_are_those_of_the_live_teacher_to_the_bit(tmp_path):
    some, live = examples(6), teacher()
    written(tmp_path / "c", some, ExactStates(live, 0), batch_size=6)
    ordered = sorted(some, key=lambda e: (-e.length, e.id))
    expected = live.states(ordered, pad_batch(ordered, 0))
    assert torch.equal(all_rows(tmp_path / "c", ordered), expected)
    another_composition = torch.cat([live.states([e], pad_batch([e], 0)) for e in ordered])
    torch.testing.assert_close(another_composition, expected, rtol=1e-5, atol=1e-5)


def test_a_killed_writing_goes_on_and_ends_with_equal_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_writing, "SHARD_BYTES", 1)
    some, live = examples(8), teacher()
    written(tmp_path / "whole", some, ExactStates(live, 0), batch_size=2)

    class Killed(Exception):
        pass

    def die(done, total):
        if done == 4:
            raise Killed

    parts = tmp_path / "parts"
    parts.mkdir()
    with pytest.raises(Killed):
        written(tmp_path / "c", some, ExactStates(live, 0), batch_size=2, parts=parts, progress=die)
    assert not (tmp_path / "c" / "index.json").exists()
    live.tokens = 0
    written(tmp_path / "c", some, ExactStates(live, 0), batch_size=2, parts=parts)
    ordered = sorted(some, key=lambda e: (-e.length, e.id))
    assert live.tokens == sum(e.length for e in ordered[4:])
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "c" / file.name).read_bytes(), file.name
    assert not list(parts.iterdir())


def test_parts_of_other_data_or_with_a_flipped_byte_are_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_writing, "SHARD_BYTES", 1)
    live = teacher()
    written(tmp_path / "c", examples(4), ExactStates(live, 0), batch_size=2)
    for changes in ({"about": {"prompt": "other"}}, {}):
        parts = tmp_path / "p"
        shutil.copytree(tmp_path / "c", parts)
        index = json.loads((parts / "index.json").read_text())
        for number in (0, 1):
            record = {"mark": "stale", "file": index["files"][f"states-{number:05d}.safetensors"]}
            (parts / f"part-{number:05d}.json").write_text(json.dumps(record | {"places": {}}))
        live.tokens = 0
        (tmp_path / "d").mkdir()
        about = changes.get("about", ABOUT)
        write_cache(
            tmp_path / "d",
            examples(4),
            ExactStates(live, 0),
            about=about,
            parts=parts,
            batch_size=2,
        )
        assert live.tokens == sum(e.length for e in examples(4))
        shutil.rmtree(parts)
        shutil.rmtree(tmp_path / "d")


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda c: flip(c / "states-00000.safetensors", -5), "states-00000.* another checksum"),
        (lambda c: flip(c / "head.safetensors", -5), "head.* another checksum"),
        (lambda c: flip(c / "index.json", (c / "index.json").read_bytes().index(b'"e/0": [') + 8),
         "index.json has another checksum"),
        (lambda c: (c / "states-00000.safetensors").write_bytes(
            (c / "states-00000.safetensors").read_bytes()[:100]), "has 100 bytes instead of"),
        (lambda c: (c / "states-00000.safetensors").unlink(), "cannot be read"),
        (lambda c: (c / "index.json").unlink(), "not a complete"),
        (lambda c: (c / "index.json").write_text('{"version": 99}'), "version 99"),
    ],
)  # fmt: skip
def test_a_damaged_cache_is_refused_on_opening(tmp_path, harm, reason):
    written(tmp_path / "c")
    TeacherCache(tmp_path / "c", ABOUT)
    harm(tmp_path / "c")
    with pytest.raises(CacheError, match=reason):
        TeacherCache(tmp_path / "c", ABOUT)


@pytest.mark.parametrize("name", ABOUT)
def test_a_cache_of_something_else_is_refused(tmp_path, name):
    written(tmp_path / "c")
    with pytest.raises(CacheError, match=f"written for {name} = '{ABOUT[name]}', but 'x'"):
        TeacherCache(tmp_path / "c", ABOUT | {name: "x"})


def test_other_data_are_refused(tmp_path):
    written(tmp_path / "c", some := examples(4))
    cache = TeacherCache(tmp_path / "c")
    assert cache.tokens == sum(len(e.response) for e in some)
    with pytest.raises(CacheError, match="no states of example 'other'"):
        cache.rows(Encoded("other", (1,), (2,)))
    with pytest.raises(CacheError, match="tokens of example"):
        cache.rows(Encoded(some[0].id, (1,), (2,)))


def test_digests_tell_tokenizers_templates_and_prompts_apart():
    assert template_digest(TEMPLATES["clean"]) != template_digest(TEMPLATES["paper"])
    assert token_digest(Encoded("a", (1, 2), (3,))) != token_digest(Encoded("a", (1,), (2, 3)))
    other = type(tokenizer()).from_pretrained(tokenizer().name_or_path)
    assert vocabulary_digest(other) == vocabulary_digest(tokenizer())
    other.add_tokens(["<one-more>"])
    with pytest.raises(ModelError, match="different tokenizers"):
        require_one_vocabulary(other, tokenizer(), "big", "small")


def test_the_disk_is_looked_at_before_anything_is_written(tmp_path, monkeypatch):
    source, some = ExactStates(teacher(), 0), examples(4)
    needed = cache_bytes(some, source)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(cache_writing.shutil, "disk_usage", lambda _: usage(needed - 1))
    with pytest.raises(StoreError, match=f"{needed:,} bytes .* {needed - 1:,} are free"):
        written(tmp_path / "c", some, source)
    assert not list((tmp_path / "c").iterdir())
    assert source.teacher.tokens == 0


def test_the_size_is_told_to_the_byte_before_anything_is_written(tmp_path):
    source, some, told = ExactStates(teacher(), 0), examples(5), []

    def announce(text):
        assert not list((tmp_path / "c").iterdir())
        told.append(text)

    done = written(tmp_path / "c", some, source, announce=announce)
    rows = sum(len(e.response) for e in some)
    whole = rows * 48 * 4 + source.teacher.head.weight.nbytes
    assert len(told) == 1
    assert f"takes {whole:,} bytes ({rows:,} supervised tokens of 192 bytes" in told[0]
    assert 0 <= done.bytes - whole < 1000  # headers of the files


def test_a_disk_that_fills_up_is_survived(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_writing, "SHARD_BYTES", 1)
    some, live, parts = examples(6), teacher(), tmp_path / "parts"
    parts.mkdir()
    calls = iter([False, True])

    def full(path, tensors, metadata=None):
        if next(calls, False):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write_tensors(path, tensors, metadata)

    monkeypatch.setattr(cache_writing, "write_tensors", full)
    with pytest.raises(OSError, match="No space left") as caught:
        written(tmp_path / "c", some, ExactStates(live, 0), parts=parts, batch_size=2)
    assert caught.value.errno == errno.ENOSPC
    assert sorted(p.name for p in parts.iterdir()) == [
        "part-00000.json",
        "states-00000.safetensors",
    ]
    written(tmp_path / "c", some, ExactStates(live, 0), parts=parts, batch_size=2)
    assert len(all_rows(tmp_path / "c", some)) == sum(len(e.response) for e in some)


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(OSError, match=r"x\.safetensors"):
        write_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(2)})
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_states_that_are_not_finite_are_named(tmp_path):
    live = teacher()
    live.model.model.norm.weight.data[0] = float("inf")
    with pytest.raises(NumericalError, match="states of example 'e/"):
        written(tmp_path / "c", examples(4), ExactStates(live, 0))
    assert not list((tmp_path / "c").glob("*.safetensors"))


def test_int8_costs_a_quarter_and_says_what_it_changes(tmp_path):
    some, live = examples(8), teacher()
    exact = written(tmp_path / "e", some, ExactStates(live, 0))
    small = written(tmp_path / "i", some, Int8States(live, 0, len(tokenizer())))
    assert small.bytes < exact.bytes
    assert 0.0 < small.measures["int8_kl"] < 0.05
    batch = pad_batch(some, 0)
    left = CachedTeacher(TeacherCache(tmp_path / "i"), "cpu").targets(some, batch).hidden
    right = CachedTeacher(TeacherCache(tmp_path / "e"), "cpu").targets(some, batch).hidden
    assert float((left - right).abs().max()) <= float(right.abs().max()) / 127


def test_top_k_keeps_the_most_probable_tokens_and_their_probability(tmp_path):
    some, live = examples(4), teacher()
    done = written(tmp_path / "c", some, TopKStates(live, 0, len(tokenizer()), 5))
    assert not (tmp_path / "c" / "head.safetensors").exists()
    targets = CachedTeacher(TeacherCache(tmp_path / "c"), "cpu").targets(some, pad_batch(some, 0))
    states = live.states(some, pad_batch(some, 0))
    logits = states @ live.head.weight[: len(tokenizer())].T
    values, ids = logits.log_softmax(-1).topk(5)
    assert torch.equal(targets.ids, ids)
    torch.testing.assert_close(targets.logprobs, values, rtol=1e-4, atol=1e-5)
    tail = float(1.0 - values.exp().sum(-1).mean())
    assert done.measures["tail_mass"] == pytest.approx(tail, rel=1e-5)


def test_reading_ahead_changes_nothing(tmp_path):
    some = examples(6)
    written(tmp_path / "c", some)
    plain, ahead = (CachedTeacher(TeacherCache(tmp_path / "c"), "cpu") for _ in range(2))
    ahead.prefetch([some[:3], some[3:]])
    for part in (some[:3], some[3:]):
        batch = pad_batch(part, 0)
        assert torch.equal(ahead.targets(part, batch).hidden, plain.targets(part, batch).hidden)
