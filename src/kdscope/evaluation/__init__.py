"""Answers: extraction, grading, choice scoring and importers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdscope.evaluation.exporters import export_lm_eval
    from kdscope.evaluation.extraction import Extraction, extract
    from kdscope.evaluation.grading import Grade, grade, same_answer
    from kdscope.evaluation.importers import import_predictions
    from kdscope.evaluation.inspect_logs import export_inspect

_HOME = {
    "Extraction": "extraction",
    "Grade": "grading",
    "export_inspect": "inspect_logs",
    "export_lm_eval": "exporters",
    "extract": "extraction",
    "grade": "grading",
    "import_predictions": "importers",
    "same_answer": "grading",
}

__all__ = [
    "Extraction",
    "Grade",
    "export_inspect",
    "export_lm_eval",
    "extract",
    "grade",
    "import_predictions",
    "same_answer",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
