"""The audit of files and catalogue entries, as the command line gives them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdscope.data.audit import LEVELS, Audit, Index, audit_questions, duplicates, question_keys
from kdscope.data.readers import SUFFIXES, read_records
from kdscope.data.sources import load_examples, load_items, questions_of
from kdscope.data.tasks import TASKS, find_task, find_train_set
from kdscope.errors import DataError


class FileAudit(NamedTuple):
    """An audit with what stands within the tests.

    Attributes:
        audit: rows and leaked ids; ids are positions in the file.
        repeated: by test, how many questions repeat an earlier one of the same test.
        shared: by pair of tests, how many questions of the first stand in the second.
    """

    audit: Audit
    repeated: dict[str, int]
    shared: dict[tuple[str, str], int]


def audit_files(trains: Sequence[str], tests: Sequence[str]) -> FileAudit:
    """Look the questions of test files up in training files.

    Args:
        trains: paths in any known form, or catalogue ids of training sets or tasks.
        tests: the same for tests; rows keep this order.
    """
    for what, given in (("training set", trains), ("test", tests)):
        if not given:
            raise DataError(f"an audit needs at least one {what}: --train FILE --test FILE")
    index = Index(question for train in trains for question in _questions(train))
    names = _names(tests)
    questions = {name: _questions(test) for name, test in zip(names, tests, strict=True)}
    numbered = {
        name: [(str(i), text) for i, text in enumerate(texts)] for name, texts in questions.items()
    }
    return FileAudit(
        audit_questions(index, numbered),
        {name: duplicates(texts) for name, texts in questions.items()},
        _shared(questions),
    )


def _questions(source: str) -> list[str]:
    """The questions of a file, a training set or a task."""
    if Path(source).suffix.lower() in SUFFIXES or Path(source).is_file():
        return questions_of(read_records(Path(source)))
    if source.lower() in TASKS:
        return [f"{item.question} {item.input}".strip() for item in load_items(find_task(source))]
    examples = load_examples(find_train_set(source))
    return [f"{example.instruction} {example.input}".strip() for example in examples]


def _names(tests: Sequence[str]) -> list[str]:
    """File stems, where they tell the tests apart; else what was given."""
    stems = [Path(test).stem if Path(test).suffix else test for test in tests]
    count = Counter(stems)
    return [stem if count[stem] == 1 else test for stem, test in zip(stems, tests, strict=True)]


def _shared(questions: dict[str, list[str]]) -> dict[tuple[str, str], int]:
    spelled = {
        name: [question_keys(text).normalised for text in texts]
        for name, texts in questions.items()
    }
    sets = {name: set(keys) for name, keys in spelled.items()}
    pairs = {
        (one, other): sum(key in sets[other] for key in spelled[one])
        for place, one in enumerate(spelled)
        for other in list(spelled)[place + 1 :]
    }
    return {pair: number for pair, number in pairs.items() if number}


def as_text(found: FileAudit) -> str:
    """The audit for people: counts and shares, then what stands within the tests."""
    lines = [f"{'test':<20}{'n':>7}" + "".join(f"{level:>18}" for level in LEVELS)]
    for row in found.audit.rows:
        cells = (f"{row[level]:,} ({row[level] / row['n']:.1%})" for level in LEVELS)
        lines.append(f"{row['test']:<20}{row['n']:>7,}" + "".join(f"{cell:>18}" for cell in cells))
    lines += [
        f"{name}: {number} questions repeat an earlier one"
        for name, number in found.repeated.items()
        if number
    ]
    lines += [
        f"{one} and {other}: {number} questions of the first stand in the second"
        for (one, other), number in found.shared.items()
    ]
    return "\n".join(lines)
