"""What was run, and how to run it again."""

import json
from typing import Any

from markupsafe import Markup, escape

from kdscope.distillation.methods import METHODS
from kdscope.report.parts import Section, count, listing
from kdscope.report.results import Results
from kdscope.report.tabulate import Quantity, Table


def sentence(results: Results) -> str:
    """The study in one sentence."""
    systems = results["generations"]["model"].nunique()
    methods = [name for name in results.methods if name != "base"]
    seeds = len(results.study.get("seeds") or []) or results["generations"]["seed"].nunique()
    items = results["items"][["task", "item"]].drop_duplicates()
    text = f"{results.name} distils {listing(results.teachers)} into {_few(results.students)}"
    text += f" with {count(len(methods), 'method')} ({listing(methods)}) and {count(seeds, 'seed')}"
    asked = len(items) or results["generations"][["task", "item"]].drop_duplicates().shape[0]
    tasks, models = count(len(results.tasks), "task"), count(systems, "model")
    return text + f", and asks each of {models} {count(asked, 'question')} of {tasks}."


def section(results: Results) -> Section:
    """Methods with their objectives, tasks with their size, the training settings."""
    rows = results["generations"]
    answers = count(len(rows), "answer")
    text = f"{sentence(results)} {answers} were generated, read by three extractors and graded."
    if results.teachers == []:
        text += " No teacher took part."
    tables = [_methods(results), _tasks(results), _settings(results)]
    return Section(
        "study", "What was run?", escape(text), tables=[table for table in tables if table.rows]
    )


def rerun(results: Results) -> Section:
    """The command, and what makes the result the same."""
    text = Markup(
        "The same command finishes what is missing and repeats nothing: <code>{}</code>. All "
        "numbers above are made from the result tables alone, so <code>kdscope report DIR</code> "
        "rebuilds this page without any model."
    ).format(results.command or f"kdscope run {results.name}")
    return Section("rerun", "How is it run again?", text)


def _few(names: list[str]) -> str:
    return listing(names) if len(names) <= 3 else f"{len(names)} students"


def _methods(results: Results) -> Table:
    cells: list[list[Any]] = []
    for name in results.methods:
        known = METHODS.get(name)
        cells.append(
            [
                name,
                known.summary if known else ("as published, untuned" if name == "base" else "–"),
                known.sequences if known else "–",
                known.source if known else "–",
            ]
        )
    return Table(
        "methods",
        "Methods",
        ["method", "objective", "text", "source"],
        cells,
        methods=results.methods,
    )


def _tasks(results: Results) -> Table:
    items = results["items"]
    cells: list[list[Any]] = []
    for task in results.tasks:
        own = items[items["task"] == task]
        chance = [
            1 / len(options) for options in own["options"] if options is not None and len(options)
        ]
        form = listing(sorted(set(own["form"].dropna()))) if len(own) else "–"
        leaked = int(own["leaked"].fillna(False).astype(bool).sum()) if len(own) else None
        cells.append(
            [
                task,
                form,
                len(own) or None,
                Quantity(100 * sum(chance) / len(chance) if chance else None),
                leaked,
            ]
        )
    heads = ["task", "answer", "questions", "chance, %", "leaked"]
    return Table("tasks", "Tasks and splits", heads, cells, _splits(results))


def _splits(results: Results) -> str:
    """What was trained on and what was held out, in a line."""
    train = results.study.get("train") or {}
    if not train.get("data"):
        return ""
    limit, held = train.get("limit"), train.get("validation")
    text = (
        f"training: {'at most ' + count(limit, 'example') + ' of ' if limit else ''}{train['data']}"
    )
    text += f" · validation: {f'{held:,} of them held out' if held else 'none'}"
    return f"{text} · test: the questions above"


def _settings(results: Results) -> Table:
    shown = {
        key: value for key, value in results.study.items() if key not in {"name", "identities"}
    }
    cells = [[key, value] for key, value in _flat(shown) if value not in {"null", ""}]
    caption = "Settings, fully resolved (what was left open is not listed)"
    return Table("settings", caption, ["setting", "value"], cells)


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(inner, f"{path}.{key}" if path else str(key))
        ]
    if isinstance(value, list) and all(not isinstance(v, dict | list) for v in value):
        return [(path, ", ".join(map(str, value)))]
    return [(path, value if isinstance(value, str) else json.dumps(value, default=str))]
