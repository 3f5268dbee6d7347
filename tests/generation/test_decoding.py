"""Decoding: equal to one-by-one generation, independent of the batch, honest about how it ended."""

import pytest
import torch
from transformers import DynamicCache

from kdscope.errors import DataError
from kdscope.generation.decoding import (
    generate,
    length_sorted_batches,
    shared_length,
    uniform_draws,
)
from kdscope.generation.key_values import places_kept
from kdscope.generation.settings import Decoding
from tests.tiny import PROMPTS, random_model, tokenizer


@pytest.fixture(scope="module")
def model():
    return random_model().eval()


def ids(texts=PROMPTS):
    return tokenizer()(list(texts))["input_ids"]


def keys(texts=PROMPTS):
    return [f"task/{i}/0" for i in range(len(texts))]


def test_greedy_equals_generate_of_transformers():
    model = random_model(extra_rows=0)
    ours = generate(model, tokenizer(), ids(), keys(), Decoding(24, stop=()), batch_size=3)
    for prompt, completion in zip(ids(), ours, strict=True):
        theirs = model.generate(
            torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=0
        )
        assert list(completion.tokens) == theirs[0, len(prompt) :].tolist()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_do_not_depend_on_the_batch(model, temperature):
    settings = Decoding(20, temperature, seed=3, stop=())
    alone = generate(model, tokenizer(), ids(), keys(), settings, batch_size=1)
    together = generate(model, tokenizer(), ids(), keys(), settings, batch_size=8)
    backwards = generate(model, tokenizer(), ids()[::-1], keys()[::-1], settings, batch_size=8)
    assert [c.tokens for c in alone] == [c.tokens for c in together]
    assert [c.tokens for c in together] == [c.tokens for c in backwards[::-1]]


def test_what_prompts_begin_with_is_read_once_and_changes_no_answer(model, monkeypatch):
    opening = ids(["Below is an instruction that describes a task. " * 3])[0]
    asked = [opening + prompt for prompt in ids()]
    read = []
    forward = type(model).forward

    def counted(self, *args, **kwargs):
        read.append(kwargs["input_ids"].numel())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counted)
    settings = Decoding(20, stop=())
    together = generate(model, tokenizer(), asked, keys(), settings, batch_size=8)
    longest = max(map(len, ids()))
    assert read[:2] == [len(opening), len(asked) * longest]
    alone = generate(model, tokenizer(), asked, keys(), settings, batch_size=1)
    assert [c.tokens for c in together] == [c.tokens for c in alone]
    means = [c.mean_logprob for c in alone]
    assert [c.mean_logprob for c in together] == pytest.approx(means, abs=1e-5)


def test_rows_that_end_early_leave_and_the_others_go_on(model):
    ends = [
        generate(model, tokenizer(), [p], [k], Decoding(24, stop=()))[0].tokens
        for p, k in zip(ids(), keys(), strict=True)
    ]
    stops = [tokenizer().decode(ends[0][:3]), tokenizer().decode(ends[2][:9])]
    settings = Decoding(48, stop=tuple(stops))
    alone = generate(model, tokenizer(), ids(), keys(), settings, batch_size=1)
    together = generate(model, tokenizer(), ids(), keys(), settings, batch_size=8)
    assert len({len(c.tokens) for c in alone}) > 1
    assert [c.tokens for c in alone] == [c.tokens for c in together]
    assert [c.finish_reason for c in alone] == [c.finish_reason for c in together]


@pytest.mark.parametrize(
    ("running", "places"),
    [([0, 1, 2], [0, 1, 2]), ([1, 3, 4], [4, 1, 3]), ([5], [5]), ([0, 2, 3, 5], [0, 5, 2, 3])],
)
def test_rows_that_go_on_stay_where_they_are(running, places):
    assert places_kept(running) == places


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([[1] * 40], 0),
        ([[1] * 40, [1] * 20 + [2]], 20),
        ([[1] * 40, [1] * 40, [1] * 30], 29),
        ([[1] * 40, [1] * 5 + [2] * 30], 0),
    ],
)
def test_the_shared_beginning_leaves_something_to_read(prompts, length):
    assert shared_length(prompts) == length


def test_log_probabilities_are_those_of_a_full_forward_pass(model):
    completion = generate(model, tokenizer(), ids()[:1], keys()[:1], Decoding(12, 1.0, stop=()))[0]
    sequence = torch.tensor([[*ids()[0], *completion.tokens]])
    with torch.no_grad():
        logits = model(sequence).logits[0, len(ids()[0]) - 1 : -1, : len(tokenizer())]
    chosen = torch.tensor(completion.tokens)
    expected = logits.log_softmax(-1).gather(-1, chosen[:, None]).mean()
    assert completion.mean_logprob == pytest.approx(float(expected), abs=1e-5)


def test_sampling_follows_the_distribution(model):
    with torch.no_grad():
        logits = model(torch.tensor([ids()[0]]), past_key_values=DynamicCache()).logits[0, -1]
    p = logits[: len(tokenizer())].softmax(-1)
    many = 4000
    drawn = generate(
        model, tokenizer(), ids()[:1] * many, [f"k/{i}" for i in range(many)],
        Decoding(1, 1.0, stop=()), batch_size=many,
    )  # fmt: skip
    counts = torch.bincount(torch.tensor([c.tokens[0] for c in drawn]), minlength=len(p))
    chi2 = float(((counts - many * p) ** 2 / (many * p)).sum())
    degrees = len(p) - 1
    assert abs(chi2 - degrees) < 5 * (2 * degrees) ** 0.5


def test_padded_rows_of_the_head_are_never_chosen(model):
    with torch.no_grad():
        padded = random_model()
        padded.lm_head.weight[len(tokenizer()) :] = 100.0
    answers = generate(padded.eval(), tokenizer(), ids(), keys(), Decoding(8, 1.0, stop=()))
    assert max(max(answer.tokens) for answer in answers) < len(tokenizer())


def test_stop_text_ends_an_answer_as_run_on(model):
    free = generate(model, tokenizer(), ids()[:1], keys()[:1], Decoding(48, stop=()))[0]
    text = tokenizer().decode(free.tokens)
    stopped = generate(model, tokenizer(), ids()[:1], keys()[:1], Decoding(48, stop=(text[5:9],)))[
        0
    ]
    assert stopped.finish_reason == "run_on"
    assert len(stopped.tokens) < len(free.tokens)


def test_a_prompt_beyond_the_context_is_refused_and_counted(model):
    with pytest.raises(DataError, match=r"1 of 1 prompts .* context of 512"):
        generate(model, tokenizer(), [[1] * 500], ["task/7/0"], Decoding(20))


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(RuntimeError, match="eval"):
        generate(random_model().train(), tokenizer(), ids(), keys(), Decoding(2))


def test_draws_are_keyed_and_seed_zero_is_a_seed():
    assert (uniform_draws(0, "a", 5) == uniform_draws(0, "a", 5)).all()
    assert (uniform_draws(0, "a", 5) != uniform_draws(1, "a", 5)).any()
    assert (uniform_draws(0, "a", 5) != uniform_draws(0, "b", 5)).any()
    assert (uniform_draws(0, "a", 5) == uniform_draws(0, "a", 9)[:5]).all()


def test_batches_are_sorted_and_complete():
    prompts = [[0] * n for n in (3, 9, 1, 9, 4)]
    assert list(length_sorted_batches(prompts, 2)) == [[1, 3], [4, 0], [2]]
