"""Numbers in running text, read as a person reads them.

Signs, currency, separators, decimals, fractions, mixed numbers, powers of ten, percent, LaTeX and
magnitude words are understood. A minus between two numbers is a subtraction: ``7-3`` holds 7 and 3,
never -3.
"""

import re
from decimal import Decimal

from kdscope.data.forms import canonical_number

_LATEX = (
    (re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"\1/\2"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|boxed)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\times|\\cdot"), "×"),
    (re.compile(r"\\div"), "/"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:! ()\[\]]|\\left|\\right|\*\*|__"), " "),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\$(?=[^$\d\s-]|\s|$)"), " "),  # the closing half of $...$
)

_NUMBER = re.compile(
    r"""
    (?<!\w) (?<!\d[.,])
    (?P<sign> (?<![\d)%]) (?<![\d)%]\s) [-−] | (?:\b(?:negative|minus)\s) )?
    (?P<currency> [$€£¥₹]\s? )?
    (?P<inner> [-−] )?
    (?P<digits>
        \d{1,3} (?:,\d{3})+ (?!\d)
      | (?(currency) \d{1,3} (?:[ \u00a0\u202f]\d{3})+ (?![\d,.]*\d) | (?!) )
      | \d+
      | (?=\.\d)
    )
    (?P<decimals> \.\d+ )?
    (?P<exponent> [eE][-+]?\d+ (?!\w) )?
    (?: \s?[×x*]\s?10\s?\^\s?\{?(?P<power>[-−]?\d+)\}? )?
    (?: (?P<mixed> \s\d+\s?/\s?\d+ ) | (?P<over> \s?/\s?\d+ (?:\.\d+)? ) )? (?!\.?\d)
    (?: \s?(?P<scale> thousand|million|billion|trillion )\b )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[;\n]")
_WORKED = re.compile(r"^[\s$€£(]*[-−]?[\d.][^=\w]*(?:[\d.,][^=A-Za-z]*)?=")


def plain(text: str) -> str:
    """Text with LaTeX commands and emphasis written plainly."""
    for pattern, written in _LATEX:
        text = pattern.sub(written, text)
    return text


def numbers_in(text: str) -> list[str]:
    """All numbers of a text in canonical spelling, in order."""
    found = (_value(match) for match in _NUMBER.finditer(plain(text)))
    return [number for number in found if number is not None]


def stated_number(text: str) -> str | None:
    """The number that the first sentence of a text states, after an answer marker; else None.

    A worked sum (``4 + 16 + 20 = 40``) states its result; of several numbers the first is taken.
    """
    text = plain(text).lstrip(" \t\n:*=")
    end = _SENTENCE_END.search(text)
    sentence = text[: end.start()] if end else text
    worked = _WORKED.match(sentence)
    if worked and re.search(r"[+*/×÷x]|[\d)]\s*[-−]", worked[0]):
        results = numbers_in(sentence.rpartition("=")[2])
        if results:
            return results[0]
    numbers = numbers_in(sentence)
    return numbers[0] if numbers else None


def _value(match: re.Match[str]) -> str | None:
    digits = (
        re.sub(r"[,\s]", "", match["digits"])
        + (match["decimals"] or "")
        + (match["exponent"] or "")
    )
    number = canonical_number(digits)
    if number is None:
        return None
    if match["mixed"]:
        part = canonical_number(re.sub(r"\s", "", match["mixed"]))
        number = canonical_number(str(Decimal(number) + Decimal(part))) if part else number
    elif match["over"]:
        number = canonical_number(number + re.sub(r"\s", "", match["over"])) or number
    power = int((match["power"] or "0").replace("−", "-")) + _SCALES.get(
        (match["scale"] or "").lower(), 0
    )
    if power and number and abs(power) <= 30:
        number = canonical_number(format(Decimal(number).scaleb(power), "f"))
    if number and (match["sign"] or match["inner"]):
        number = canonical_number(f"-{number}")
    return number
