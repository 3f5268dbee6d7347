"""Answer forms: the canonical spelling of an answer, and when two answers are the same.

Forms are ``number``, ``letter``, ``word``, ``boolean``, ``text`` and ``verifiable``. Canonical
spellings: numbers without separators, units or trailing zeros (``9.8``, ``4``), letters upper case,
words lower case.
"""

import re
from decimal import Decimal, InvalidOperation, Overflow
from fractions import Fraction

FORMS = ("number", "letter", "word", "boolean", "text", "verifiable")

ABSOLUTE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-6

_PLAIN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?", re.IGNORECASE)
_LARGEST = Decimal("1e30")


def canonical_number(text: str) -> str | None:
    """The canonical spelling of a bare number (``1,000.50`` -> ``1000.5``); None if it is not one.

    Accepts a sign, separators, a decimal point, an exponent and a fraction ``a/b``.
    """
    text = text.strip().replace(",", "").replace("−", "-")
    numerator, slash, denominator = text.partition("/")
    if slash:
        top, bottom = canonical_number(numerator), canonical_number(denominator)
        if top is None or bottom is None or Fraction(bottom) == 0:
            return None
        value = Fraction(top) / Fraction(bottom)
        return _spell(Decimal(value.numerator) / Decimal(value.denominator))
    if not _PLAIN.fullmatch(text):
        return None
    if text.lstrip("+-").isdecimal():  # of any length
        digits = text.lstrip("+-").lstrip("0") or "0"
        return f"-{digits}" if text[0] == "-" and digits != "0" else digits
    try:
        return _spell(Decimal(text))
    except (InvalidOperation, Overflow):
        return None


def _spell(value: Decimal) -> str | None:
    """At most ten decimals, no exponent, no trailing zeros, no negative zero."""
    if abs(value) > _LARGEST:
        return None
    if value == value.to_integral_value():
        return str(int(value))
    spelled = f"{round(value, 10):f}".rstrip("0").rstrip(".")
    return "0" if spelled in {"-0", ""} else spelled


def canonical(answer: str, form: str) -> str | None:
    """The canonical spelling of an answer of a form; None if it cannot be one."""
    answer = answer.strip()
    if form == "number":
        return canonical_number(answer)
    if form == "letter":
        return answer.upper() if re.fullmatch(r"[A-Za-z]", answer) else None
    if form in {"word", "boolean"}:
        return answer.lower() or None
    return answer or None


def same_answer(a: str | None, b: str | None, form: str) -> bool:
    """Whether two canonical answers are the same; an absent answer equals nothing.

    Numbers may differ by 1e-3 plus 1e-6 of the larger one.
    """
    if a is None or b is None:
        return False
    if form != "number" or a == b:
        return a == b
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return abs(x - y) <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * max(abs(x), abs(y))
