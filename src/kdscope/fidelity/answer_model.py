"""Being right across a study's configurations, item by item, as one clustered logistic model."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdscope.errors import NotEstimableError
from kdscope.fidelity.accuracies import Treatment, main_runs
from kdscope.fidelity.comparison_rows import Row, adjust_family, study_row
from kdscope.fidelity.levels import Run
from kdscope.fidelity.method_tests import label
from kdscope.fidelity.paper_tests import parameters
from kdscope.stats.bootstrap import Design
from kdscope.stats.gee import Term, logistic_gee

MOST_ANSWERS = 60_000
_FEWEST_STUDENTS = (
    5  # below, no cluster-robust error holds its level (tests/stats/test_coverage.py)
)


def answer_model(
    runs: Sequence[Run], plan: Design, sizes: Mapping[str, float], *, seed: int
) -> list[Row]:
    """Rows of the logistic models of being right on method, task and student.

    One model takes the item as cluster: it speaks of other items, with these runs. With five
    students or more a second one takes the student as cluster and speaks of other students, seeds
    included. Of more than 60,000 answers an even sample of the items is taken, and the signature says
    so. A student is its log2 number of parameters where all are known and three sizes differ, else
    itself.

    Estimates are log odds ratios; ``reference`` of a method is ``sft``, or the first method where
    there is no SFT.
    """
    data, sampled = _answers(main_runs(runs), plan, sizes, seed)
    if data["method"].nunique() < 2:
        return []
    terms = ["method", *(t for t in ("task",) if data[t].nunique() > 1)]
    if data["student"].nunique() > 1:
        by_size = data["size"].notna().all() and data["size"].nunique() > 2
        terms.append("log2_parameters" if by_size else "student")
    data["log2_parameters"] = np.log2(data["size"].fillna(1.0))
    clusters = ["item"]
    if data["student"].nunique() >= _FEWEST_STUDENTS:
        clusters.append("student")
    rows: list[Row] = []
    for cluster in clusters:
        own = [t for t in terms if t != "student"] if cluster == "student" else terms
        rows += _model_rows(data, own, cluster, sampled)
    return rows


def _answers(
    runs: Sequence[Run], plan: Design, sizes: Mapping[str, float], seed: int
) -> tuple[pd.DataFrame, str]:
    """One row per answer, of all items or an even sample of them."""
    items, sampled = np.arange(len(plan.group)), ""
    most = max(3, MOST_ANSWERS // max(1, len(runs)))
    if len(items) > most:
        items = np.sort(np.random.default_rng(seed).permutation(len(items))[:most])
        sampled = f"|items:{most}of{len(plan.group)}"
    task = np.array(plan.labels)[plan.group[items]]
    parts = []
    for run in runs:
        graded = run.columns["graded_run"][items] > 0
        who = run.system
        name = label(Treatment(who["method"], who["settings"] or "{}"))
        part = pd.DataFrame({
            "right": run.columns["right"][items][graded],
            "item": items[graded],
            "task": task[graded],
        })  # fmt: skip
        size = sizes.get(who["student"]) or parameters(who["student"])
        parts.append(part.assign(method=name, student=who["student"], size=size))
    columns = ["right", "item", "task", "method", "student", "size"]
    data = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    data["size"] = pd.to_numeric(data["size"])
    names = list(dict.fromkeys(data["method"]))
    first = "sft" if "sft" in names else next(iter(names), "")
    order = [first, *(name for name in names if name != first)]
    data["method"] = pd.Categorical(data["method"], categories=order)
    return data, sampled


def _model_rows(data: pd.DataFrame, terms: list[str], cluster: str, sampled: str) -> list[Row]:
    try:
        found = logistic_gee(data, "right", terms, cluster)
    except NotEstimableError:
        return []
    reference = data["method"].cat.categories[0]
    rows = [_row(term, reference, cluster, sampled) for term in found if term.name != "intercept"]
    adjust_family([row for row in rows if row["method"] is not None])
    return rows


def _row(term: Term, reference: str, cluster: str, sampled: str) -> Row:
    estimate = term.estimate._replace(signature=term.estimate.signature + sampled)
    method = term.name.removeprefix("method_") if term.name.startswith("method_") else None
    return study_row(
        "method" if method else "study",
        "log_odds_of_right",
        f"gee_by_{cluster}",
        estimate,
        method=method,
        reference=reference if method else term.name,
    )
