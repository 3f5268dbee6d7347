"""Records, tasks, sources, prompts, collation, audit and synthetic text."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdscope.data.audit import audit, decontaminate
    from kdscope.data.prompts import TEMPLATES
    from kdscope.data.records import Example, Item
    from kdscope.data.sources import load_examples, load_items
    from kdscope.data.tasks import SUITES, TASKS, TRAIN_SETS

_HOME = {
    "SUITES": "tasks",
    "TASKS": "tasks",
    "TEMPLATES": "prompts",
    "TRAIN_SETS": "tasks",
    "Example": "records",
    "Item": "records",
    "audit": "audit",
    "decontaminate": "audit",
    "load_examples": "sources",
    "load_items": "sources",
}

__all__ = [
    "SUITES",
    "TASKS",
    "TEMPLATES",
    "TRAIN_SETS",
    "Example",
    "Item",
    "audit",
    "decontaminate",
    "load_examples",
    "load_items",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
