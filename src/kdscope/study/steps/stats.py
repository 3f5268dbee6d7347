"""Items, contamination, and every number with its interval."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.data.audit import Audit, audit
from kdscope.data.records import Item
from kdscope.fidelity.summary import study_comparisons
from kdscope.study.context import StepContext
from kdscope.study.steps.fidelity import generations
from kdscope.study.steps.task_items import task_items
from kdscope.study.steps.training_data import split_examples

Rows = list[dict[str, Any]]


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Leaves ``items.parquet``, ``contamination.parquet`` and ``comparisons.parquet``."""
    items = [
        item for task in fields["tasks"] for item in task_items(task, context, fields["limit"])
    ]
    audits = {
        data["name"]: audit(split_examples(data, context.locations.get(data["name"]))[0], items)
        for data in (fields["data"], fields["teacher_data"])
    }
    item_rows = _items(items, audits.values())
    tables.write("items", item_rows, out / "items.parquet")
    tables.write("contamination", _contamination(audits), out / "contamination.parquet")
    fidelity = tables.read(
        "fidelity", *(f / "fidelity.parquet" for f in inputs.get("fidelity", []))
    )
    distributions = tables.read(
        "distributions", *(f / "distributions.parquet" for f in inputs.get("distributions", []))
    )
    choices = [f / "choices.parquet" for f in inputs["predict"]]
    scored = tables.read("choices", *(path for path in choices if path.exists()))
    comparisons = compared(
        (
            generations(inputs["predict"]),
            fidelity.to_pylist(),
            item_rows,
            distributions.to_pylist(),
            scored,
        ),
        {(i.task, i.item): i.reference for i in items if i.reference},
        fields["statistics"],
        {(i.task, i.item): i.topic for i in items if i.topic},
        fields.get("sizes"),
    )
    tables.write("comparisons", comparisons, out / "comparisons.parquet")
    return {"comparisons": len(comparisons)}


def compared(
    found: tuple[Any, Any, Any, Any, Any],
    solutions: Mapping[tuple[str, str], str],
    statistics: Mapping[str, Any],
    topics: Mapping[tuple[str, str], str] | None = None,
    sizes: Mapping[str, float] | None = None,
) -> Rows:
    """Rows of ``comparisons``, as a study's ``statistics`` section asks for them.

    Args:
        found: rows of generations, fidelity, items, distributions and choices, in this order.
        solutions: (task, item) -> a right solution, by which items are grouped.
        statistics: resamples, seed and margin of the resolved study.
        topics: (task, item) -> the data's own topic, where they have one.
        sizes: numbers of weights of students whose names do not state them.
    """
    return study_comparisons(
        *found,
        resamples=statistics["resamples"],
        seed=statistics["seed"],
        margin=statistics["margin"],
        sizes=sizes,
        solutions=solutions,
        topics=topics,
    )


def _items(items: Iterable[Item], audits: Iterable[Audit]) -> Rows:
    leaked: set[tuple[str, str]] = set()
    for found in audits:
        leaked |= {(task, item) for task, ids in found.leaked.items() for item in ids}
    return [
        {
            "task": item.task,
            "item": item.item,
            "question": f"{item.question}\n{item.input}".strip(),
            "gold": item.gold,
            "options": None if item.options is None else list(item.options),
            "form": item.form,
            "leaked": (item.task, item.item) in leaked,
        }
        for item in items
    ]


def _contamination(audits: dict[str, Audit]) -> Rows:
    return [{"train": train, **row} for train, found in audits.items() for row in found.rows]
