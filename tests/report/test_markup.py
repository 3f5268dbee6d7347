"""Model text as HTML: escaped, visible, marked."""

import pytest
from markupsafe import Markup
from synthetic_study import HOSTILE

from kdscope.report.markup import marked, visible


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_the_text_becomes_markup(text: str) -> None:
    out = str(marked(text, text, "other words"))
    rest = out
    for tag in (
        "<mark>",
        "</mark>",
        "</span>",
        *(f'<span class="{c}">' for c in ("d", "q", "d q")),
    ):
        rest = rest.replace(tag, "")
    assert "<" not in rest
    assert Markup(rest).unescape() == visible(text)


def test_control_and_direction_marks_are_written_out() -> None:
    assert visible("a\u202eb\x00\n\tc") == "a⟨U+202E⟩b⟨U+0000⟩\n\tc"


def test_the_last_place_of_the_answer_is_marked() -> None:
    assert str(marked("4 + 4 = 8, so 8 of 18.", "8")).endswith("so <mark>8</mark> of 18.")


def test_equations_and_differences() -> None:
    out = str(marked("Add: 2 + 3 = 5 apples", None, "Add: 2 + 3 = 6 apples"))
    assert '<span class="q">2 + 3 = </span><span class="d q">5</span>' in out


def test_empty_text_says_so() -> None:
    assert "no text" in marked(None)
