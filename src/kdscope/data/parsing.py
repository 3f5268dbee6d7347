"""Records of every known form as Examples and Items.

Each function takes one record and says in a DataError what is wrong with it and where it stands.
Questions are kept as they stand, blanks included (the paper's prompts have them); outputs are
stripped.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdscope.data.forms import canonical
from kdscope.data.readers import Record
from kdscope.data.records import Example, Item
from kdscope.data.tasks import Task
from kdscope.errors import DataError

# Column names that mean the same, in order of preference.
INSTRUCTION = ("instruction", "prompt", "question", "original_text", "sQuestion", "query")
CONTEXT = ("input", "context")
OUTPUT = ("output", "response", "completion", "answer")

_ANNOTATION = re.compile(r"<<[^<>]*>>")
_FORMAT_LINE = re.compile(r"Answer format: (\S+)\s*$")
_LETTER_CHOICE = re.compile(r"\(([A-Z])\)")


def text_of(record: Record, names: tuple[str, ...], what: str) -> str:
    """The first present column of ``names`` as text. Raises DataError if absent or empty."""
    name = next((name for name in names if record.fields.get(name) is not None), None)
    if name is None:
        raise DataError(
            f"{record.where}: a record without {what}; one of the columns {', '.join(names)} must "
            f"be there (found {', '.join(map(str, record.fields)) or 'none'}), or name it in a "
            "column map"
        )
    value = record.fields[name]
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        raise DataError(f"{record.where}: {name!r} must be text, not {type(value).__name__}")
    text = str(value)
    if not text.strip():
        raise DataError(f"{record.where}: {name!r} is empty; a record needs its {what}")
    return text


def optional_text(record: Record, names: tuple[str, ...]) -> str:
    """The first present column of ``names`` as text, or the empty string."""
    value = next((record.fields[name] for name in names if record.fields.get(name) is not None), "")
    return str(value).strip()


def renamed(record: Record, columns: Mapping[str, str], known: Sequence[str]) -> Record:
    """A record under a column map (``{instruction: question, output: answer}``); ``known`` are its fields.

    Raises:
        DataError: the map names a column that the record does not have, or a field that does not
            exist.
    """
    fields = dict(record.fields)
    for field, column in columns.items():
        if field not in known:
            listed = f"{', '.join(known[:-1])} and {known[-1]}"
            raise DataError(f"a column map has the fields {listed}, not {field!r}")
        if column not in record.fields:
            raise DataError(
                f"{record.where}: the column map names {column!r}, which is not there; "
                f"the columns are {', '.join(map(str, record.fields))}"
            )
        fields[field] = record.fields[column]
    return Record(record.where, fields)


# --- training examples --------------------------------------------------------------------------


def example_of_record(record: Record, id: str) -> Example:
    """LLM-Adapters form, prompt / answer columns and their kin."""
    return Example(
        id,
        text_of(record, INSTRUCTION, "an instruction"),
        optional_text(record, CONTEXT),
        text_of(record, OUTPUT, "an answer").strip(),
    )


def example_of_gsm8k(record: Record, id: str) -> Example:
    """GSM8K's own form: annotations removed, ``#### N`` written as "The answer is N."."""
    question = text_of(record, ("question",), "a question")
    solution, mark, answer = text_of(record, ("answer",), "an answer").partition("####")
    if not mark or not answer.strip():
        raise DataError(f"{record.where}: a GSM8K answer must end in '#### <number>'")
    steps = _ANNOTATION.sub("", solution).strip()
    return Example(id, question, "", f"{steps}\nThe answer is {answer.strip()}.")


def example_of_self_instruct(record: Record, id: str) -> Example:
    """Self-Instruct's form: the first instance of a task."""
    instance = _first_instance(record)
    return Example(
        id,
        text_of(record, ("instruction",), "an instruction"),
        optional_text(instance, ("input",)),
        text_of(instance, ("output",), "an answer").strip(),
    )


def _first_instance(record: Record) -> Record:
    instances = record.fields.get("instances")
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
        raise DataError(
            f"{record.where}: 'instances' must be a list of objects with input and output"
        )
    return Record(record.where, instances[0])


# --- items of tests -----------------------------------------------------------------------------


def item_of_adapters(record: Record, task: Task, item: str) -> Item:
    """LLM-Adapters form ``{instruction, input, output, answer}``; options stand in the text."""
    question = text_of(record, ("instruction",), "an instruction")
    answer = text_of(record, ("answer",), "an answer").strip()
    options = listed_options(question, task)
    gold = canonical(answer, task.form)
    if gold is None or (options and gold not in options):
        choices = f"one of {', '.join(options)}" if options else f"a {task.form}"
        raise DataError(f"{record.where}: the answer {answer!r} of {task.title} must be {choices}")
    reference = optional_text(record, ("output",)) or None
    return Item(
        task.id, item, question, gold, task.form, options, optional_text(record, CONTEXT), reference
    )


def listed_options(question: str, task: Task) -> tuple[str, ...] | None:
    """The options that a question lists; the task's own where it lists none."""
    if task.form in {"word", "boolean"}:
        listed = _FORMAT_LINE.search(question)
        return tuple(listed[1].lower().split("/")) if listed else task.options
    if task.form == "letter":
        found = tuple(
            dict.fromkeys(_LETTER_CHOICE.findall(question.partition("Answer Choices:")[2]))
        )
        return found or task.options
    return None


def item_of_mawps(record: Record, task: Task, item: str) -> Item:
    """MWPToolkit's form ``{original_text, equation, ans}``."""
    question = text_of(record, ("original_text",), "a question")
    answer = text_of(record, ("ans",), "an answer")
    gold = canonical(answer, task.form)
    if gold is None:
        raise DataError(f"{record.where}: the answer {answer!r} must be a number")
    return Item(task.id, item, question, gold, task.form)


def item_of_instruct(record: Record, task: Task, item: str) -> Item:
    """MiniLLM's form ``{instruction, input, output}``; several outputs are several references."""
    output = record.fields.get("output")
    references = (
        [str(text) for text in output if str(text).strip()] if isinstance(output, list) else None
    )
    if references is not None and not references:
        raise DataError(f"{record.where}: 'output' is an empty list; an item needs an answer")
    gold = references[0] if references else text_of(record, ("output",), "an answer")
    several = (
        json.dumps(references, ensure_ascii=False) if references and len(references) > 1 else None
    )
    return Item(
        task.id,
        item,
        text_of(record, ("instruction",), "an instruction"),
        gold.strip(),
        task.form,
        input=optional_text(record, ("input",)),
        reference=several,
    )


def item_of_self_instruct(record: Record, task: Task, item: str) -> Item:
    """Self-Instruct's form; the item keeps the id of its source."""
    example = example_of_self_instruct(record, item)
    name = str(record.fields.get("id", item))
    return Item(task.id, name, example.instruction, example.output, task.form, input=example.input)


def item_of_ifeval(record: Record, task: Task, item: str) -> Item:
    """IFEval's form; the gold is canonical JSON of the instructions to be followed."""
    ids, kwargs = record.fields.get("instruction_id_list"), record.fields.get("kwargs")
    if (
        not isinstance(ids, list)
        or not isinstance(kwargs, list)
        or not ids
        or len(ids) != len(kwargs)
    ):
        raise DataError(
            f"{record.where}: 'instruction_id_list' and 'kwargs' must be lists of one length"
        )
    pairs = [[name, _present(values)] for name, values in zip(ids, kwargs, strict=True)]
    return Item(
        task.id,
        str(record.fields.get("key", item)),
        text_of(record, ("prompt",), "a prompt"),
        json.dumps(pairs, sort_keys=True, ensure_ascii=False),
        task.form,
    )


def _present(values: Any) -> dict[str, Any]:
    """The given arguments only: the hub's copy fills the others with null."""
    return {name: value for name, value in (values or {}).items() if value is not None}


EXAMPLE_READERS: dict[str, Callable[[Record, str], Example]] = {
    "records": example_of_record,
    "gsm8k": example_of_gsm8k,
    "self_instruct": example_of_self_instruct,
}

ITEM_READERS: dict[str, Callable[[Record, Task, str], Item]] = {
    "adapters": item_of_adapters,
    "mawps": item_of_mawps,
    "instruct": item_of_instruct,
    "self_instruct": item_of_self_instruct,
    "ifeval": item_of_ifeval,
}
