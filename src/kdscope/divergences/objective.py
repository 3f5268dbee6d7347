"""What is minimised: a divergence with its parameters. Pure data, without torch."""

import difflib
import math
from dataclasses import dataclass, fields

from kdscope.errors import UserError


@dataclass(frozen=True)
class Form:
    """One formula of the table of objectives.

    Attributes:
        parameter: the one parameter that the formula has, if any.
        default: its value where none is given.
        needs_teacher: the formula compares with the teacher's distribution.
        at_ends: why 0 and 1 are refused as its parameter.
        has_temperature: the formula has a temperature.
    """

    parameter: str | None = None
    default: float | None = None
    needs_teacher: bool = True
    at_ends: str = ""
    has_temperature: bool = True


FORMS: dict[str, Form] = {
    "nll": Form(needs_teacher=False, has_temperature=False),
    "forward_kl": Form(),
    "reverse_kl": Form(),
    "jsd": Form("beta", 0.5, at_ends="it is zero at both ends; take forward_kl or reverse_kl"),
    "skew_kl": Form("alpha", 0.1, at_ends="it is forward_kl at 0 and zero at 1"),
    "skew_rkl": Form("alpha", 0.1, at_ends="it is reverse_kl at 0 and zero at 1"),
    "tvd": Form(),
    "mse": Form(),
    "adaptive_kl": Form("mu", 0.5, at_ends="one of head and tail would be empty"),
    "paper_forward_kl": Form(),
    "paper_reverse_kl": Form(),
    "paper_jsd": Form("beta", 0.5, at_ends="the paper has 0.5", has_temperature=False),
}
"""Every objective by name, the visible registry of this room."""


@dataclass(frozen=True)
class Objective:
    """A divergence with its parameters, a temperature, and optionally a weight on hard labels.

    The value of one token is ``(1 - hard_weight) * c * D(p, q) + hard_weight * -log q1[y]`` with
    ``p = softmax(z_T / temperature)``, ``q = softmax(z_S / temperature)``, ``q1 = softmax(z_S)``
    and ``c = temperature**2`` if `scale_by_t2`, else 1.

    Attributes:
        name: one of :data:`FORMS`.
        beta: weight of the teacher in the mixture of ``jsd`` (0 < beta < 1; default 0.5).
        alpha: skew of ``skew_kl`` and ``skew_rkl`` (0 < alpha < 1; default 0.1).
        mu: mass of the head of ``adaptive_kl`` (0 < mu < 1; default 0.5).
        temperature: of the loss; the temperature of sampling is another setting.
        scale_by_t2: multiply the divergence by temperature**2.
        normalised: divide ``jsd`` by ``beta * (1 - beta)``, so that a sweep over beta compares
            directions instead of step sizes.
        hard_weight: share of the negative log-likelihood of the labels, in [0, 1].

    Raises:
        UserError: for an unknown name, a parameter that the objective does not have, or a bad
            value.
    """

    name: str
    beta: float | None = None
    alpha: float | None = None
    mu: float | None = None
    temperature: float = 1.0
    scale_by_t2: bool = False
    normalised: bool = False
    hard_weight: float = 0.0

    def __post_init__(self) -> None:
        form = FORMS.get(self.name)
        if form is None:
            raise UserError(_unknown(self.name))
        mistakes = [*_parameter_mistakes(self, form), *_setting_mistakes(self)]
        if mistakes:
            raise UserError(f"objective {self.name!r}: " + "; ".join(mistakes))
        if form.parameter and getattr(self, form.parameter) is None:
            object.__setattr__(self, form.parameter, form.default)

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's logits enter the value."""
        return FORMS[self.name].needs_teacher

    @property
    def needs_labels(self) -> bool:
        """Whether the labels enter the value."""
        return self.name == "nll" or self.hard_weight > 0

    @property
    def factor(self) -> float:
        """What the bare divergence at this temperature is multiplied with, hard labels apart."""
        scale = self.temperature**2 if self.scale_by_t2 else 1.0
        if self.normalised:
            assert self.beta is not None
            scale /= self.beta * (1.0 - self.beta)
        return scale * (1.0 - self.hard_weight)

    def settings(self) -> dict[str, float | bool | str]:
        """Everything that was set, for keys and tables: the parameters that are not None."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in pairs if value is not None}


def _unknown(name: object) -> str:
    near = difflib.get_close_matches(str(name), FORMS, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown objective {name!r}.{guess} Choose one of: {', '.join(FORMS)}."


def _parameter_mistakes(objective: Objective, form: Form) -> list[str]:
    mistakes = []
    for name in ("beta", "alpha", "mu"):
        value = getattr(objective, name)
        if value is None:
            continue
        if name != form.parameter:
            has = f"its parameter is {form.parameter}" if form.parameter else "it has no parameter"
            mistakes.append(f"{name}={value!r} does not belong to it ({has})")
        elif not _is_number(value) or not 0.0 < value < 1.0:
            mistakes.append(
                f"{name}={value!r} must lie between 0 and 1, both excluded ({form.at_ends})"
            )
    return mistakes


def _setting_mistakes(objective: Objective) -> list[str]:
    mistakes = []
    t, hard = objective.temperature, objective.hard_weight
    if not _is_number(t) or not t > 0:
        mistakes.append(f"temperature={t!r} must be a finite number above 0")
    elif t != 1.0 and not FORMS[objective.name].has_temperature:
        mistakes.append(f"temperature={t!r} is not part of it (leave it at 1)")
    if not _is_number(hard) or not 0.0 <= hard <= 1.0:
        mistakes.append(f"hard_weight={hard!r} must lie in [0, 1]")
    elif objective.name == "nll" and hard:
        mistakes.append(
            f"hard_weight={hard!r} has no meaning for it, which is the hard loss itself"
        )
    if objective.normalised and objective.name != "jsd":
        mistakes.append("normalised=True belongs to jsd alone")
    return mistakes


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
