import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdscope.data.records import Item
from kdscope.evaluation.extraction import extract, without_run_on
from kdscope.evaluation.numbers import numbers_in, stated_number

NUMBER = Item("gsm8k", "0", "q", "4", "number")
LETTER = Item("aqua", "0", "q", "C", "letter", tuple("ABCDE"))
WORD = Item("arc-e", "0", "q", "answer2", "word", ("answer1", "answer2", "answer3", "answer4"))
TRUTH = Item("boolq", "0", "q", "true", "boolean", ("true", "false"))

# text, strict, flexible, paper
NUMBERS = [
    ("The answer is 1,234.50.", "1234.5", "1234.5", "1234.5"),
    ("The answer is $1,000,000.", "1000000", "1000000", "1000000"),
    ("The answer is 20 hours.", "20", "20", "20"),
    ("The answer is -5.", "-5", "-5", "-5"),
    ("The answer is -$110.", "-110", "-110", "110"),
    ("the answer is −$110.", "-110", "-110", "110"),
    ("The answer is $-3.", "-3", "-3", "-3"),
    ("The answer is negative 5", "-5", "-5", "5"),
    ("He paid 7-3=4 dollars", None, "4", "4"),
    ("7-3", None, "3", "-3"),
    ("on 2-3 days", None, "3", "-3"),
    ("The answer is 7-3 = 4.", "4", "4", "4"),
    ("The answer is 10 - 12 = -2.", "-2", "-2", "-2"),
    ("The answer is 40 - 29 = 11 holes. They dug 11 on day 4.", "11", "11", "4"),
    ("The answer is 4 + 16 + 20 = 40.", "40", "40", "40"),
    ("The answer is 4 blue boxes and 3 red boxes.", "4", "4", "3"),
    ("The answer is 25%.", "25", "25", "25"),
    ("The answer is 15\\%.", "15", "15", "15"),
    ("The answer is 1/2.", "0.5", "0.5", "2"),
    ("The answer is 1 1/2 cups", "1.5", "1.5", "2"),
    ("The answer is .5", "0.5", "0.5", "5"),
    ("The answer is 12.0", "12", "12", "12"),
    ("The answer is $118 000.", "118000", "118000", "0"),
    ("The answer is 3.5e3", "3500", "3500", "3"),
    ("The answer is 2.5 × 10^6", "2500000", "2500000", "6"),
    ("The answer is 3 million.", "3000000", "3000000", "3"),
    ("The answer is 3:00 pm", "3", "3", "0"),
    ("The answer is \\boxed{42}.", "42", "42", "42"),
    ("\\boxed{\\frac{3}{4}}", None, "0.75", "4"),
    ("so $x = \\boxed{1{,}234}$", None, "1234", "234"),
    ("The answer is $2.5 \\times 10^{3}$", "2500", "2500", "3"),
    ("The final answer is $5$. I hope it is correct.", "5", "5", "5"),
    ("#### 1,234", "1234", "1234", "1234"),
    ("**Answer:** 12", None, "12", "12"),
    ("The answer is **$15**.", "15", "15", "15"),
    ("So the answer would be 14 dollars", None, "14", "14"),
    ("The answer to the question is 8.", None, "8", "8"),
    ("answer is x = 7", None, "7", "7"),
    ("Rs.500", None, "500", "500"),
    ("It costs €77.", None, "77", "77"),
    ("She has 3, 4, and 5.", None, "5", "5"),
    ("The answer is 2. No: the answer is 3.", "3", "3", "3"),
    ("The answer is 5.\n\n### Instruction:\nAnd 9?", "5", "5", "9"),
    ("The answer is 5.\n### Response:\n 9", "5", "5", "5"),
    ("The answer is 5.\nQuestion: 7?", "5", "5", "7"),
    ("The answer is 5<|endoftext|>6", "5", "5", "6"),
    ("The answer is unknown", None, None, None),
    ("The total is 5 and the answer is five.", None, "5", "5"),
    ("nothing", None, None, None),
    ("", None, None, None),
]


@pytest.mark.parametrize(("text", "strict", "flexible", "paper"), NUMBERS)
def test_numbers(text, strict, flexible, paper):
    assert extract(text, NUMBER) == (strict, flexible, paper)


LETTERS = [
    ("The answer is (C).", "C", "C", "C"),
    ("The answer is C.", "C", "C", "C"),
    ("The answer is **C**.", "C", "C", "C"),
    ("The answer is $C$.", "C", "C", "C"),
    ("A man left. The answer is (D).", "D", "D", "A"),
    ("Rationale: Bill ran 5 km.The answer is (E).", "E", "E", "B"),
    ("answer: c", None, "C", None),
    ("The answer is (b)", "B", "B", None),
    ("Answer: C) 25", None, "C", "A"),
    ("C", None, "C", "C"),
    ("C) 25 apples", None, "C", "C"),
    ("The correct option is B.", None, "B", "B"),
    ("The answer is option B", None, "B", "B"),
    ("Option E is right.", None, "E", "E"),
    ("A train leaves. So it is 25 (B).", None, "B", "A"),
    ("\\boxed{\\text{D}}", None, "D", "D"),
    ("Because A is wrong.", None, "A", "B"),
    ("Therefore, B", None, "B", "B"),
    ("The answer is A train.", None, None, "A"),
    ("The answer is a number.", None, None, None),
    ("Each Cat Drinks Beer", None, None, "E"),
    ("", None, None, None),
]


@pytest.mark.parametrize(("text", "strict", "flexible", "paper"), LETTERS)
def test_letters(text, strict, flexible, paper):
    assert extract(text, LETTER) == (strict, flexible, paper)


WORDS = [
    ("the correct answer is answer2", "answer2", "answer2", "answer2"),
    ("The correct answer is Answer 3.", "answer3", "answer3", None),
    ("the correct answer is: answer2, for answer1 is not", "answer2", "answer2", "answer2"),
    ("answer1 is wrong, answer2", None, "answer2", "answer1"),
    ("the correct answer is 4", None, "answer4", None),
    ("the correct answer is 20", None, None, None),
    ("Answer: answer3", None, "answer3", "answer3"),
    ("answer12", None, None, "answer1"),
    ("answer5", None, None, "answer5"),
    ("**answer1**", None, "answer1", "answer1"),
    ("", None, None, None),
]


@pytest.mark.parametrize(("text", "strict", "flexible", "paper"), WORDS)
def test_words(text, strict, flexible, paper):
    assert extract(text, WORD) == (strict, flexible, paper)


TRUTHS = [
    ("the correct answer is true", "true", "true", "true"),
    ("True", None, "true", None),
    ("No, it is not", None, "false", None),
    ("the answer is yes", None, "true", None),
    ("untrue", None, None, "true"),
    ("maybe", None, None, None),
]


@pytest.mark.parametrize(("text", "strict", "flexible", "paper"), TRUTHS)
def test_booleans(text, strict, flexible, paper):
    assert extract(text, TRUTH) == (strict, flexible, paper)


def test_options_of_the_item_count():
    two = Item("x", "0", "q", "A", "letter", ("A", "B"))
    assert extract("The answer is C", two).flexible is None
    winogrande = Item("winogrande", "0", "q", "option1", "word", ("option1", "option2"))
    assert extract("the correct answer is option3", winogrande).flexible is None


def test_free_text_is_its_own_answer():
    item = Item("dollyeval", "0", "q", "gold", "text")
    assert extract(" Some text. \n### Instruction:\nmore", item) == (
        "Some text.", "Some text.", "Some text. \n### Instruction:\nmore",
    )  # fmt: skip
    assert extract("  ", item).flexible is None


@given(st.integers(-(10**9), 10**9))
def test_a_stated_integer_is_read_by_all(number):
    expected = str(number)
    assert extract(f"So 3 - 2 = 1. The answer is {number}.", NUMBER) == (expected,) * 3
    assert extract(f"The answer is ${number:,}.", NUMBER).flexible == expected


@given(st.text(max_size=200))
def test_no_text_breaks_an_extractor(text):
    for item in (NUMBER, LETTER, WORD, TRUTH):
        for answer in extract("The answer is " + text, item):
            assert answer is None or answer
            assert answer is None or item.form == "number" or len(answer) < 12
    assert stated_number(text) is None or numbers_in(text)


def test_run_on_is_cut_only_at_new_questions():
    assert without_run_on("a ### b\nAnswer: 5") == "a ### b\nAnswer: 5"
    assert without_run_on("a\nQ3: b") == "a"


@pytest.mark.parametrize("piece", ["\n", "answer is ", "1/", "\\boxed{", "(", "A ", "1,"])
def test_degenerate_texts_are_read(piece):
    """A collapsed model repeats itself; quadratic reading of this would take minutes."""
    for item in (NUMBER, LETTER, WORD, TRUTH):
        extract(piece * (20_000 // len(piece)), item)
