"""Which of the viewer's files of text hold which words, so that a search reads only those that may.

A word is a run of ASCII letters and digits in the lower-cased text; everything else parts words. What a
reader types may stand inside of a word or reach over several, so the browser asks which words of the list
fit: the list may name a file too many, never one too few.
"""

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np

LARGEST = 1_000_000  # words; a list beyond that would cost more than it saves
_PARTED = bytes(c if chr(c).isalnum() and c < 128 else 32 for c in range(256))


class WordIndex:
    """Collects the words of one file after the other."""

    def __init__(self) -> None:
        self._files: dict[bytes, list[int]] = {}
        self._count = 0

    def add(self, texts: Iterable[str | None]) -> None:
        """Note the words of the next file."""
        if len(self._files) <= LARGEST:
            whole = "\n".join(text for text in texts if text)
            for word in set(whole.lower().encode("ascii", "replace").translate(_PARTED).split()):
                self._files.setdefault(word, []).append(self._count)
        self._count += 1

    def document(self) -> dict[str, Any]:
        """For the browser: ``words`` by line, and how many ``files`` there are.

        ``counts`` says in how many each word is, 0 for those that are in more than half, which are not
        listed; ``places`` lists the others' files, word after word (both base64 of 16 bits each). ``words``
        is None where there are too many of them.
        """
        if len(self._files) > LARGEST:
            return {"files": self._count, "words": None}
        words = sorted(self._files)
        found = [self._files[word] for word in words]
        kept = [places if 2 * len(places) <= self._count else [] for places in found]
        flat = np.fromiter((place for places in kept for place in places), dtype="<u2")
        return {
            "files": self._count,
            "words": b"\n".join(words).decode("ascii"),
            "counts": _packed(np.array([len(places) for places in kept], dtype="<u2")),
            "places": _packed(flat),
        }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
