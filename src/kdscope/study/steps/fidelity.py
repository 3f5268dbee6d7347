"""Compare one student's answers with its teacher's, and with the SFT student's of the same seed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.data.tasks import task_of
from kdscope.fidelity.rows import fidelity_rows
from kdscope.study.context import StepContext
from kdscope.study.steps.task_items import task_items


def run(
    fields: dict[str, Any], inputs: dict[str, list[Path]], out: Path, context: StepContext
) -> dict[str, Any]:
    """Item by item over all tasks; leaves ``fidelity.parquet``."""
    forms = {task["name"]: task_of(task).form for task in fields["tasks"]}
    system = generations(inputs["system"])
    solutions = {
        (item.task, item.item): item.reference
        for task in fields["tasks"]
        for item in task_items(task, context)
        if item.reference
    }
    rows: list[dict[str, Any]] = []
    for relation in ("teacher", "sft_student"):
        if relation in inputs:
            reference = generations(inputs[relation])
            rows += fidelity_rows(
                reference, system, relation=relation, forms=forms, solutions=solutions
            )
        context.progress(len(rows), 2 * len(system))
    tables.write("fidelity", rows, out / "fidelity.parquet")
    return {"pairs": len(rows)}


def generations(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The answers that some predict steps left."""
    return tables.read("generations", *(f / "generations.parquet" for f in folders)).to_pylist()
