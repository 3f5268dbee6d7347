"""The grid: every cell of a study, each with its full settings and what sets it apart."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kdscope.distillation.methods import METHODS, Method
from kdscope.errors import ConfigError
from kdscope.study.config import Decoding, Study
from kdscope.study.resolve import Resolved

MANY = 20_000  # cells; more must be asked for
_PARAMETERS = {
    "beta": ("jsd", "jsd_normalised", "paper_jsd"),
    "alpha": ("skew_kl", "skew_rkl"),
    "mu": ("adaptive_kl",),
}
PAPER_FORMS = {
    "forward_kl": "paper_forward_kl",
    "reverse_kl": "paper_reverse_kl",
    "jsd": "paper_jsd",
}
_DEFAULTS = {"beta": 0.5, "alpha": 0.1, "mu": 0.5}
EVALUATION = ("decoding", "evaluation_prompt")  # how everybody answers: nobody is trained anew
SHARED = ("train_limit", *EVALUATION)  # a student is compared with the SFT student at the same
_SOFT_ONLY = ("temperature", "scale_by_t2", "hard_weight", "teacher_noise", "on_policy")


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid.

    Attributes:
        teacher: None for methods that use no teacher.
        student, method, seed: as in the study.
        settings: full settings of the method; None where a setting cannot change it.
        apart: the settings that differ from the study's own setting of this method.
    """

    teacher: str | None
    student: str
    method: str
    seed: int
    settings: Mapping[str, Any]
    apart: Mapping[str, Any]


def cells(resolved: Resolved, *, many: bool = False) -> list[Cell]:
    """All cells in the order of the study, each once.

    The study's own setting of a method is the first value of each of its axes; the axes of a method
    form a product, an ablation varies one factor at a time from the own setting. A value that
    cannot change a method (a temperature of ``sft``) opens no cell.

    Raises:
        ConfigError: more than 20,000 cells without ``many``, or none.
    """
    study = resolved.study
    variants = {name: list(_variants(study, METHODS[name], many)) for name in study.methods}
    uses = {name: _needs_teacher(METHODS[name]) for name in variants}
    students = list(dict.fromkeys(student for _, student in resolved.pairs))
    count = len(study.seeds) * sum(
        len(found) * len(resolved.pairs if uses[name] else students)
        for name, found in variants.items()
    )
    if count == 0:
        raise ConfigError("this study has no cell: an axis, a pair or a method is missing")
    if count > MANY and not many:
        raise _too_many(count)
    return list(_cells(resolved, variants, uses, students))


def shared(cell: Cell) -> tuple[Any, ...]:
    """A cell's values of what an SFT student has in common with it."""
    return tuple(cell.settings[name] for name in SHARED)


def _cells(
    resolved: Resolved, variants: dict[str, list], uses: dict[str, bool], students: list[str]
) -> Iterator[Cell]:
    for name, found in variants.items():
        pairs = resolved.pairs if uses[name] else [(None, student) for student in students]
        for (teacher, student), seed in itertools.product(pairs, resolved.study.seeds):
            for settings, apart in found:
                yield Cell(teacher, student, name, seed, settings, apart)


def _too_many(count: int) -> ConfigError:
    return ConfigError(
        f"this study has {count:,} cells, more than {MANY:,}: every list under methods, ablations "
        "and seeds multiplies them. Shorten an axis, or confirm with --many"
    )


def _needs_teacher(method: Method) -> bool:
    return method.needs_teacher_states or method.sequences == "teacher"


def _variants(
    study: Study, method: Method, many: bool
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Full settings and what sets them apart, for every variant of one method."""
    axes = study.methods[method.name].axes()
    size = 1
    for values in axes.values():
        size *= len(values)
    if size > 50 * MANY or (size > MANY and not many):
        raise _too_many(size)
    first = {name: values[0] for name, values in axes.items()}
    own = _effective(method, {**_own_setting(study, method), **first})
    product = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    singles = [
        {n: _as_in_study(v, study.evaluate.decoding)}
        for n, values in study.ablations.axes().items()
        for v in values
    ]
    base, seen = {**_own_setting(study, method), **first}, set()
    for change in [*product, *singles]:
        settings = _effective(method, {**base, **change})
        apart = {
            name: _plain(settings[name], study.evaluate.decoding)
            for name in change
            if settings[name] != own[name]
        }
        mark = tuple(settings.items())
        if mark not in seen:
            seen.add(mark)
            yield settings, apart


def _as_in_study(value: Any, own: Decoding) -> Any:
    """An ablation's value; what it leaves open of a decoding is as in the study."""
    if not isinstance(value, Decoding):
        return value
    kept = {} if value.max_new_tokens else {"max_new_tokens": own.max_new_tokens}
    if value.strategy == "greedy":  # these are then the settings of further samples alone
        kept |= {"temperature": own.temperature, "top_p": own.top_p}
    return value.model_copy(update=kept)


def _plain(value: Any, own: Decoding) -> Any:
    """A setting as columns and names have it: ``greedy``, ``sample(t=0.7)``, ``greedy(max=64)``."""
    if not isinstance(value, Decoding):
        return value
    parts = []
    if value.strategy == "sample":
        parts += [f"t={value.temperature:g}"]
        parts += [f"top_p={value.top_p:g}"] if value.top_p < 1 else []
    if value.max_new_tokens != own.max_new_tokens:
        parts += [f"max={value.max_new_tokens}"]
    return value.strategy + (f"({','.join(parts)})" if parts else "")


def _own_setting(study: Study, method: Method) -> dict[str, Any]:
    soft, as_paper = method.needs_teacher_states, study.losses == "paper"
    return {
        "objective": PAPER_FORMS.get(method.objective, method.objective)
        if as_paper
        else method.objective,
        **_DEFAULTS,
        "temperature": 1.0,
        "scale_by_t2": as_paper,
        "hard_weight": 0.0,
        "teacher_noise": study.teacher_noise,
        "on_policy": method.on_policy,
        "sampling_temperature": 1.0,
        "sequences": (study.sequences if soft else None) or method.sequences,
        "init": study.init,
        "epochs": study.train.epochs,
        "learning_rate": study.train.learning_rate,
        "teacher_adapted": study.teacher_adapted,
        "teacher_quantize": None,  # as the teacher's entry says
        "train_limit": study.train.limit,
        "decoding": study.evaluate.decoding,
        "evaluation_prompt": study.prompt,
    }


def _effective(method: Method, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with everything set to None that cannot change this method."""
    result = dict(settings)
    idle = {name for name, uses in _PARAMETERS.items() if settings["objective"] not in uses}
    if not method.needs_teacher_states:
        idle |= {*_SOFT_ONLY, *_PARAMETERS, "sampling_temperature"}
        result["objective"], result["sequences"] = method.objective, method.sequences
    if not _needs_teacher(method):
        idle |= {"teacher_adapted", "teacher_quantize"}
        result["init"] = "base"
    if method.needs_teacher_states and not settings["on_policy"]:
        idle |= {"sampling_temperature"}
    if settings["on_policy"] == 1.0:
        result["sequences"] = "reference"  # never read: every step uses rollouts of its prompts
    if method.needs_teacher_states and settings["objective"] == "paper_jsd":
        result["temperature"] = 1.0  # the reference passes none to it
    if result["temperature"] == 1.0 and method.needs_teacher_states:
        result["scale_by_t2"] = False
    return result | dict.fromkeys(idle)


def idle_axes(study: Study) -> list[str]:
    """Notes on settings that were written under a method that they cannot change."""
    return [
        f"methods.{name}.{setting} cannot change {name}: it opens no cell"
        for name, settings in study.methods.items()
        for setting in settings.axes()
        if setting not in METHODS[name].settings and setting not in _PARAMETERS
    ]
