"""Prompts: one template object for training, teacher generation and evaluation.

``clean`` writes one string everywhere and never ends in whitespace, so that a tokenizer cuts the
text at the same place in training and in evaluation. ``paper`` is byte for byte what the paper's
reference uses: Alpaca's public wording with sixteen blanks before every line but the first, and
strings for training and for evaluation that differ (two blanks against one after the first
sentence, blanks on empty lines, a final line of blanks).

Source: DESIGN, section 5; the SHA-256 of both paper strings is a test.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kdscope.errors import DataError

# What a model writes when it runs on into a new question of its own.
RUN_ON = ("### Instruction:", "### Input:", "### Response:", "### Question:")


class Template(Protocol):
    """How a question and its response become text."""

    @property
    def name(self) -> str:
        """As written in a study file."""
        ...

    @property
    def special_tokens(self) -> bool:
        """Whether the tokenizer adds its own opening tokens; False where the string brings them."""
        ...

    def prompt(self, instruction: str, input: str = "") -> str:
        """The string that a model continues in evaluation."""
        ...

    def training_prompt(self, instruction: str, input: str = "") -> str:
        """The string before the response in training (for ``clean`` the prompt itself)."""
        ...

    def response(self, output: str) -> str:
        """What follows the training prompt, before the end token."""
        ...


@dataclass(frozen=True)
class Clean:
    """``### Instruction`` / ``### Input`` / ``### Response`` without leading or trailing blanks."""

    name: str = "clean"
    special_tokens: bool = True

    def prompt(self, instruction: str, input: str = "") -> str:
        """Ends in ``### Response:``; the response brings its own newline."""
        context = f"\n\n### Input:\n{input.strip()}" if input.strip() else ""
        return f"### Instruction:\n{instruction.strip()}{context}\n\n### Response:"

    def training_prompt(self, instruction: str, input: str = "") -> str:
        """The same string as in evaluation."""
        return self.prompt(instruction, input)

    def response(self, output: str) -> str:
        """The output on a line of its own."""
        return "\n" + output.strip()


_INDENT = " " * 16
_ALONE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
_PAIRED = (
    "Below is an instruction that describes a task, "
    "paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)


@dataclass(frozen=True)
class Paper:
    """The reference's strings, faults included: nothing is stripped."""

    name: str = "paper"
    special_tokens: bool = True

    def prompt(self, instruction: str, input: str = "") -> str:
        """One blank after the wording without input, none with it; ends in sixteen blanks."""
        opening = _PAIRED if input else f"{_ALONE} "
        return _paper_text(opening, "\n\n", instruction, input)

    def training_prompt(self, instruction: str, input: str = "") -> str:
        """Two blanks after the wording without input, one with it; blanks on empty lines."""
        opening = f"{_PAIRED} " if input else f"{_ALONE}  "
        return _paper_text(opening, f"\n{_INDENT}\n", instruction, input)

    def response(self, output: str) -> str:
        """The output as it stands."""
        return output


def _paper_text(opening: str, gap: str, instruction: str, input: str) -> str:
    sections = [f"### Instruction:\n{_INDENT}{instruction}"]
    if input:
        sections.append(f"### Input:\n{_INDENT}{input}")
    sections.append(f"### Response:\n{_INDENT}")
    return f"{opening}\n\n{_INDENT}" + f"{gap}{_INDENT}".join(sections)


TEMPLATES: dict[str, Template] = {"clean": Clean(), "paper": Paper()}


@dataclass(frozen=True)
class Chat:
    """A model's own chat template: the question is the user's turn, the response its own."""

    render: Callable[..., str]
    name: str = "chat"
    special_tokens: bool = False

    def prompt(self, instruction: str, input: str = "") -> str:
        """Ends as the model's template opens the assistant's turn."""
        content = f"{instruction.strip()}\n\n{input.strip()}".strip()
        turns = [{"role": "user", "content": content}]
        return self.render(turns, tokenize=False, add_generation_prompt=True)

    def training_prompt(self, instruction: str, input: str = "") -> str:
        """The same string as in evaluation."""
        return self.prompt(instruction, input)

    def response(self, output: str) -> str:
        """The output alone; the template's end token is the model's end token."""
        return output.strip()


def chat_template(tokenizer: Any) -> Template:
    """The template of a tokenizer that has a chat template.

    Raises:
        DataError: it has none.
    """
    if not getattr(tokenizer, "chat_template", None):
        name = getattr(tokenizer, "name_or_path", "this model")
        raise DataError(
            f"{name} has no chat template, so `prompt: chat` cannot be written for it; "
            f"choose one of {', '.join(TEMPLATES)}"
        )
    return Chat(tokenizer.apply_chat_template)


def find_template(name: str, tokenizer: Any = None) -> Template:
    """A template by name; ``chat`` is the tokenizer's own. Raises DataError with the valid names."""
    if name == "chat":
        return chat_template(tokenizer)
    if name not in TEMPLATES:
        raise DataError(
            f"there is no prompt template {name!r}; choose one of {', '.join(TEMPLATES)} "
            "(or `chat` for models that bring their own)"
        )
    return TEMPLATES[name]


def template_digest(template: Template) -> str:
    """16 hex digits that change with any string that a template writes."""
    texts = [template.prompt("Q"), template.prompt("Q", "I"), template.training_prompt("Q"),
             template.training_prompt("Q", "I"), template.response("A")]  # fmt: skip
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def encode_prompts(tokenizer: Any, template: Template, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts that the template wrote, in training, generation and scoring alike."""
    return tokenizer(list(prompts), add_special_tokens=template.special_tokens)["input_ids"]
