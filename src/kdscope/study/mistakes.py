"""Pydantic's errors on a study in our words: where in the file, what is wrong, what was probably meant."""

import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kdscope.distillation.methods import METHODS
from kdscope.study.config import Ablations, Settings, Study
from kdscope.study.config_data import AS_MAPPING, AS_NAME
from kdscope.study.source import Location, nearest


def in_words(error: ValidationError, data: Any) -> Iterator[tuple[Location, str]]:
    """Each mistake with its place in the file ``data`` was read from."""
    for entry in error.errors():
        where = _clean(entry["loc"], data)
        yield where, _message(entry, where)


def _clean(loc: tuple[Any, ...], data: Any) -> Location:
    """Pydantic's location without its own additions, as a path in the file."""
    where: list[str | int] = []
    for part in loc:
        if isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif isinstance(data, dict):
            if part not in data and (part in (AS_NAME, AS_MAPPING) or isinstance(part, int)):
                continue  # which of several forms an entry has; the only entry of a list
            data = data.get(part)
        elif isinstance(part, int):
            continue  # a scalar that opened an axis with one point
        where.append(part)
    return tuple(where)


def _message(entry: Any, where: Location) -> str:
    """One pydantic error in our words."""
    kind, given = entry["type"], entry.get("input")
    if kind == "extra_forbidden":
        return f"unknown key{nearest(where[-1], _known_keys(where[:-1]))}"
    if kind == "missing":
        return "is missing, and has no default"
    if kind == "literal_error":
        choices = entry["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be one of {', '.join(choices)}, not {given!r}{_guess(given, choices)}"
    if kind in _IN_WORDS:
        hint = f": write a list, [{given}]" if isinstance(given, str) and "," in given else ""
        return f"{_IN_WORDS[kind]}, not {_shown(given)}{hint}"
    text = entry["msg"].removeprefix("Value error, ")
    text = text.removeprefix("Input ").removeprefix("should ")
    if kind == "value_error":
        return text
    return f"must {text}, not {_shown(given)}"


_IN_WORDS = {
    "too_short": "must name at least one",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "dict_type": "must be a mapping, as {sft: {}, fkl: {}}",
    "string_pattern_mismatch": "must be letters, digits, '.', '_' and '-', a letter or digit first",
}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."


def _guess(given: Any, choices: list[str]) -> str:
    hint = nearest(given, choices)
    return hint.partition(" (known")[0]


def _known_keys(where: Location) -> list[str]:
    """Names that may stand in the section at this location."""
    if len(where) == 2 and where[0] == "methods" and where[1] in METHODS:
        return sorted(METHODS[str(where[1])].settings)
    record: Any = Study
    for part in where:
        if isinstance(part, int):
            continue
        if isinstance(record, type) and issubclass(record, BaseModel):
            field = record.model_fields.get(str(part))
            record = _record_in(field.annotation) if field else None
    if record in (Settings, Ablations):
        return sorted(record.model_fields)
    return sorted(record.model_fields) if record else []


def _record_in(annotation: Any) -> Any:
    """The record class inside an annotation such as ``Lora | None`` or ``tuple[Model, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, list, dict) or get_args(
        annotation
    ):
        for part in get_args(annotation):
            found = _record_in(part)
            if found:
                return found
    return None
