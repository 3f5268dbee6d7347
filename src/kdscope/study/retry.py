"""Whether a failed attempt is worth another one: a decision by class of error."""

import errno
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kdscope.study.engine import Report

# How often a cause may occur before the step is given up.
PATIENCE = {"memory": 6, "killed": 5, "crashed": 3, "hung": 2, "network": 4, "error": 1, "user": 1}
_NETWORK = {"ConnectionError", "TimeoutError", "RemoteError"}


class Verdict(NamedTuple):
    """``again`` after ``delay`` seconds, with ``micro_batch`` if given; ``advice`` in words."""

    cause: str
    again: bool
    micro_batch: int | None = None
    delay: float = 0.0
    advice: str = ""


def judge(
    report: Report, history: Sequence[str], fields: Mapping[str, Any], micro_batch: int | None
) -> Verdict:
    """Classify a failed or lost attempt.

    Args:
        report: what was heard of it.
        history: causes of the attempts before.
        fields: of the step; they hold the batch that a micro-batch is a part of.
        micro_batch: of this attempt.
    """
    cause = _cause(report)
    again = history.count(cause) + 1 < PATIENCE.get(cause, 1)
    if cause == "memory":
        smaller = _half(fields, micro_batch)
        if smaller is None:
            return Verdict(cause, False)
        return Verdict(cause, again, smaller, advice=f"again with micro-batch {smaller}")
    delay = 2.0 ** len(history) if cause == "network" else 0.0
    return Verdict(cause, again, None, delay, "again")


def _cause(report: Report) -> str:
    content = report.content
    if report.state == "lost":
        if str(content.get("message", "")).startswith("it hung"):
            return "hung"
        if str(content.get("message", "")).startswith("it took longer"):
            return "slow"
        if content.get("memory"):
            return "memory"
        return "killed" if content.get("code") == -9 else "crashed"
    if content.get("user"):
        return "user"
    if content.get("errno") in {errno.ENOSPC, errno.EDQUOT}:
        return "disk"
    if content.get("memory"):
        return "memory"
    return "network" if _NETWORK & set(content.get("classes", ())) else "error"


def _half(fields: Mapping[str, Any], micro_batch: int | None) -> int | None:
    train = fields.get("train")
    batch = train.get("batch_size") if isinstance(train, Mapping) else fields.get("batch")
    current = micro_batch or batch
    return None if not isinstance(current, int) or current <= 1 else current // 2
