"""Model text as safe HTML, with what a reader looks for marked.

Model text is hostile: everything is escaped, control characters and marks that turn the direction
of writing become visible, and nothing of it is ever interpreted.
"""

import difflib
import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_EQUATION = re.compile(
    r"[$£€]?\d[\d,.]*(?:\s*[-+*/×÷x−]\s*[$£€]?\d[\d,.]*)+\s*=\s*[$£€]?-?\d[\d,.]*\d|"
    r"[$£€]?\d[\d,.]*(?:\s*[-+*/×÷x−]\s*[$£€]?\d[\d,.]*)+\s*=\s*[$£€]?-?\d"
)


def visible(text: str) -> str:
    """The text with control and direction marks written out, e.g. ``⟨U+202E⟩``."""
    return _HIDDEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def marked(text: str | None, answer: str | None = None, other: str | None = None) -> Markup:
    """The text as HTML with words that ``other`` lacks, equations and the last answer marked.

    Classes: ``d`` for a difference, ``q`` for an equation; the answer is a ``mark`` element.
    """
    shown = visible(text or "")
    if not shown.strip():
        return Markup("<i>no text</i>")
    kinds = [""] * len(shown)
    for start, end in _new_parts(shown, visible(other)) if other else ():
        kinds[start:end] = ["d"] * (end - start)
    for match in _EQUATION.finditer(shown):
        for i in range(*match.span()):
            kinds[i] = (kinds[i] + " q").strip()
    span = _answer_span(shown, visible(answer)) if isinstance(answer, str) and answer else None
    if span is not None:
        kinds[span[0] : span[1]] = ["mark"] * (span[1] - span[0])
    return Markup("").join(_wrap(part, kind) for part, kind in _runs(shown, kinds))


def _new_parts(text: str, other: str) -> Iterator[tuple[int, int]]:
    """Spans of ``text`` that a word-wise comparison does not find in ``other``."""
    mine, theirs = _TOKEN.findall(text), _TOKEN.findall(other)
    starts, place = [], 0
    for token in mine:
        starts.append(place)
        place += len(token)
    starts.append(place)
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    for tag, first, last, _, _ in matcher.get_opcodes():
        if tag in {"replace", "delete"} and "".join(mine[first:last]).strip():
            yield starts[first], starts[last]


def _answer_span(text: str, answer: str) -> tuple[int, int] | None:
    found = list(re.finditer(rf"(?<![\w.]){re.escape(answer)}(?!\w)", text, re.IGNORECASE))
    return found[-1].span() if found else None


def _runs(text: str, kinds: list[str]) -> Iterator[tuple[str, str]]:
    start = 0
    for i in range(1, len(text) + 1):
        if i == len(text) or kinds[i] != kinds[start]:
            yield text[start:i], kinds[start]
            start = i


def _wrap(part: str, kind: str) -> Markup:
    if not kind:
        return escape(part)
    if kind == "mark":
        return Markup("<mark>{}</mark>").format(part)
    return Markup('<span class="{}">{}</span>').format(kind, part)
