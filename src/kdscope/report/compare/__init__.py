"""``kdscope compare``: prediction files of any origin against a reference."""

from typing import Any

__all__ = ["Comparison", "as_json", "as_text", "compare_files", "write_html"]

_HOMES = {
    "Comparison": "kdscope.report.compare.records",
    "compare_files": "kdscope.report.compare.comparison",
    "as_json": "kdscope.report.compare.show",
    "as_text": "kdscope.report.compare.show",
    "write_html": "kdscope.report.compare.show",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
