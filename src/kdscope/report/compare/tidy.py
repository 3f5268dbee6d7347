"""Rows of any origin in the same columns: task, item, answer, correctness."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdscope.data.forms import same_answer
from kdscope.data.records import Item
from kdscope.data.tasks import TASKS, find_task
from kdscope.errors import DataError
from kdscope.evaluation.extraction import extract

KEYS = ["task", "item"]
WANTED = ["model", *KEYS, "sample", "seed", "text", "answer_flexible", "valid", "correct", "score"]
_SHOWN = 5  # ids named in a note


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """The same columns whatever the origin; an answer is None where it is not valid."""
    if "answer_flexible" not in rows and "answer" in rows:
        rows = rows.rename(columns={"answer": "answer_flexible"})
    if "answer_flexible" not in rows:
        rows = extracted(rows)
    gold = rows.get("gold", pd.Series(None, index=rows.index, dtype=object))
    gold = gold.where(gold.notna() & (gold.astype(str) != ""), None)
    rows = rows.reindex(columns=[c for c in WANTED if c != "model"])
    rows["task"] = _lower(rows["task"].fillna("task"))
    rows["item"] = rows["item"].astype(str)
    rows["sample"] = rows["sample"].fillna(0).astype(int)
    answer = rows["answer_flexible"].astype(object)
    invalid = rows["valid"].map(lambda flag: flag is False or flag == 0)
    rows["answer"] = answer.where(answer.notna() & ~invalid.astype(bool), None)
    if gold.notna().any() and rows["correct"].isna().all():
        pairs = zip(rows["answer"], gold, strict=True)
        rows["correct"] = [None if pd.isna(g) else right(a, str(g)) for a, g in pairs]
    graded_as_text = rows["correct"].isna() & rows["score"].notna()
    known = rows["task"].map(
        lambda task: task in TASKS and TASKS[task].form in ("text", "verifiable")
    )
    rows["free"] = graded_as_text | known
    rows.loc[rows["free"], "answer"] = None
    return rows.drop(columns=["answer_flexible", "valid"])


def _lower(tasks: pd.Series) -> pd.Series:
    """Task ids in the catalogue's spelling."""
    return tasks.map({task: task_id(str(task)) for task in tasks.unique()})


def right(answer: str | None, gold: str) -> bool:
    """Whether an answer is the gold one, by the form that the gold answer has."""
    form = "number" if gold.replace(".", "", 1).lstrip("-").isdigit() else "word"
    return same_answer(answer, gold, form)


def task_id(name: str) -> str:
    """A task's id in the catalogue's spelling; other names in lower case."""
    try:
        return find_task(name).id
    except DataError:
        return name.lower()


def extracted(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the answers that their texts give, by the form that the task seems to have."""
    rows = rows.copy()
    if "task" not in rows:
        rows["task"] = "task"
    answers = pd.Series([None] * len(rows), index=rows.index, dtype=object)
    for task, group in rows.groupby("task"):
        item = _shape(task_id(str(task)), [text or "" for text in group["text"]])
        answers[group.index] = [extract(text or "", item).flexible for text in group["text"]]
    rows["answer_flexible"] = answers
    return rows


def _shape(task: str, texts: list[str]) -> Item:
    """An item of the task's form; of an unknown task, the form that most texts answer in."""
    known = TASKS.get(task)
    if known:
        letters = known.options or (tuple("ABCDE") if known.form == "letter" else None)
        return Item(task, "", "", "", known.form, letters)
    shapes = [
        Item(task, "", "", "", "number"),
        Item(task, "", "", "", "letter", tuple("ABCDE")),
        Item(task, "", "", "", "boolean", ("true", "false")),
    ]
    some = texts[:200]
    for attribute in ("strict", "flexible"):
        shares = [
            np.mean([getattr(extract(t, s), attribute) is not None for t in some]) for s in shapes
        ]
        if max(shares) > 0.5:
            return shapes[int(np.argmax(shares))]
    return Item(task, "", "", "", "text")


def name_items(keys: Sequence[tuple[str, str]]) -> str:
    """The first few items, by name."""
    shown = [f"{task}/{item}" for task, item in keys[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(keys) > _SHOWN else "")
