"""Reading a study file: YAML with line numbers, presets by name, dotted overrides."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kdscope.errors import ConfigError, StoreError

PRESETS = Path(__file__).parent / "presets"

Location = tuple[str | int, ...]


class Problem(NamedTuple):
    """One mistake and where it stands; ``line`` is 0 for overrides, None for absent keys."""

    where: Location
    message: str
    line: int | None = None


@dataclass(frozen=True)
class Source:
    """A study as written: the plain data, where it came from, and the line of every key.

    Attributes:
        data: nested dicts, lists and scalars; overrides already applied.
        lines: line of each location, counted from 1.
        origin: file name for messages.
        folder: relative paths in the study are relative to it; the current one for a preset.
        text: the file as it stands, kept beside the results.
        overrides: the ``key=value`` arguments, in order.
    """

    data: dict[str, Any]
    lines: Mapping[Location, int]
    origin: str
    folder: Path
    text: str
    overrides: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = field(default=())


def nearest(word: object, known: Iterable[str]) -> str:
    """``; did you mean X?`` for a misspelt word, and the valid choices where they are few."""
    choices = sorted(known)
    close = difflib.get_close_matches(str(word), choices, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = f" (known: {', '.join(choices)})" if 0 < len(choices) <= 40 else ""
    return hint + listed


def dotted(where: Location) -> str:
    """A location as users write it: ``methods.gkd.beta``, ``teachers[0]``."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "study"


def describe(problems: Iterable[Problem], origin: str) -> str:
    """All problems as one message, in the order of the file, each once."""
    unique = sorted(set(problems), key=lambda p: (p.line or 0, dotted(p.where), p.message))
    head = (
        f"{len(unique)} mistake{'s' if len(unique) > 1 else ''} in {origin}, nothing was started:"
    )
    return "\n".join([head, *(f"  {dotted(p.where)}{_place(p.line)}: {p.message}" for p in unique)])


def _place(line: int | None) -> str:
    return "" if line is None else f" (line {line})" if line else " (given as override)"


def preset_names() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def preset_list() -> list[dict[str, str]]:
    """Name, description and command of every preset."""
    found = []
    for name in preset_names():
        data = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
        found.append(
            {
                "name": name,
                "description": data.get("description", ""),
                "command": f"kdscope run {name}",
            }
        )
    return found


def copy_preset(name: str, path: Path | None = None) -> Path:
    """Copy a preset to a file that does not exist yet; returns the file.

    Raises:
        ConfigError: no such preset.
        StoreError: the file exists or cannot be written.
    """
    if name not in preset_names():
        raise ConfigError(f"there is no preset {name!r}{nearest(name, preset_names())}")
    target = path or Path(f"{name}.yaml")
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    except FileExistsError:
        raise StoreError(f"{target} exists already and was not written over") from None
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror}") from None
    return target


def find_study(study: str) -> Path:
    """The file of a study: a path, or a preset's name.

    Raises:
        ConfigError: there is neither such a file nor such a preset.
    """
    path = Path(study).expanduser()
    if path.is_file():
        return path
    if study in preset_names():
        return PRESETS / f"{study}.yaml"
    raise ConfigError(
        f"{study!r} is neither a file nor a preset{nearest(study, preset_names())}. "
        "Give the path of a YAML file, or see `kdscope presets`."
    )


def read_study(study: str, overrides: Iterable[str] = ()) -> Source:
    """Read a study and apply ``key=value`` overrides; mistakes of form are collected, not raised.

    Raises:
        ConfigError: the file does not exist, is not UTF-8 or is not a YAML mapping.
    """
    path, overrides = find_study(study), tuple(overrides)
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    lines: dict[Location, int] = {}
    problems: list[Problem] = []
    data = _parse(text, str(path), lines, problems)
    for override in overrides:
        problem = _apply(data, override, lines)
        problems.extend([problem] if problem else [])
    folder = Path() if path.parent == PRESETS else path.parent
    return Source(data, lines, str(path), folder, text, overrides, tuple(problems))


def _parse(text: str, origin: str, lines: dict[Location, int], problems: list[Problem]) -> dict:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{origin}:{line} not valid YAML: {reason}") from None
    if not isinstance(node, yaml.MappingNode):
        found = "an empty file" if node is None else f"a {node.id}"
        raise ConfigError(
            f"{origin}: a study is a YAML mapping (name:, teachers:, ...), not {found}"
        )
    return _build(node, (), lines, problems, yaml.SafeLoader(""))


def _build(
    node: Any, where: Location, lines: dict[Location, int], problems: list[Problem], loader: Any
) -> Any:
    """Turn a YAML node into plain data, recording lines and refusing duplicate keys."""
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(child, (*where, i), lines, problems, loader)
            for i, child in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    result: dict[str, Any] = {}
    for key_node, child in node.value:
        key = str(loader.construct_object(key_node)) if key_node.id == "scalar" else "?"
        line = key_node.start_mark.line + 1
        if key in result:
            problems.append(Problem((*where, key), "is written twice", line))
        lines[(*where, key)] = line
        result[key] = _build(child, (*where, key), lines, problems, loader)
    return result


def _apply(data: dict, override: str, lines: dict[Location, int]) -> Problem | None:
    """Set one dotted ``key=value`` in place; the value is YAML."""
    key, sign, text = override.partition("=")
    parts = [int(part) if part.isdigit() else part for part in key.strip().split(".")]
    if not sign or not all(part != "" for part in parts):
        return Problem((override,), "an override is written key=value, as in seeds=[0]")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return Problem(tuple(parts), f"the value {text!r} of this override is not valid YAML")
    target: Any = data
    for part in parts[:-1]:
        if isinstance(target, dict):
            target[part] = {} if target.get(str(part)) is None else target[str(part)]
            target = target[str(part)]
        elif isinstance(target, list) and isinstance(part, int) and part < len(target):
            target = target[part]
        else:
            return Problem(tuple(parts), f"there is nothing at {part!r} to override")
    last = parts[-1]
    if isinstance(target, dict):
        target[str(last)] = value
    elif isinstance(target, list) and isinstance(last, int) and last < len(target):
        target[last] = value
    else:
        return Problem(tuple(parts), f"there is nothing at {last!r} to override")
    for known in [known for known in lines if known[: len(parts)] == tuple(parts)]:
        del lines[known]
    lines[tuple(parts)] = 0
    return None
