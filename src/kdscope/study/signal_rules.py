"""What a study's teacher signal cannot carry, found before anything is loaded."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from kdscope.distillation.methods import GROUPED, METHODS
from kdscope.study.config import Settings, Study
from kdscope.study.source import Location

FEW_TOKENS = ("topk", "server")  # signals that know a few tokens per position


class Mistake(NamedTuple):
    """A setting that does not go with the signal."""

    where: Location
    message: str


def signal_mistakes(study: Study) -> Iterator[Mistake]:
    """All of them, with their places in the study."""
    yield from _server_mistakes(study)
    yield from _paper_mistakes(study)
    soft = [name for name in study.methods if name in METHODS and _soft(name)]
    if study.teacher_signal not in FEW_TOKENS or not soft:
        return
    if study.teacher_noise:
        yield Mistake(("teacher_noise",), _needs_all(study, f"noise of {study.teacher_noise:g}"))
    for name in soft:
        yield from _setting_mistakes(study, ("methods", name), study.methods[name])
    yield from _setting_mistakes(study, ("ablations",), study.ablations)


def _paper_mistakes(study: Study) -> Iterator[Mistake]:
    """`losses: paper` has neither hard labels nor a signal of a few tokens."""
    if study.losses != "paper":
        return
    if study.teacher_signal in FEW_TOKENS:
        yield Mistake(
            ("losses",),
            f"the paper's losses need all of the teacher's logits, which teacher_signal: "
            f"{study.teacher_signal} does not have; use cached or live",
        )
    for where, settings in [
        *((("methods", name), written) for name, written in study.methods.items()),
        (("ablations",), study.ablations),
    ]:
        if any(settings.hard_weight or ()):
            yield Mistake(
                (*where, "hard_weight"),
                "has no place under losses: paper: the last position has no label (the reference "
                "weighs the teacher's part with 1)",
            )


def _soft(method: str) -> bool:
    return METHODS[method].needs_teacher_states


def _setting_mistakes(study: Study, where: Location, settings: Settings) -> Iterator[Mistake]:
    wrong = {
        "objective": lambda value: value.removesuffix("_normalised") not in GROUPED,
        "temperature": lambda value: value != 1.0,
        "teacher_noise": bool,
    }
    for name, values in settings.axes().items():
        for value in values:
            if name in wrong and wrong[name](value):
                yield Mistake((*where, name), _needs_all(study, f"{name} {_shown(value)}"))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _needs_all(study: Study, what: str) -> str:
    return (
        f"{what} needs all of the teacher's logits, and teacher_signal: {study.teacher_signal} has "
        f"top_k tokens at temperature 1 only (objectives: {', '.join(GROUPED)}); use cached or live"
    )


def _server_mistakes(study: Study) -> Iterator[Mistake]:
    if study.teacher_signal != "server":
        if study.server is not None:
            yield Mistake(("server",), "is only asked under teacher_signal: server")
        return
    if study.server is None:
        yield Mistake(
            ("server",), "is missing: teacher_signal: server needs {url: http://.../v1, model: ...}"
        )
    if len(study.teachers) > 1:
        yield Mistake(("teachers",), "one server serves one teacher: leave the others out")
    served = "a served teacher is taken as it is: name the checkpoint that is served, and say false"
    if study.teacher_adapted:
        yield Mistake(("teacher_adapted",), served)
    if True in (study.ablations.teacher_adapted or ()):
        yield Mistake(("ablations", "teacher_adapted"), served)
