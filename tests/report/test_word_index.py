"""The list of words names every file that a search must read."""

import base64

import numpy as np
import pytest

from kdscope.report import word_index
from kdscope.report.word_index import WordIndex


def places(document: dict, word: str) -> list[int] | None:
    """Files of a word; None where it is in most of them, empty where it is in none."""
    words = document["words"].split("\n")
    counts = np.frombuffer(base64.b64decode(document["counts"]), "<u2")
    flat = np.frombuffer(base64.b64decode(document["places"]), "<u2")
    if word not in words:
        return []
    at = words.index(word)
    start = int(counts[:at].sum())
    return flat[start : start + counts[at]].tolist() if counts[at] else None


@pytest.fixture
def document() -> dict:
    index = WordIndex()
    index.add(["The Answer is 18.", None, "it's 3,5"])
    index.add(["the answer: x_1", "naïve"])
    index.add(["the end"])
    index.add([])
    return index.document()


def test_words_are_found_in_their_files(document: dict) -> None:
    assert document["files"] == 4
    assert places(document, "the") is None  # three of four
    assert places(document, "answer") == [0, 1]
    assert places(document, "18") == [0]
    assert places(document, "end") == [2]
    assert places(document, "absent") == []


def test_marks_and_other_letters_part_words(document: dict) -> None:
    assert places(document, "na") == places(document, "ve") == [1]
    assert places(document, "s") == [0]
    assert places(document, "3") == places(document, "5") == [0]
    assert places(document, "x") == [1]
    assert document["words"] == "\n".join(sorted(document["words"].split("\n")))


def test_too_many_words_are_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_index, "LARGEST", 3)
    index = WordIndex()
    for k in range(3):
        index.add([f"a{k} b{k}"])
    assert index.document() == {"files": 3, "words": None}
