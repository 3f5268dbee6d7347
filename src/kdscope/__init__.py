"""Distil language models; measure what the student gained and what it no longer shares."""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "Study": "kdscope.study.api",
    "compare": "kdscope.report.compare.comparison",
    "distill": "kdscope.study.single",
    "divergence": "kdscope.divergences.api",
    "evaluate": "kdscope.study.evaluate",
    "open_results": "kdscope.study.results",
    "open_views": "kdscope.study.results",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
