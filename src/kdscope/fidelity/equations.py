r"""Equations in a solution text: what was computed, from which numbers, and whether it is true.

An equation is an arithmetic expression, an equals sign and the stated result: ``48 / 2 = 24``,
``$3 x 4 apples = $12``, ``20% of 50 is equal to 10``. Units, currency signs and GSM8K's
``<<48/2=24>>`` annotations are passed over; ``x``, ``×``, ``\times``, "times" and their like are
operators.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

_ANNOTATION = re.compile(r"<<[^<>]*>>")
_FRACTION = re.compile(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}")
_SPOKEN = [
    (re.compile(pattern, re.IGNORECASE), symbol)
    for pattern, symbol in (
        (r"\\times|\\cdot|×|·|\bmultiplied by\b|\btimes\b", " * "),
        (r"\\div|÷|\bdivided by\b", " / "),
        (r"\bplus\b", " + "),
        (r"\bminus\b|−|–(?=\s*[\d$(])", " - "),
        (r"\b(?:is )?equal(?:s| to)\b", " = "),
        (r"(?<=[\d)%a-z])\s+x\s+(?=[$€£(\d])|(?<=\d)x(?=[$\d])", " * "),
        (r"%\s+of\b", "% * "),
        (r"(?<=\d)\((?=[\d.$])", " * ("),
        (r"(?<=\w)\s*/\s*(?=[A-Za-z])", " per "),
        (r"\\[$%,!;]|\\text\{[^{}]*\}|\\[()\[\]]", lambda m: "%" if m.group() == "\\%" else " "),
    )
]
_TOKEN = re.compile(
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
    r"|(?P<equals>=)"
    r"|(?P<operator>[-+*/()])"
    r"|(?P<percent>%)"
    r"|(?P<money>[$€£])"
    r"|(?P<word>[A-Za-z][A-Za-z'’-]*)"
    r"|(?P<break>\n|[.;:,?!](?=\s|$))"
    r"|(?P<other>\S)"
)
_UNKNOWNS = "xyznXYZN"
_UNITS = 3  # words between two parts of one expression


@dataclass(frozen=True)
class Equation:
    """One computed step.

    Attributes:
        expression: canonical spelling of the left side: operands sorted where order does not
            matter.
        operations: operators used, sorted.
        operands: numbers used, sorted.
        actual: value of the left side; None for a division by zero.
        stated: the result that the text gives.
        decimals: decimals of the stated result, for rounding.
    """

    expression: str
    operations: tuple[str, ...]
    operands: tuple[Fraction, ...]
    actual: Fraction | None
    stated: Fraction
    decimals: int = 0

    @property
    def valid(self) -> bool:
        """Whether the stated result is the value of the left side, rounding allowed.

        A stated decimal may be rounded in its last place; a whole number from 10 on to the unit.
        """
        if self.actual is None:
            return False
        gap = abs(self.actual - self.stated)
        rounded = self.decimals > 0 or abs(self.actual) >= 10
        return gap == 0 or (rounded and gap <= Fraction(1, 2) / 10**self.decimals)

    def __str__(self) -> str:
        return f"{self.expression}={_spell(self.stated)}"


class _Token(NamedTuple):
    kind: str
    text: str


_NOTHING = _Token("", "")


@lru_cache(maxsize=1 << 12)
def _value(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


@lru_cache(maxsize=1 << 14)
def parse(text: str) -> tuple[Equation, ...]:
    """All equations of a text, in order."""
    if "=" not in text and "equal" not in text:
        return ()
    found: list[Equation] = []
    tokens = _tokens(text)
    for place, token in enumerate(tokens):
        if token.kind != "equals":
            continue
        left = _left_side(tokens, place)
        reader = _Reader(left or [])
        node = reader.read()
        right = _right_side(tokens, place, node.value) if node else None
        if node is not None and right is not None:
            operations, operands = tuple(sorted(reader.operations)), tuple(sorted(reader.operands))
            found.append(Equation(node.spelling, operations, operands, node.value, *right))
    return tuple(found)


def _tokens(text: str) -> list[_Token]:
    text = _ANNOTATION.sub("", text)
    text = _FRACTION.sub(r" (\1)/(\2) ", text)
    for pattern, symbol in _SPOKEN:
        text = pattern.sub(symbol, text)
    return [_Token(match.lastgroup or "", match.group()) for match in _TOKEN.finditer(text)]


def _left_side(tokens: list[_Token], place: int) -> list[_Token] | None:
    """The expression before an equals sign; None if there is none, or one with unknowns."""
    kept: list[_Token] = []
    words = 0
    for i in range(place - 1, -1, -1):
        token, before = tokens[i], tokens[i - 1] if i else _NOTHING
        if token.kind in ("number", "operator", "percent"):
            kept.append(token)
            words = 0
        elif token.kind == "word":
            words += 1
            binary = before.kind == "operator" and before.text in "+-*/"
            # A word before an operand belongs to the sentence, one after an operand is its unit.
            if words > _UNITS or (kept and kept[-1].kind == "number" and not binary):
                break
            starts = bool(kept) and kept[-1].kind == "operator" and before.kind != "number"
            if len(token.text) == 1 and (token.text in _UNKNOWNS or starts):
                return None
        elif token.kind != "money":
            break
    kept.reverse()
    return _trim(kept)


def _trim(kept: list[_Token]) -> list[_Token] | None:
    """The longest end of the tokens that is a complete expression with an operator."""
    for start in range(len(kept)):
        part = kept[start:]
        if part[0].kind == "operator" and part[0].text != "(":
            continue
        if not any(t.kind == "operator" and t.text in "+-*/" for t in part):
            return None
        if _Reader(part).complete():
            return part
    return None


def _right_side(
    tokens: list[_Token], place: int, actual: Fraction | None
) -> tuple[Fraction, int] | None:
    """The result stated after an equals sign, and its decimals; None if no number follows.

    In ``a = b + c = d`` the first result is ``b``, unless ``b + c`` has the value of ``a``.
    """
    kept: list[_Token] = []
    for token in tokens[place + 1 :]:
        if token.kind in ("number", "operator", "percent"):
            kept.append(token)
        elif token.kind == "word" and not kept:
            return None
        elif token.kind not in ("money", "word"):
            break
    while kept and (kept[-1].kind == "operator" and kept[-1].text != ")"):
        kept.pop()
    whole = _Reader(kept).read() if len(kept) > 1 else None
    if whole is not None and whole.value is not None and whole.value == actual:
        return whole.value, 0
    negative = bool(kept) and kept[0].text == "-"
    if len(kept) <= negative or kept[negative].kind != "number":
        return None
    text = kept[negative].text
    value, decimals = _value(text), len(text.partition(".")[2])
    if len(kept) > negative + 1 and kept[negative + 1].kind == "percent":
        value, decimals = value / 100, decimals + 2
    return (-value if negative else value), decimals


@dataclass(frozen=True)
class _Node:
    """A read expression: its value (None after a division by zero) and its canonical spelling."""

    value: Fraction | None
    spelling: str


class _Reader:
    """Reads an expression; a chain of + - or of * / becomes one sorted node."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens, self.at = tokens, 0
        self.operations: list[str] = []
        self.operands: list[Fraction] = []

    def complete(self) -> bool:
        return self.read() is not None

    def read(self) -> _Node | None:
        """The whole expression; None if the tokens are not one."""
        node = self._chain("+-")
        return node if self.at == len(self.tokens) else None

    def _chain(self, symbols: str) -> _Node | None:
        deeper = self._factor if symbols == "*/" else lambda: self._chain("*/")
        first = deeper()
        if first is None:
            return None
        parts = [(symbols[0], first)]
        while symbol := self._next(symbols):
            node = deeper()
            if node is None:
                return None
            self.operations.append(symbol)
            parts.append((symbol, node))
        return first if len(parts) == 1 else _combine(parts, symbols)

    def _next(self, symbols: str) -> str:
        """The operator that comes next, if it is one of these."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else _NOTHING
        if token.kind == "operator" and token.text in symbols:
            self.at += 1
            return token.text
        return ""

    def _factor(self) -> _Node | None:
        if self.at >= len(self.tokens):
            return None
        token = self.tokens[self.at]
        self.at += 1
        if token.kind == "number":
            return self._number(token)
        if token.text == "-":
            node = self._factor()
            if node is None:
                return None
            return _Node(None if node.value is None else -node.value, f"-{node.spelling}")
        if token.text == "(":
            node = self._chain("+-")
            if node is None or self.at >= len(self.tokens) or self.tokens[self.at].text != ")":
                return None
            self.at += 1
            return node
        return None

    def _number(self, token: _Token) -> _Node:
        value = _value(token.text)
        while self.at < len(self.tokens) and self.tokens[self.at].kind == "percent":
            value /= 100
            self.at += 1
        self.operands.append(value)
        return _Node(value, _spell(value))


def _combine(parts: list[tuple[str, _Node]], symbols: str) -> _Node:
    """One node of a chain, its terms sorted by operator and spelling."""
    value: Fraction | None = Fraction(0) if symbols == "+-" else Fraction(1)
    for symbol, node in parts:
        if value is None or node.value is None:
            value = None
        elif symbols == "+-":
            value += node.value if symbol == "+" else -node.value
        elif symbol == "*":
            value *= node.value
        else:
            value = value / node.value if node.value else None
    ordered = sorted((symbols.index(symbol), node.spelling) for symbol, node in parts)
    spelled = "".join(f"{symbols[place]}{spelling}" for place, spelling in ordered)
    return _Node(value, f"({spelled[1:]})")


def _spell(value: Fraction) -> str:
    return (
        str(value.numerator) if value.denominator == 1 else f"{value.numerator}:{value.denominator}"
    )


def values(equations: Sequence[Equation]) -> Iterator[Fraction]:
    """The intermediate values that the equations state."""
    return (equation.stated for equation in equations)
