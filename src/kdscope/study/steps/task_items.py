"""The items of a step's task, wherever its file lies."""

from collections.abc import Mapping
from typing import Any

from kdscope.data.records import Item
from kdscope.data.sources import items_of
from kdscope.study.context import StepContext
from kdscope.study.datasets import task_location


def task_items(
    task: Mapping[str, Any], context: StepContext, limit: int | None = None
) -> list[Item]:
    """The items of a step's ``task`` field: of the catalogue, or the user's own."""
    return items_of(task, context.locations.get(task_location(task["name"])), limit=limit)
