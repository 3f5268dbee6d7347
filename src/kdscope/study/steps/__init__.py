"""The kinds of step: what each runs, in which version, and what it needs.

A step function has the signature ``run(fields, inputs, out, context) -> dict``: it reads the
``out/`` folders of its inputs by role, writes its results under ``out`` and returns measures for
the manifest (``docs/study.md`` lists fields and inputs of every kind). Raise the version of a kind
when its results change; that invalidates this kind and what depends on it, nothing else.
"""

from typing import NamedTuple

from kdscope.study.context import StepContext

__all__ = ["KINDS", "Kind", "StepContext"]


class Kind(NamedTuple):
    """A kind of step.

    Attributes:
        version: part of the content key.
        run: ``module:function``, imported in the worker only.
        device: takes a slot with an accelerator where there is one.
        extra: the optional dependency that it needs; None for the base installation.
        reads_tables: reads the run's ``tables`` folder, which is rebuilt before it runs, and is
            published as ``<run>/<kind>/``.
        transient: large and only an input: made again only if a step that needs it must run.
    """

    version: int
    run: str
    device: bool = False
    extra: str | None = None
    reads_tables: bool = False
    transient: bool = False


KINDS: dict[str, Kind] = {
    "sft": Kind(1, "kdscope.study.steps.sft:run", device=True, extra="train"),
    "teacher_texts": Kind(1, "kdscope.study.steps.teacher_texts:run", device=True, extra="train"),
    "teacher_cache": Kind(
        2, "kdscope.study.steps.teacher_cache:run", device=True, extra="train", transient=True
    ),
    "distill": Kind(2, "kdscope.study.steps.distill:run", device=True, extra="train"),
    "predict": Kind(2, "kdscope.study.steps.predict:run", device=True, extra="train"),
    "fidelity": Kind(2, "kdscope.study.steps.fidelity:run"),
    "distributions": Kind(1, "kdscope.study.steps.distributions:run", device=True, extra="train"),
    "stats": Kind(8, "kdscope.study.steps.stats:run"),
    "report": Kind(2, "kdscope.study.steps.report:run", reads_tables=True),
}
