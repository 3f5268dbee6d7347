import pytest
import torch

from kdscope.divergences.heads import Head
from kdscope.divergences.tokens import TOP, measure_tokens


@pytest.fixture
def states():
    torch.manual_seed(0)
    tensor = torch.randn
    return tensor(37, 8), Head(tensor(50, 8)), tensor(37, 12), Head(tensor(53, 12))


def test_equals_the_definitions_in_float64(states):
    h_s, s, h_t, t = states
    p = (h_t.double() @ t.weight.double()[:48].T).softmax(-1)
    q = (h_s.double() @ s.weight.double()[:48].T).softmax(-1)
    m = (p + q) / 2

    def kl(a, b):
        return (a * (a.log() - b.log())).sum(-1)

    found = measure_tokens(h_s, s, h_t, t, vocab_size=48, byte_budget=10_000)
    want = (kl(p, q), kl(q, p), (kl(p, m) + kl(q, m)) / 2, p.argmax(-1) == q.argmax(-1))
    for ours, theirs in zip(found[:4], want, strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=1e-4, atol=1e-6)
    top_p, top_q = p.topk(TOP).indices.tolist(), q.topk(TOP).indices.tolist()
    shares = [len(set(a) & set(b)) / TOP for a, b in zip(top_p, top_q, strict=True)]
    torch.testing.assert_close(found.topk, torch.tensor(shares))


def test_a_model_against_itself(states):
    h_s, s, _, _ = states
    found = measure_tokens(h_s, s, h_s, s)
    assert max(float(column.abs().max()) for column in found[:3]) < 1e-6
    assert (found.top1 == 1).all()
    assert (found.topk == 1).all()


def test_chunks_change_nothing_and_no_position_is_no_error(states):
    whole, parts = measure_tokens(*states), measure_tokens(*states, byte_budget=1)
    for ours, theirs in zip(whole, parts, strict=True):
        torch.testing.assert_close(ours, theirs)
    h_s, s, h_t, t = states
    assert all(len(column) == 0 for column in measure_tokens(h_s[:0], s, h_t[:0], t))
