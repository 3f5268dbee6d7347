"""`losses: paper` against the reference's behaviour written out by hand, in float64, without our trainer.

The reference: every token of prompt and answer is a position, by the unshifted mask; the KLs are means over sequences
of means over positions, times the squared temperature; its JSD is a mean over positions, without temperature; SFT is
the ordinary shifted negative log-likelihood over the prompt too; one coin for four sequences; rollouts lose their end.
"""

import copy

import pytest
import torch

from kdscope.data.collation import Encoded, pad_batch
from kdscope.distillation.paper_text import every_position, every_token
from kdscope.distillation.rollouts import RetokenisedRollouts
from kdscope.distillation.signals import LiveTeacher
from kdscope.distillation.training import Machine, Teaching, fit
from kdscope.distillation.windows import ShuffledWindows
from kdscope.divergences import Objective
from tests.distillation.test_training import TRAIN, examples
from tests.tiny import random_model, tokenizer

EPSILON = 1e-9
LENGTH = 128


def models():
    return random_model(), random_model(seed=7, width=48, extra_rows=40)


def positions(model, sequences):
    """Float64 logits [B, T, V] of whole sequences, and the unshifted mask [B, T]."""
    ids = [torch.tensor(sequence) for sequence in sequences]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(i)) for i in ids], batch_first=True)
    return model(padded, attention_mask=mask).logits[..., : len(tokenizer())], mask.double()


def reference_value(name, student, teacher, sequences, t=1.0):
    z_s, mask = positions(student, sequences)
    with torch.no_grad():
        z_t, _ = positions(teacher, sequences)
    lq, lp = (z_s / t).log_softmax(-1), (z_t / t).log_softmax(-1)
    q, p = lq.exp(), lp.exp()
    if name == "paper_jsd":
        lm = (0.5 * p + 0.5 * q).log()
        each = (0.5 * p * (lp - lm) + 0.5 * q * (lq - lm)).sum(-1)
        return (each * mask).sum() / mask.sum()
    if name == "paper_forward_kl":
        each = ((p + EPSILON) * ((p + EPSILON).log() - lq)).sum(-1)
    else:
        each = ((q + EPSILON) * (lq - lp)).sum(-1)
    return t**2 * ((each * mask).sum(-1) / mask.sum(-1)).mean()


def reference_nll(student, sequences):
    logits, mask = positions(student, sequences)
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in sequences], batch_first=True)
    each = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    ).view(len(sequences), -1)
    return (each * mask[:, 1:]).sum() / mask[:, 1:].sum()


def norm_of(value, student):
    gradients = torch.autograd.grad(value, list(student.parameters()))
    return float(torch.cat([g.flatten() for g in gradients]).norm())


def trained(folder, objective, given, *, teaching=None, micro=None, **changes):
    """Loss and gradient norm of one optimizer step of the whole student, as its curves have them."""
    student = random_model().requires_grad_(True)
    found = fit(
        student, tokenizer(), given, objective, TRAIN | {"learning_rate": 1e-9} | changes, 0,
        Machine("cpu", micro, folder / "checkpoints"), teaching=teaching or Teaching(),
    )  # fmt: skip
    return {row["measure"]: row["value"] for row in found.curves}


def whole(example):
    return (*example.prompt, *example.response)


@pytest.mark.parametrize(
    ("name", "t"),
    [("paper_forward_kl", 1.0), ("paper_forward_kl", 2.0), ("paper_reverse_kl", 1.0),
     ("paper_reverse_kl", 2.0), ("paper_jsd", 1.0)],
)  # fmt: skip
@pytest.mark.parametrize("micro", [None, 3])
def test_a_step_is_the_references(tmp_path, name, t, micro):
    student, teacher = (model.double() for model in models())
    value = reference_value(name, student, teacher, [whole(e) for e in examples()], t)
    found = trained(
        tmp_path, Objective(name, temperature=t, scale_by_t2=t != 1.0),
        [every_position(e, tokenizer().pad_token_id) for e in examples()], micro=micro,
        teaching=Teaching(LiveTeacher(models()[1])), reduction="token" if name == "paper_jsd" else "sequence",
    )  # fmt: skip
    assert found["loss"] == pytest.approx(value.item(), rel=1e-5)
    assert found["grad_norm"] == pytest.approx(norm_of(value, student), rel=1e-4)


def test_fine_tuning_reads_the_prompt_too(tmp_path):
    student = random_model().double()
    value = reference_nll(student, [whole(e) for e in examples()])
    found = trained(tmp_path, Objective("nll"), [every_token(e) for e in examples()])
    assert found["loss"] == pytest.approx(value.item(), rel=1e-5)
    assert found["grad_norm"] == pytest.approx(norm_of(value, student), rel=1e-4)


def test_the_place_after_the_end_sees_nothing_of_what_fills_it():
    one, other = (
        pad_batch([every_position(e, filler) for e in examples(3)], 0) for filler in (0, 9)
    )
    model = random_model()
    with torch.no_grad():
        states = [model(b.input_ids, attention_mask=b.attention_mask).logits for b in (one, other)]
    supervised = one.labels[:, 1:] != -100
    assert torch.equal(*(s[:, :-1][supervised] for s in states))
    assert int(supervised.sum()) == sum(e.length for e in examples(3))


def rollouts(seed=1):
    prompts = {e.id: e.prompt for e in examples()}
    return RetokenisedRollouts(0.5, 1.0, 12, seed, per_coin=4, prompts=prompts, max_length=LENGTH)


def test_rollouts_lose_their_end_and_their_prompt_is_trained_on():
    found = rollouts().sample(random_model(), tokenizer(), examples(), 0)
    end = tokenizer().eos_token_id
    for example, own in zip(examples(), found, strict=True):
        ids = whole(own)[:-1]  # without the place after the last token
        text = tokenizer().decode(ids)
        assert own.id == example.id
        assert end not in ids
        assert text.startswith(tokenizer().decode(list(example.prompt)))
        assert len(own.response) == len(ids)


def test_four_sequences_share_a_coin():
    draws = [rollouts().chosen(step, 10) for step in range(200)]
    blocks = [[draw[:4], draw[4:8], draw[8:]] for draw in draws]
    assert all(len(set(block)) == 1 for draw in blocks for block in draw)
    mixed = sum(len({block[0] for block in draw}) == 2 for draw in blocks)
    assert 120 < mixed < 180  # three fair coins differ in three of four cases
    assert 0.4 < sum(sum(draw) for draw in draws) / 2000 < 0.6
    assert rollouts().chosen(3, 8) == rollouts().chosen(3, 10)[:8]


@pytest.mark.parametrize("micro", [None, 2])
def test_an_on_policy_step_mixes_text_and_rollouts(tmp_path, micro):
    """The step whose first four sequences are rollouts and whose others are not, or the other way round."""
    seed = next(s for s in range(50) if len(set(rollouts(s).chosen(0, 8))) == 2)
    order = next(iter(ShuffledWindows(8, 8, 0, lambda: 0)))
    window = [examples()[place] for place in order]
    filler = tokenizer().pad_token_id
    own = rollouts(seed).sample(copy.deepcopy(models()[0]), tokenizer(), window, 0)
    mixed = [
        whole(rolled)[:-1] if chosen else whole(text)
        for chosen, rolled, text in zip(rollouts(seed).chosen(0, 8), own, window, strict=True)
    ]
    student, teacher = (model.double() for model in models())
    value = reference_value("paper_jsd", student, teacher, mixed)
    live = LiveTeacher(models()[1])
    found = trained(
        tmp_path, Objective("paper_jsd"), [every_position(e, filler) for e in examples()], micro=micro,
        teaching=Teaching(live, rollouts(seed), live),
    )  # fmt: skip
    assert found["loss"] == pytest.approx(value.item(), rel=1e-5)
    assert found["grad_norm"] == pytest.approx(norm_of(value, student), rel=1e-4)


def test_a_token_more_changes_no_example():
    example = Encoded("a", (1, 2, 3), (4, 5))
    assert every_position(example, 0) == Encoded("a", (1,), (2, 3, 4, 5, 0))
    assert every_token(example) == Encoded("a", (1,), (2, 3, 4, 5))
