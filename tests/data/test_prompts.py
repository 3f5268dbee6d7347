import hashlib

import pytest

from kdscope.data.prompts import TEMPLATES, chat_template, find_template
from kdscope.errors import DataError


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_paper_strings_are_the_references_byte_for_byte():
    paper = TEMPLATES["paper"]
    training = paper.training_prompt("Q") + paper.response("")
    evaluation = paper.prompt("Q")
    assert len(training) == 223
    assert digest(training) == "69cbdfa218f654f36fc129be9229aae1953bf88c002eba53d202d22bbc230ead"
    assert len(evaluation) == 206
    assert digest(evaluation) == "af40c8430dd5b0d99baf6f7f39eec5eb039d36eb1cad87b022f6f706f96798ca"


def test_paper_keeps_blanks_and_input():
    paper, indent = TEMPLATES["paper"], " " * 16
    assert f"\n{indent} Q \n" in paper.prompt(" Q ")
    text = paper.training_prompt("Q", "C") + paper.response("O")
    assert text.startswith("Below is an instruction that describes a task, paired with an input")
    assert (
        f"request. \n\n{indent}### Instruction:\n{indent}Q\n{indent}\n{indent}### Input:\n" in text
    )
    assert text.endswith(f"### Response:\n{indent}O")
    assert f"request.\n\n{indent}### Instruction:" in paper.prompt("Q", "C")


@pytest.mark.parametrize(
    ("question", "context"), [("Q", ""), (" Q \n", ""), ("Q", "C "), ("Q", " ")]
)
def test_clean_is_one_string_and_never_ends_in_whitespace(question, context):
    clean = TEMPLATES["clean"]
    prompt = clean.prompt(question, context)
    assert prompt == prompt.rstrip()
    assert clean.training_prompt(question, context) == prompt
    assert clean.response("O") == "\nO"


def test_clean_wording():
    assert TEMPLATES["clean"].prompt("Q") == "### Instruction:\nQ\n\n### Response:"
    assert (
        TEMPLATES["clean"].prompt("Q", "C")
        == "### Instruction:\nQ\n\n### Input:\nC\n\n### Response:"
    )


class Talker:
    chat_template = "{{ messages }}"
    name_or_path = "talker"

    def apply_chat_template(self, turns, tokenize, add_generation_prompt):
        assert add_generation_prompt
        assert not tokenize
        return "".join(f"<{turn['role']}>{turn['content']}" for turn in turns) + "<assistant>"


def test_chat_template_is_the_models_own():
    template = chat_template(Talker())
    assert template.prompt("Q", "C") == "<user>Q\n\nC<assistant>"
    assert template.training_prompt("Q") == template.prompt("Q")
    mute = Talker()
    mute.chat_template = ""
    with pytest.raises(DataError, match="talker has no chat template"):
        chat_template(mute)


def test_unknown_template_lists_the_valid_ones():
    with pytest.raises(DataError, match="clean, paper"):
        find_template("alpaca")
