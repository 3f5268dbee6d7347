"""The mathematics of the objectives: closed forms, and the fused head that computes them."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdscope.divergences.faults import Fault, first_fault
    from kdscope.divergences.fused import FusedLoss, fused_objective
    from kdscope.divergences.heads import Head, as_head, model_head
    from kdscope.divergences.objective import FORMS, Objective
    from kdscope.divergences.rows import per_token
    from kdscope.divergences.telemetry import Telemetry

_HOME = {
    "FORMS": "objective",
    "Fault": "faults",
    "FusedLoss": "fused",
    "Head": "heads",
    "Objective": "objective",
    "Telemetry": "telemetry",
    "as_head": "heads",
    "first_fault": "faults",
    "fused_objective": "fused",
    "model_head": "heads",
    "per_token": "rows",
}

__all__ = [
    "FORMS",
    "Fault",
    "FusedLoss",
    "Head",
    "Objective",
    "Telemetry",
    "as_head",
    "first_fault",
    "fused_objective",
    "model_head",
    "per_token",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
