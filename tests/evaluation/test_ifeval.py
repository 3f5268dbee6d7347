import json

import pytest

from kdscope.data.records import Item
from kdscope.errors import DataError
from kdscope.evaluation.grading import grade
from kdscope.evaluation.ifeval import CHECKS, count_sentences, followed

ENGLISH = "This is a plain English sentence about the weather of today."

# instruction, arguments, a response that follows it, one that does not
CASES = [
    ("keywords:existence", {"keywords": ["mom", "mother"]}, "Mom is my MOTHER", "my mom"),
    (
        "keywords:frequency",
        {"relation": "at least", "keyword": "war", "frequency": 2},
        "war War",
        "war",
    ),
    (
        "keywords:frequency",
        {"relation": "less than", "keyword": "war", "frequency": 2},
        "war",
        "war war",
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "rocket", "a rock!"),
    (
        "keywords:letter_frequency",
        {"let_relation": "at least", "letter": "#", "let_frequency": 2},
        "#a #b",
        "#",
    ),
    (
        "keywords:letter_frequency",
        {"let_relation": "less than", "letter": "t", "let_frequency": 2},
        "at",
        "That",
    ),
    (
        "language:response_language",
        {"language": "de"},
        "Das ist ein ganz einfacher deutscher Satz.",
        ENGLISH,
    ),
    ("language:response_language", {"language": "kn"}, "ಇದು ಕನ್ನಡ ವಾಕ್ಯ", ENGLISH),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 3},
        "A b. C d!",
        "A b. C d! E f?",
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        "a\n***\nb",
        "a\n***\n\n***\nb",
    ),
    (
        "length_constraints:number_words",
        {"relation": "at least", "num_words": 3},
        "one two three",
        "one two",
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        'Hello\n\n"Weekend, it is',
        "Hello\n\nMonday",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a]"),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        "Text\nP. S. more",
        "Text PS more",
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        "Text\nP.P.S more",
        "P.S. more",
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}, "* a\n* b\n- c", "* a\n**b**"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "My answer is perhaps."),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*a* and **b**",
        "*a* and * *",
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
        "SECTION 1\na",
    ),
    ("detectable_format:json_format", {}, '```json\n{"a": [1]}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<Song of joy>>\nla", "<<>>\nla"),
    ("combination:two_responses", {}, "one******two", "one******one"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. Yes", "Yes, say it."),
    (
        "startend:end_checker",
        {"end_phrase": "Any questions?"},
        'Well. any questions?"',
        "Any questions? No.",
    ),
    ("startend:quotation", {}, ' "all of it" ', '"not all" of it'),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "BIG and RED",
        "BIG and red",
    ),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
    ("change_case:english_lowercase", {}, ENGLISH.lower(), ENGLISH),
    ("punctuation:no_comma", {}, "a b", "a, b"),
]


def gold(*pairs):
    return json.dumps([list(pair) for pair in pairs])


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES)
def test_each_instruction(name, arguments, good, bad):
    assert followed(good, "p", gold((name, arguments)), loose=False) == "1"
    assert followed(bad, "p", gold((name, arguments)), loose=False) == "0"


def test_all_25_kinds_are_covered():
    assert len(CHECKS) == 25
    assert {case[0] for case in CASES} == set(CHECKS)


def test_loose_forgives_an_introduction_and_emphasis():
    wanted = gold(("startend:quotation", {}))
    text = 'Here you are:\n"quoted"'
    assert followed(text, "p", wanted, loose=False) == "0"
    assert followed(text, "p", wanted, loose=True) == "1"
    assert followed('*"quoted"*', "p", wanted, loose=True) == "1"


def test_items_are_right_if_every_instruction_is_followed():
    both = gold(("punctuation:no_comma", {}), ("detectable_format:title", {}))
    item = Item("ifeval", "1000", "p", both, "verifiable")
    graded = grade("no title", item)
    assert (graded.answer_strict, graded.answer_flexible, graded.answer_paper) == ("10", "10", None)
    assert (graded.valid, graded.correct, graded.score) == (True, False, 0.0)
    assert grade("<<t>> text", item).correct
    assert not grade("", item).valid


def test_unknown_instructions_and_relations_are_refused():
    with pytest.raises(DataError, match="no verifiable instruction 'a:b'"):
        followed("x", "p", gold(("a:b", {})), loose=False)
    given = {"relation": "around", "num_words": 3}
    with pytest.raises(DataError, match="'around'"):
        followed("x", "p", gold(("length_constraints:number_words", given)), loose=False)


def test_sentences_are_not_cut_at_abbreviations():
    assert count_sentences("Dr. Smith met J. Doe. They spoke, e.g. of U.S. law! Good?") == 3
    assert count_sentences("no end") == 1
    assert count_sentences("") == 0
