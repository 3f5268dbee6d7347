"""The user's own data in a study: training sets and tasks, from a file or from the hub."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from kdscope.study.fields import Axis, Count, Record


class ExampleColumns(Record):
    """Which columns of the user's training data hold what; unnamed ones are found by their usual names."""

    instruction: str | None = None
    input: str | None = None
    output: str | None = None


class ItemColumns(Record):
    """Which columns of the user's test data hold what; unnamed ones are found by their usual names."""

    instruction: str | None = None
    input: str | None = None
    answer: str | None = None
    reference: str | None = None


class _OwnSource(Record):
    """Data of the user's own: a file, or a data set of the hub."""

    path: str | None = None
    hub: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")] | None = None
    revision: str | None = None
    split: str | None = None
    config: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("needs either `path` (a file) or `hub` (owner/name), and not both")
        idle = [name for name in ("revision", "split", "config") if getattr(self, name) is not None]
        if self.path is not None and idle:
            raise ValueError(f"has `{idle[0]}`, which means something with `hub` only")
        return self


class OwnData(_OwnSource):
    """Training data of the user's own; tables call it by ``name``, else by its file or set."""

    name: str | None = None
    columns: ExampleColumns = ExampleColumns()


def _as_words(value: Any) -> Any:
    """Options; YAML's own truth values are not taken for words."""
    if isinstance(value, list) and any(isinstance(word, bool) for word in value):
        raise ValueError(
            "holds true or false: YAML takes yes, no, on and off for these, so quote them"
        )
    return value


class OwnTask(_OwnSource):
    """A task of the user's own; ``form`` says how answers are read and compared."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    form: Literal["number", "letter", "word", "boolean", "text"]
    options: Annotated[Axis[str], BeforeValidator(_as_words)] = None
    max_new_tokens: Count = 256
    statement: str = "the correct answer is {}"
    columns: ItemColumns = ItemColumns()

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        if self.options is not None and self.form not in ("word", "letter"):
            raise ValueError(f"has `options`, which a task of the form {self.form} does not")
        if "{}" not in self.statement:
            raise ValueError(
                f"has a `statement` without the place {{}} of the option: {self.statement!r}"
            )
        return self


AS_NAME, AS_MAPPING = "as name", "as mapping"


def _name_or_mapping(value: Any) -> str:
    return AS_NAME if isinstance(value, str) else AS_MAPPING


Data = Annotated[
    Annotated[str, Tag(AS_NAME)] | Annotated[OwnData, Tag(AS_MAPPING)],
    Discriminator(_name_or_mapping),
]
TaskEntry = Annotated[
    Annotated[str, Tag(AS_NAME)] | Annotated[OwnTask, Tag(AS_MAPPING)],
    Discriminator(_name_or_mapping),
]
