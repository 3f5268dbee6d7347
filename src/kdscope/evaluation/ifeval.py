"""IFEval's verifiable instructions: whether a response follows each of them.

All 25 kinds are checked without any download. Sentences are split by rule where the original loads
a model of NLTK, so counts of sentences can differ at abbreviations; languages are told by
langdetect with a fixed seed.

Source: Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models",
    arXiv:2311.07911.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from kdscope.errors import DataError

Arguments = dict[str, Any]


def followed(response: str, prompt: str, gold: str, *, loose: bool) -> str:
    """One character per instruction, in order: ``1`` followed, ``0`` not.

    Args:
        response: the generated text.
        prompt: the question, for instructions that ask to repeat it.
        gold: JSON list of ``[instruction id, arguments]``.
        loose: also try the response without asterisks, first line or last line; any may follow.
    """
    variants = [text for text in (_variants(response) if loose else [response]) if text.strip()]
    flags = []
    for name, arguments in json.loads(gold):
        if name not in CHECKS:
            raise DataError(
                f"there is no verifiable instruction {name!r}; known: {', '.join(CHECKS)}"
            )
        check = CHECKS[name]
        given = {"prompt_to_repeat": prompt, **arguments}
        flags.append("1" if any(check(text, given) for text in variants) else "0")
    return "".join(flags)


def _variants(response: str) -> list[str]:
    lines = response.split("\n")
    cuts = [response, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [text for cut in cuts for text in (cut, cut.replace("*", ""))]


def _compare(number: int, relation: str, bound: int) -> bool:
    if relation == "less than":
        return number < bound
    if relation == "at least":
        return number >= bound
    raise DataError(f"an IFEval relation is 'less than' or 'at least', not {relation!r}")


def _language(text: str, code: str) -> bool:
    """Texts whose language cannot be told pass, as in the original."""
    from langdetect import DetectorFactory, LangDetectException, detect  # slow

    DetectorFactory.seed = 0
    try:
        return detect(text) == code
    except LangDetectException:
        return True


# --- keywords -----------------------------------------------------------------------------------


def _existence(text: str, given: Arguments) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in given["keywords"])


def _frequency(text: str, given: Arguments) -> bool:
    count = len(re.findall(given["keyword"], text, re.IGNORECASE))
    return _compare(count, given["relation"], given["frequency"])


def _forbidden(text: str, given: Arguments) -> bool:
    return not any(
        re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in given["forbidden_words"]
    )


def _letter_frequency(text: str, given: Arguments) -> bool:
    count = text.lower().count(given["letter"].lower())
    return _compare(count, given["let_relation"], given["let_frequency"])


# --- lengths ------------------------------------------------------------------------------------

_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|[A-Z])\.$")


def count_sentences(text: str) -> int:
    """Sentences end at ``.``, ``!`` or ``?`` before a blank, unless an abbreviation ends there."""
    count, start = 0, 0
    for end in re.finditer(r"[.!?]+[\"'”’)\]*]*(?=\s|$)", text):
        if _ABBREVIATION.search(text[start : end.start() + 1]):
            continue
        count, start = count + 1, end.end()
    return count + bool(text[start:].strip())


def _sentences(text: str, given: Arguments) -> bool:
    return _compare(count_sentences(text), given["relation"], given["num_sentences"])


def _words(text: str, given: Arguments) -> bool:
    return _compare(len(re.findall(r"\w+", text)), given["relation"], given["num_words"])


def _filled_parts(parts: list[str]) -> int | None:
    """The number of parts that are not blank; None if a blank one stands in the middle."""
    if any(not part.strip() for part in parts[1:-1]):
        return None
    return sum(bool(part.strip()) for part in parts)


def _paragraphs(text: str, given: Arguments) -> bool:
    return _filled_parts(re.split(r"\s?\*\*\*\s?", text)) == given["num_paragraphs"]


def _nth_first_word(text: str, given: Arguments) -> bool:
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    nth = given["nth_paragraph"]
    if nth > count or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'\"").lower()
    word = re.split(r"[.,?!'\"]", word, maxsplit=1)[0]
    return count == given["num_paragraphs"] and word == given["first_word"].lower()


# --- content and format -------------------------------------------------------------------------


def _placeholders(text: str, given: Arguments) -> bool:
    return len(re.findall(r"\[.*?\]", text)) >= given["num_placeholders"]


def _postscript(text: str, given: Arguments) -> bool:
    marker = str(given["postscript_marker"])
    spaced = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = spaced.get(marker) or re.escape(marker.lower())
    return re.search(pattern, text.lower()) is not None


def _bullets(text: str, given: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == given["num_bullets"]


def _constrained(text: str, given: Arguments) -> bool:
    return any(f"My answer is {word}." in text for word in ("yes", "no", "maybe"))


def _highlights(text: str, given: Arguments) -> bool:
    single = [part.strip("*").strip() for part in re.findall(r"\*[^\n\*]*\*", text)]
    double = [part.strip("*").strip() for part in re.findall(r"\*\*[^\n\*]*\*\*", text)]
    return sum(map(bool, single + double)) >= given["num_highlights"]


def _sections(text: str, given: Arguments) -> bool:
    parts = re.split(rf"\s?{given['section_spliter']}\s?\d+\s?", text)
    return len(parts) - 1 >= given["num_sections"]


def _json(text: str, given: Arguments) -> bool:
    bare = re.sub(r"^```(?:json)?", "", text.strip(), flags=re.IGNORECASE).removesuffix("```")
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, given: Arguments) -> bool:
    return any(title.strip("<>").strip() for title in re.findall(r"<<[^\n]+>>", text))


# --- combination, start and end, case, punctuation ----------------------------------------------


def _two_responses(text: str, given: Arguments) -> bool:
    parts = text.split("******")
    filled = [part.strip() for part in parts if part.strip()]
    return _filled_parts(parts) == 2 and filled[0] != filled[1]


def _repeat(text: str, given: Arguments) -> bool:
    return text.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _end(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _quotation(text: str, given: Arguments) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _capital_words(text: str, given: Arguments) -> bool:
    from nltk.tokenize.destructive import NLTKWordTokenizer  # slow

    count = sum(word.isupper() for word in NLTKWordTokenizer().tokenize(text))
    return _compare(count, given["capital_relation"], given["capital_frequency"])


def _upper(text: str, given: Arguments) -> bool:
    return text.isupper() and _language(text, "en")


def _lower(text: str, given: Arguments) -> bool:
    return text.islower() and _language(text, "en")


CHECKS: dict[str, Callable[[str, Arguments], bool]] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": lambda text, given: _language(text, given["language"]),
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _upper,
    "change_case:english_lowercase": _lower,
    "punctuation:no_comma": lambda text, given: "," not in text,
}
