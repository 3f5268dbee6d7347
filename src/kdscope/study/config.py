"""The study as a person writes it: frozen, typed, every unknown key an error.

What a person writes is small; :func:`kdscope.study.resolve.load_study` returns the same record with
everything filled in. A list under ``methods`` or ``ablations`` opens an axis of the grid.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from kdscope.study.config_data import Data, TaskEntry
from kdscope.study.fields import (
    Axis,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Record,
    as_axis,
    as_names,
    as_tuple,
)

PAPER_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")

Objective = Literal[
    "nll", "forward_kl", "reverse_kl", "jsd", "jsd_normalised", "skew_kl", "skew_rkl", "tvd", "mse",
    "adaptive_kl", "paper_forward_kl", "paper_reverse_kl", "paper_jsd",
]  # fmt: skip
Engine = Literal["transformers", "vllm"]  # that decodes
DEFAULT_ENGINE: Engine = "transformers"
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Quantisation = Literal["int8", "nf4"]


class Model(Record):
    """A model: embedded name, hub id (``org/name@revision``) or checkpoint folder.

    ``name`` is how tables and folders call it; ``layers`` keeps only the first so many layers.
    ``quantize`` rounds a teacher's weights to 8 or 4 bits after its fine-tuning; ``attention`` and
    ``device_map`` are the words of transformers (``sdpa``, ``flash_attention_2``; ``auto``).
    """

    later = frozenset({"quantize", "attention", "device_map"})

    model: str
    name: str = ""
    revision: str | None = None
    layers: Count | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantize: Quantisation | None = None
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    device_map: Literal["auto"] | None = None


def _as_model(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


ModelEntry = Annotated[Model, BeforeValidator(_as_model)]


class Lora(Record):
    """Low-rank adapters: rank, scale, dropout and the projections that get one.

    ``base: nf4`` keeps the weights below them in 4 bits while they are trained (QLoRA).
    """

    later = frozenset({"base"})

    r: Count = 8
    alpha: Positive = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = PAPER_PROJECTIONS
    base: Literal["full", "nf4"] = "full"


class Train(Record):
    """How students are trained; ``lora: null`` means full fine-tuning.

    ``precision: fast`` rounds the logits of the objective to the dtype of the head; ``rollouts`` names
    the engine in which students answer while they are trained.
    """

    later = frozenset({"precision", "rollouts"})

    data: Data
    limit: Count | None = None
    validation: Annotated[int, Field(ge=0)] = 0
    split_seed: int = 0
    epochs: Positive = 3
    batch_size: Count = 16
    learning_rate: Positive = 3e-4
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weight_decay: NotNegative = 0.0
    max_grad_norm: Positive = 1.0
    max_length: Count = 256
    reduction: Literal["token", "sequence"] = "token"
    select: Literal["last", "best_nll"] = "last"
    lora: Lora | None = Lora()
    gradient_checkpointing: bool = False
    precision: Literal["exact", "fast"] = "exact"
    rollouts: Engine = DEFAULT_ENGINE


class TeacherTrain(Record):
    """What differs for the teacher's own fine-tuning; everything else is as under ``train``."""

    data: Data | None = None
    limit: Count | None = None
    epochs: Positive | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    schedule: Literal["linear", "cosine", "constant"] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    weight_decay: NotNegative | None = None
    max_length: Count | None = None
    lora: Lora | None = None


class Decoding(Record):
    """How the headline answer is made; further samples are always drawn at ``temperature``."""

    strategy: Literal["greedy", "sample"] = "greedy"
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Count | None = None


def _as_decoding(value: Any) -> Any:
    return {"strategy": value} if isinstance(value, str) else value


Prompt = Literal["clean", "paper", "chat"]


class Settings(Record):
    """Settings of a method; a list opens an axis. Which of them a method knows: ``METHODS``."""

    later = frozenset({"train_limit"})

    objective: Axis[Objective] = None
    beta: Axis[Fraction] = None
    alpha: Axis[Fraction] = None
    mu: Axis[Fraction] = None
    temperature: Axis[Positive] = None
    scale_by_t2: Axis[bool] = None
    hard_weight: Axis[Fraction] = None
    teacher_noise: Axis[NotNegative] = None
    on_policy: Axis[Fraction] = None
    sampling_temperature: Axis[Positive] = None
    sequences: Axis[Literal["reference", "teacher"]] = None
    init: Axis[Literal["base", "sft"]] = None
    epochs: Axis[Positive] = None
    learning_rate: Axis[Positive] = None
    train_limit: Axis[Count] = None  # training records of the student; the teacher keeps its own

    def axes(self) -> dict[str, tuple[Any, ...]]:
        """The settings that were written, each as the tuple of its values."""
        return {name: value for name, value in self if value is not None}


def _as_settings(value: Any) -> Any:
    return {} if value is None else value


class Ablations(Settings):
    """Values tried one factor at a time from the study's own setting.

    ``decoding`` and ``evaluation_prompt`` change how everybody answers, teacher and SFT student
    included, and train nobody anew.
    """

    later = frozenset({"train_limit", "decoding", "evaluation_prompt", "teacher_quantize"})

    teacher_adapted: Axis[bool] = None
    teacher_quantize: Axis[Quantisation] = None
    decoding: Annotated[
        tuple[Annotated[Decoding, BeforeValidator(_as_decoding)], ...] | None,
        BeforeValidator(as_axis),
    ] = None
    evaluation_prompt: Axis[Prompt] = None


class Evaluate(Record):
    """Tasks or suites, and how they are decoded; ``engine`` also makes the teacher's texts."""

    later = frozenset({"sample_limit", "sample_seeds", "engine"})

    tasks: Annotated[tuple[TaskEntry, ...], BeforeValidator(as_tuple)]
    limit: Count | None = None
    decoding: Annotated[Decoding, BeforeValidator(_as_decoding)] = Decoding()
    samples: Annotated[int, Field(ge=0)] = 0
    sample_limit: Count | None = None  # items per task that are sampled; None is all that are asked
    sample_seeds: Count | None = None  # seeds whose students are sampled; None is all
    batch_size: Count = 32
    choices: bool = False
    distributions: Annotated[int, Field(ge=0)] = 8  # items per task whose tokens are compared
    engine: Engine = DEFAULT_ENGINE

    @field_validator("sample_limit", "sample_seeds")
    @classmethod
    def _of_samples(cls, limit: int | None, info: ValidationInfo) -> int | None:
        if limit is not None and info.data.get("samples") == 0:
            raise ValueError("limits the samples, of which samples: 0 draws none; write samples: 2")
        return limit

    def decoder(self) -> dict[str, str]:
        """A field that only steps have which another engine than the default decodes in."""
        return {} if self.engine == DEFAULT_ENGINE else {"engine": self.engine}


class Statistics(Record):
    """Resampling and the margin of equivalence (fraction)."""

    resamples: Count = 10_000
    seed: int = 0
    margin: Fraction = 0.02


class Server(Record):
    """An OpenAI-compatible completions endpoint (up to ``/v1``) and the teacher's name there."""

    url: str
    model: Annotated[str, Field(min_length=1)]

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^\s@]+", url):
            raise ValueError(
                "must be http:// or https:// with a host, as in http://localhost:8000/v1, and hold no "
                "password: a key is read from KDSCOPE_SERVER_KEY"
            )
        return url


class Study(Record):
    """A whole study.

    ``losses: paper`` trains as the paper's reference does: its formulas, on every position of prompt
    and answer (``docs/presets.md`` says what else).
    """

    later = frozenset({"losses", "server"})

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    conventions: Literal["kdscope", "paper"] = "kdscope"
    losses: Literal["corrected", "paper"] = "corrected"
    seeds: Annotated[tuple[int, ...], BeforeValidator(as_tuple), Field(min_length=1)] = (0,)
    teachers: Annotated[tuple[ModelEntry, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    students: Annotated[tuple[ModelEntry, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    pairs: tuple[tuple[str, str], ...] | None = None
    include_base: bool = False
    prompt: Prompt = "clean"
    train: Train
    teacher_train: Annotated[TeacherTrain, BeforeValidator(_as_settings)] = TeacherTrain()
    teacher_seed: int = 0
    teacher_adapted: bool = True
    teacher_noise: NotNegative = 0.0
    teacher_signal: Literal["cached", "live", "topk", "server"] = "cached"
    top_k: Count = 64  # tokens kept per position under `teacher_signal: topk` and `server`
    server: Server | None = None
    teacher_decoding: Annotated[Decoding, BeforeValidator(_as_decoding)] = Decoding()
    cache_dtype: Literal["exact", "int8"] = "exact"
    sequences: Literal["reference", "teacher"] | None = None
    init: Literal["base", "sft"] = "base"
    methods: Annotated[
        dict[str, Annotated[Settings, BeforeValidator(_as_settings)]], Field(min_length=1)
    ]
    ablations: Annotated[Ablations, BeforeValidator(_as_settings)] = Ablations()
    evaluate: Evaluate
    statistics: Annotated[Statistics, BeforeValidator(_as_settings)] = Statistics()
    trackers: Annotated[tuple[Tracker, ...], BeforeValidator(as_names)] = ()

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"a seed is listed twice in {list(seeds)}")
        return seeds
