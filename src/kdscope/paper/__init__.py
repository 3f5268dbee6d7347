"""The paper re-examined: its printed tables, its exact method, the corrected analysis."""

from importlib import import_module
from typing import Any

_HOME = {
    "analyze": "kdscope.paper.user_table",
    "check_claims": "kdscope.paper.claims",
    "examine": "kdscope.paper.examination",
    "fetch_paper_results": "kdscope.paper.sources",
    "read_scores": "kdscope.paper.reading",
}
__all__ = ["analyze", "check_claims", "examine", "fetch_paper_results", "read_scores"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
