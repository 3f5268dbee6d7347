"""Extraction: the answer that a generated text gives, three ways.

- ``strict``: the text states its answer in the agreed words ("The answer is 7.", "#### 7",
  "the correct answer is option2").
- ``flexible``: any explicit marker, a box or the like; without one, the last admissible value.
- ``paper``: as the paper's reference reads it: the last decimal after commas are dropped, the first
  capital A to E anywhere, the first option word.

``strict`` and ``flexible`` read up to where the text runs on into a question of its own; ``paper``
cuts only at a second ``### Response:``, as the reference does.
"""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kdscope.data.forms import canonical_number
from kdscope.data.records import Item
from kdscope.evaluation.ifeval import followed
from kdscope.evaluation.numbers import numbers_in, plain, stated_number


class Extraction(NamedTuple):
    """One answer by each extractor, in canonical spelling; None where there is none."""

    strict: str | None
    flexible: str | None
    paper: str | None


def extract(text: str, item: Item) -> Extraction:
    """The answer of a generated text to an item, by each extractor."""
    answer = without_run_on(text)
    strict, flexible, paper = _EXTRACTORS[item.form]
    return Extraction(
        strict(answer, item), flexible(answer, item), paper(text.split("### Response:")[0], item)
    )


_RUN_ON = re.compile(
    r"\n[ \t]*(?:\#\#\#\s*(?:Instruction|Input|Response|Question)\b"
    r"|(?:Question|Q|Problem|Human|User)\s?\d*\s?:)"
    r"|<\|(?:endoftext|im_end|im_start|eot_id|end_of_text)\|>|</s>",
    re.IGNORECASE,
)


def without_run_on(text: str) -> str:
    """The text up to a new question that it asks itself, or a special token."""
    cut = _RUN_ON.search(text)
    return text[: cut.start()] if cut else text


# "the answer is", "Answer:", "the answer to the question would be" ...
_MARKER = re.compile(
    r"\banswer\b[^.\n\d()]{0,48}?(?:\b(?:is|are|was|be|equals)\b|[:=])"
    r"(?:\s*(?:option|choice|letter)\b(?!\s*\d))?[\s:*]*",
    re.IGNORECASE,
)
_AGREED = re.compile(r"\bthe (?:final |correct )?answer is:?\s*|####\s*", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_HASHES = re.compile(r"####\s*")


_REACH = 400  # characters after a marker in which its answer must stand


def _after(markers: re.Pattern[str], text: str) -> list[str]:
    """What follows each marker, the last one first."""
    ends = [match.end() for match in markers.finditer(text)]
    return [text[end : end + _REACH] for end in reversed(ends)]


def _first(read: Callable[[str], str | None], texts: Iterable[str]) -> str | None:
    return next((found for found in map(read, texts) if found is not None), None)


# --- numbers ------------------------------------------------------------------------------------


def _number_strict(text: str, item: Item) -> str | None:
    after = _after(_AGREED, text)
    return stated_number(after[0]) if after else None


def _number_flexible(text: str, item: Item) -> str | None:
    boxes = [match[1] for match in _BOXED.finditer(text)][::-1]
    stated = _first(stated_number, [*boxes, *_after(_HASHES, text), *_after(_MARKER, text)])
    if stated is not None:
        return stated
    numbers = numbers_in(text)
    return numbers[-1] if numbers else None


def _number_paper(text: str, item: Item) -> str | None:
    found = re.findall(r"-?\d+\.?\d*", text.replace(",", ""))
    return canonical_number(found[-1].rstrip(".")) if found else None


# --- letters ------------------------------------------------------------------------------------


def _letters(item: Item) -> str:
    return "".join(item.options or "ABCDE")


# A capital A before a small word is an article, unless the word says something about an option.
_NO_ARTICLE = r"(?!(?<=A) (?!(?:is|was|because|since|as|and|or)\b)[a-z])"


def _stated_letter(text: str, letters: str) -> str | None:
    """The letter that a text opens with: ``(C)``, ``C.``, ``C) 25``, ``c``; an article is none."""
    found = re.match(rf"[\s$*\"']*\(?\s*([{letters}])(?![\w'’]){_NO_ARTICLE}", text)
    if found:
        return found[1]
    small = re.match(rf"[\s$*\"']*(\()?\s*([{letters.lower()}])(?(1)\s*\)|\W*(?:$|\n))", text)
    return small[2].upper() if small else None


def _letter_strict(text: str, item: Item) -> str | None:
    after = _after(_AGREED, text)
    return _stated_letter(after[0], _letters(item)) if after else None


_CHOSEN = re.compile(
    r"\b(?:correct|right|best)\s+(?:option|choice)\b[^.\n\d()]{0,24}?(?:\bis\b|:)\s*|\boption\s+",
    re.I,
)


def _letter_flexible(text: str, item: Item) -> str | None:
    letters = _letters(item)
    boxes = [plain(match[1]) for match in _BOXED.finditer(text)][::-1]
    places = [*boxes, *_after(_HASHES, text), *_after(_MARKER, text), *_after(_CHOSEN, text)]
    stated = _first(lambda after: _stated_letter(after, letters), places)
    if stated is not None:
        return stated
    if opening := re.match(rf"\s*\(?([{letters}])(?:[).:]|\s*$)", text):
        return opening[1]
    found = re.findall(rf"\(([{letters}])\)", text) or re.findall(
        rf"(?<![\w'’])([{letters}])(?![\w'’]){_NO_ARTICLE}", text
    )
    return found[-1] if found else None


def _letter_paper(text: str, item: Item) -> str | None:
    found = re.search(r"[A-E]", text)
    return found[0] if found else None


# --- option words and booleans ------------------------------------------------------------------


def _word_pattern(options: tuple[str, ...]) -> re.Pattern[str]:
    """Options as whole words; ``answer 2`` and ``Answer_2`` are ``answer2``."""
    longest = sorted(options, key=len, reverse=True)  # "not good" before "good"
    spelled = [re.sub(r"(?<=[a-z])(?=\d)", r"[ _]?", re.escape(option)) for option in longest]
    return re.compile(rf"(?<![\w])(?:{'|'.join(spelled)})(?!\w)", re.IGNORECASE)


def _as_word(found: str, options: tuple[str, ...]) -> str:
    """The option that was found, as it is spelled in the item."""
    squeezed = re.sub(r"[ _]", "", found).lower()
    return next((o for o in options if re.sub(r"[ _]", "", o) == squeezed), squeezed)


def _word_strict(text: str, item: Item) -> str | None:
    after = _after(_AGREED, text)
    found = (
        _word_pattern(item.options or ()).match(after[0].lstrip("* "))
        if after and item.options
        else None
    )
    return _as_word(found[0], item.options or ()) if found else None


def _word_flexible(text: str, item: Item) -> str | None:
    options = item.options or ()
    if not options:
        return None
    pattern = _word_pattern(options)

    def stated(after: str) -> str | None:
        line = after.partition("\n")[0]
        if bare := re.match(r"\W*(\d)(?![\d.,]*\d)", line):
            named = [
                option for option in options if option.rstrip("0123456789") + bare[1] == option
            ]
            if named:
                return named[0]
        found = pattern.search(line)
        return _as_word(found[0], options) if found else None

    marked = _first(stated, _after(_MARKER, text))
    if marked is not None:
        return marked
    found = pattern.findall(text)
    return _as_word(found[-1], options) if found else None


def _word_paper(text: str, item: Item) -> str | None:
    options = item.options or ()
    if options and options[0].startswith("answer"):
        options = ("answer1", "answer2", "answer3", "answer4", "answer5")
    found = re.search("|".join(map(re.escape, options)), text) if options else None
    return found[0] if found else None


_TRUTH = re.compile(r"(?<!\w)(true|false|yes|no)(?!\w)", re.IGNORECASE)
_AS_TRUTH = {"true": "true", "yes": "true", "false": "false", "no": "false"}


def _boolean_strict(text: str, item: Item) -> str | None:
    after = _after(_AGREED, text)
    found = re.match(r"[\s*\"']*(true|false)(?!\w)", after[0], re.IGNORECASE) if after else None
    return found[1].lower() if found else None


def _boolean_flexible(text: str, item: Item) -> str | None:
    def stated(after: str) -> str | None:
        found = _TRUTH.search(after.partition("\n")[0])
        return _AS_TRUTH[found[1].lower()] if found else None

    marked = _first(stated, _after(_MARKER, text))
    if marked is not None:
        return marked
    words = re.findall(r"(?<!\w)(true|false)(?!\w)", text, re.IGNORECASE)
    if words:
        return words[-1].lower()
    opening = re.match(r"\W*(yes|no)(?!\w)", text, re.IGNORECASE)
    return _AS_TRUTH[opening[1].lower()] if opening else None


def _boolean_paper(text: str, item: Item) -> str | None:
    found = re.search(r"true|false", text)
    return found[0] if found else None


# --- free text and verifiable instructions ------------------------------------------------------


def _whole_text(text: str, item: Item) -> str | None:
    return text.strip() or None


def _absent(text: str, item: Item) -> str | None:
    return None


def _followed_strictly(text: str, item: Item) -> str | None:
    return followed(text, item.question, item.gold, loose=False) if text.strip() else None


def _followed_loosely(text: str, item: Item) -> str | None:
    return followed(text, item.question, item.gold, loose=True) if text.strip() else None


_Extractor = Callable[[str, Item], str | None]

_EXTRACTORS: dict[str, tuple[_Extractor, _Extractor, _Extractor]] = {
    "number": (_number_strict, _number_flexible, _number_paper),
    "letter": (_letter_strict, _letter_flexible, _letter_paper),
    "word": (_word_strict, _word_flexible, _word_paper),
    "boolean": (_boolean_strict, _boolean_flexible, _boolean_paper),
    "text": (_whole_text, _whole_text, _whole_text),
    "verifiable": (_followed_strictly, _followed_loosely, _absent),
}
