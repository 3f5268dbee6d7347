"""What sections of a study are made of: their base record, axes, and numbers within bounds."""

from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)


def as_tuple(value: Any) -> Any:
    """A scalar is an axis with one point; an absent value stays absent."""
    return value if value is None or isinstance(value, list | tuple) else [value]


def as_axis(value: Any) -> Any:
    """As :func:`as_tuple`, and an empty list is a mistake."""
    if isinstance(value, list | tuple) and not value:
        raise ValueError("is an empty list: an axis needs at least one value")
    return as_tuple(value)


def as_names(value: Any) -> Any:
    """As :func:`as_tuple`, and an absent value is no names."""
    return () if value is None else as_tuple(value)


T = TypeVar("T")
Axis = Annotated[tuple[T, ...] | None, BeforeValidator(as_axis)]


class Record(BaseModel):
    """Base of all sections: immutable, no unknown keys, no NaN.

    ``later`` names fields that this version knows and an earlier one did not: they are left out of
    documents, and so of content keys, while nobody has written them.
    """

    later: ClassVar[frozenset[str]] = frozenset()
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in handler(self).items()
            if name not in self.later or getattr(self, name) != fields[name].default
        }


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
