"""Tables, charts, pages and exports: everything that a person reads."""

from importlib import import_module
from typing import Any

_PLACES = {
    "Table": "tabulate",
    "build": "page",
    "build_viewer": "viewer",
    "export_run": "run_folder",
    "model_card": "card",
    "readme_figures": "readme",
    "refresh_viewer": "viewer",
    "report_run": "run_folder",
    "serve": "serve",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
