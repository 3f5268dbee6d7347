import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdscope.data.forms import canonical, canonical_number, same_answer


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("576.0", "576"),
        ("9.8", "9.8"),
        ("4", "4"),
        ("1,234.50", "1234.5"),
        ("-0.0", "0"),
        ("+5", "5"),
        ("1/2", "0.5"),
        ("-7/2", "-3.5"),
        (".5", "0.5"),
        ("1e3", "1000"),
        ("007", "7"),
        ("−3", "-3"),
        ("9" * 40, "9" * 40),
        ("1/0", None),
        ("abc", None),
        ("", None),
        ("1e999", None),
        ("inf", None),
        ("nan", None),
        ("5 apples", None),
        ("1" * 5000, "1" * 5000),
    ],
)
def test_canonical_numbers(text, spelled):
    assert canonical_number(text) == spelled


@given(st.integers(-(10**12), 10**12))
def test_integers_keep_their_spelling(number):
    assert canonical_number(str(number)) == str(number)
    assert canonical_number(f"{number:,}.0") == str(number)


@given(st.decimals(-1000, 1000, places=4))
def test_canonical_is_idempotent(number):
    once = canonical_number(str(number))
    assert once is not None
    assert canonical_number(once) == once


def test_canonical_of_choices():
    assert canonical(" b ", "letter") == "B"
    assert canonical("AB", "letter") is None
    assert canonical("Answer1", "word") == "answer1"
    assert canonical("", "text") is None


@pytest.mark.parametrize(
    ("a", "b", "form", "same"),
    [
        ("9.8", "9.8004", "number", True),
        ("9.8", "9.802", "number", False),
        ("4", "4", "number", True),
        ("1000000", "1000001", "number", True),
        ("1000", "1001", "number", False),
        ("A", "A", "letter", True),
        ("A", "B", "letter", False),
        (None, None, "number", False),
        ("5", None, "number", False),
        ("x", "5", "number", False),
    ],
)
def test_same_answer(a, b, form, same):
    assert same_answer(a, b, form) is same
    assert same_answer(b, a, form) is same
