"""A teacher behind an HTTP server: right numbers, or one clear end with nothing half-written."""

import json
import socket

import pytest
import torch

from kdscope.data.collation import pad_batch
from kdscope.distillation.cache import TeacherCache
from kdscope.distillation.cache_writing import write_cache
from kdscope.distillation.rollouts import Rollouts
from kdscope.distillation.server import KEY, ServedTeacher, ServedTopK, TeacherServer
from kdscope.distillation.server_tokens import TokenReader
from kdscope.distillation.signals import CachedTeacher
from kdscope.distillation.training import Teaching
from kdscope.errors import ModelError, RemoteError
from tests.distillation.served import serving
from tests.distillation.test_training import examples, train, weights
from tests.tiny import tokenizer

K = 6


@pytest.fixture
def served():
    with serving() as teacher:
        yield teacher


def client(url, pauses=None, **more):
    pause = (pauses if pauses is not None else []).append
    return TeacherServer(url, "big", TokenReader(tokenizer(), K), pause=pause, **more)


@pytest.mark.parametrize("style", ["ids", "marks", "entries", "decoded"])
def test_rows_are_the_teachers_own(served, style):
    served.style = style
    for example in examples(3):
        rows = client(served.url).read(example)
        ids = [*example.prompt, *example.response]
        values, tokens = served.logprobs(ids)[len(example.prompt) - 1 : -1].topk(K)
        for row, (value, token) in enumerate(zip(values.tolist(), tokens.tolist(), strict=True)):
            # The head has rows that are no tokens; they count with the rest.
            expected = {t: v for t, v in zip(token, value, strict=True) if served.can_spell(t)}
            assert len(expected) > 1
            kept = zip(rows["ids"][row].tolist(), rows["logprobs"][row].tolist(), strict=True)
            found = {t: v for t, v in kept if t >= 0}
            assert {t: found[t] for t in expected} == pytest.approx(expected, abs=1e-5)
    path, body, headers = served.requests[0]
    assert path == "/v1/completions"
    assert (body["model"], body["logprobs"]) == ("big", K)
    assert "Authorization" not in headers


def test_a_cache_from_a_server_trains_the_student_that_asking_on_the_spot_does(tmp_path, served):
    (tmp_path / "c").mkdir()
    written = write_cache(tmp_path / "c", examples(), ServedTopK(client(served.url)), about={})
    assert 0.0 < written.measures["tail_mass"] < 1.0
    assert len(served.requests) == len(examples())  # each sequence once
    cached = CachedTeacher(TeacherCache(tmp_path / "c"), "cpu")
    live = ServedTeacher(client(served.url))
    one = train(tmp_path / "a", "forward_kl", teaching=Teaching(cached), epochs=2)
    other = train(tmp_path / "b", "forward_kl", teaching=Teaching(live), epochs=2, micro=3)
    torch.testing.assert_close(weights(one), weights(other), rtol=1e-4, atol=1e-5)
    assert len(served.requests) == 3 * len(examples())  # asked ahead, and not twice


def test_rollouts_are_judged_by_the_server(tmp_path, served):
    live = ServedTeacher(client(served.url))
    teaching = Teaching(live, Rollouts(1.0, 1.0, 6, seed=1), live)
    assert train(tmp_path, "jsd", teaching=teaching).steps == 1
    texts = {(*e.prompt, *e.response) for e in examples()}
    assert all(tuple(body["prompt"]) not in texts for _, body, _ in served.requests)


GARBAGE = {
    "HTML": (200, "<html>busy</html>"),
    "half": lambda answer: json.dumps(answer)[:200],
    "no choice": (200, '{"choices": []}'),
    "a list": (200, "[1, 2]"),
    "no number": lambda answer: json.dumps(answer).replace('"logprob": -', '"logprob": "x-', 1),
    "NaN": lambda answer: json.dumps(answer).replace('"logprob": -', '"logprob": NaN, "was": -'),
    "no log-probabilities": (200, '{"choices": [{"text": "hello"}]}'),
    "too probable": lambda answer: json.dumps(answer).replace('"logprob": -', '"logprob": '),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_asked_for_again_and_then_the_end_is_clear(served, garbage):
    (example, *_), pauses = examples(1), []
    served.troubles = [garbage, garbage]
    rows = client(served.url, pauses).read(example)
    assert pauses == [1.0, 2.0]
    assert torch.equal(rows["ids"], client(served.url).read(example)["ids"])
    served.troubles, pauses = [garbage] * 5, []
    with pytest.raises(RemoteError, match="gave no usable answer in 5 tries; the last:"):
        client(served.url, pauses).read(example)
    assert pauses == [1.0, 2.0, 4.0, 8.0]


def test_a_server_that_is_down_or_overloaded_is_asked_again(served):
    (example, *_), pauses = examples(1), []
    served.troubles = [(503, "loading"), (429, "slowly, please"), (500, "")]
    assert len(client(served.url, pauses).read(example)["ids"]) == len(example.response)
    assert pauses == [1.0, 2.0, 4.0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(RemoteError, match=r"in 3 tries; the last: Connection.*run again"):
            client(nobody, tries=3).read(example)


def test_a_slow_server_is_not_waited_for_for_ever(served):
    served.troubles = [0.6, 0.6]
    with pytest.raises(RemoteError, match="in 2 tries; the last: ReadTimeout"):
        client(served.url, tries=2, seconds=0.2).read(examples(1)[0])


def test_a_server_that_dies_half_way_leaves_no_cache(tmp_path, served):
    (tmp_path / "c").mkdir()
    served.troubles = [None] * 4 + [(500, "broken")] * 50
    source = ServedTopK(client(served.url))
    with pytest.raises(RemoteError, match="Nothing incomplete was kept"):
        write_cache(tmp_path / "c", examples(), source, about={}, batch_size=4)
    assert not list((tmp_path / "c").iterdir())
    served.troubles = []
    write_cache(tmp_path / "c", examples(), ServedTopK(client(served.url)), about={}, batch_size=4)
    assert TeacherCache(tmp_path / "c").tokens == sum(len(e.response) for e in examples())


def test_what_the_server_refuses_is_told_at_once(served):
    served.troubles, pauses = [(400, '{"message": "logprobs must be at most 5"}')], []
    with pytest.raises(ModelError, match=r"refuses .* 6 log-prob.*at most 5.*--max-logprobs 6"):
        client(served.url, pauses).read(examples(1)[0])
    assert not pauses


def test_the_key_comes_from_the_environment_and_is_never_told(served, monkeypatch, capfd, caplog):
    monkeypatch.setenv(KEY, "s3cret-key")
    caplog.set_level(0)
    client(served.url).read(examples(1)[0])
    assert served.requests[0][2]["Authorization"] == "Bearer s3cret-key"
    served.troubles = [(401, "no access with Bearer s3cret-key")]
    with pytest.raises(ModelError, match=r"Bearer \*\*\*") as refused:
        client(served.url).read(examples(1)[0])
    served.troubles = [(500, "s3cret-key")] * 5
    with pytest.raises(RemoteError) as failed:
        client(served.url).read(examples(1)[0])
    told = (
        f"{refused.value!r}{failed.value!r}{capfd.readouterr()}{caplog.text}{client(served.url)!r}"
    )
    assert "s3cret" not in told


def edited(change):
    def edit(answer):
        change(answer["choices"][0])
        return json.dumps(answer)

    return edit


def opening_token(choice):
    choice["prompt_logprobs"].insert(0, None)


def other_ids(choice):
    rows = choice["prompt_logprobs"]
    choice["prompt_logprobs"] = [r and {str(int(t) + 1): v for t, v in r.items()} for r in rows]


def other_words(choice):
    choice["logprobs"]["tokens"][3] += "x"


def shared_words(choice):
    choice["logprobs"]["top_logprobs"][-2]["\ufffd"] = -3.0


def unknown_words(choice):
    choice["logprobs"]["top_logprobs"][-2]["no token at all"] = -3.0


@pytest.mark.parametrize(
    ("style", "change", "reason"),
    [
        ("ids", opening_token, "echoed .* tokens of .* opening token"),
        ("ids", other_ids, "speaks of other tokens than were sent"),
        ("decoded", other_words, "wrote '.*x' for token .* at position 3"),
        ("decoded", shared_words, "belongs to several tokens"),
        ("entries", unknown_words, "'no token at all', which is no token"),
    ],
)
def test_tokens_that_are_not_the_tokenizers_are_refused(served, style, change, reason):
    served.style, served.troubles = style, [edited(change)]
    with pytest.raises(ModelError, match=reason):
        client(served.url).read(examples(1)[0])
    assert len(served.requests) == 1


def two_fewer(choice):
    for row in choice["prompt_logprobs"][1:]:
        for token in list(row)[:2]:
            del row[token]


def test_fewer_tokens_than_asked_for_are_marked_as_absent(served):
    served.troubles = [edited(two_fewer)]
    example = examples(1)[0]
    targets = ServedTeacher(client(served.url)).targets([example], pad_batch([example], 0))
    assert bool((targets.ids == -1).any())
    assert bool((targets.logprobs[targets.ids == -1] == -1e4).all())
