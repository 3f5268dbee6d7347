"""What a plan costs on a GPU that is not there: with the teacher cache, without it, and the paper's way.

The paper's way is its reference implementation. On paper, from shapes, lengths and four numbers of the
device; ``docs/cost.md`` has the method and what is known of its error. The cost model of this machine,
which learns from runs, is :mod:`kdscope.study.cost`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kdscope.data.tasks import task_of
from kdscope.models.families import Shape, shape_of
from kdscope.study import catalogue
from kdscope.study.cost import answers
from kdscope.study.graph import Plan, Step
from kdscope.study.lengths import Length, task_length, train_length

LOAD_RATE = 1.0e9  # bytes of weights per second, from a warm disk
START = 10.0  # seconds until a step's model stands, apart from its weights
STRAGGLER = 0.8  # share of the allowed length that a batch is decoded for: its longest row decides
# Positions computed over tokens there are, measured with Qwen2.5's vocabulary (docs/cost.md).
PADDED = 1.4  # batches of 16 training texts
PADDED_REFERENCE = 1.25  # of 4
PADDED_PROMPTS = 1.6  # of 256 prompts
REFERENCE_MICRO = 4  # sequences per forward pass in the reference's training arguments


@dataclass(frozen=True)
class Device:
    """A GPU on paper.

    Attributes:
        name: as printed.
        flops: dense bfloat16 operations per second, its data sheet's.
        share: of these that training and prefill reach (eager kernels, short sequences).
        bandwidth: bytes per second of its memory.
        layer: seconds that one layer's forward pass takes to be launched, however little it computes.
    """

    name: str
    flops: float
    share: float
    bandwidth: float
    layer: float


H100 = Device("H100", 989e12, 0.40, 3.35e12, 0.7e-3)
A100 = Device("A100", 312e12, 0.45, 2.04e12, 0.7e-3)


class Hours(NamedTuple):
    """Hours of one GPU for a whole plan.

    Attributes:
        cached: as it runs, the teacher once per text.
        live: with the teacher run at every step instead of its cache.
        rollouts: the part of both that is decoding the student's own sequences in training.
        reference: the same cells as the paper's reference implementation computes them.
    """

    device: str
    cached: float
    live: float
    rollouts: float
    reference: float


def gpu_hours(plan: Plan, device: Device = H100) -> Hours | None:
    """Predicted hours of a plan on a device; None where the shape of a model is not known."""
    shapes = _shapes(plan)
    if shapes is None:
        return None
    seconds = [_Estimate(step, shapes, device).seconds() for step in plan.steps.values()]
    cached, live, rollouts, reference = (sum(part) / 3600 for part in zip(*seconds, strict=True))
    return Hours(device.name, cached, live, rollouts, reference)


def _shapes(plan: Plan) -> dict[str, Shape] | None:
    found: dict[str, Shape] = {}
    for step in plan.steps.values():
        for role in ("model", "student", "teacher"):
            model = step.fields.get(role)
            if isinstance(model, Mapping) and "source" in model:
                shape = shape_of(str(model.get("id") or model.get("model")))
                if shape is None:
                    return None
                layers = model.get("layers") or shape.layers
                found[model["name"]] = shape._replace(layers=layers)
    return found


class _Seconds(NamedTuple):
    cached: float
    live: float
    rollouts: float
    reference: float


class _Estimate:
    """One step of a plan on one device."""

    def __init__(self, step: Step, shapes: Mapping[str, Shape], device: Device):
        self.step, self.fields, self.shapes, self.device = step, step.fields, shapes, device

    def seconds(self) -> _Seconds:
        """Of the step, in all three ways."""
        forms = {"sft": self._training, "distill": self._training, "predict": self._predict,
                 "teacher_cache": self._cache, "teacher_texts": self._texts}  # fmt: skip
        form = forms.get(self.step.kind)
        return form() if form else _Seconds(5.0, 5.0, 0.0, 0.0)

    def _forward(self, shape: Shape, tokens: float, passes: float) -> float:
        return passes * shape.layers * self.device.layer + self._compute(2 * shape.body * tokens)

    def _compute(self, operations: float) -> float:
        return operations / (self.device.share * self.device.flops)

    def _token(self, shape: Shape, batch: float = 1.0) -> float:
        """One decoded token of a batch: launching, or reading the weights, whichever is longer."""
        reading = 2 * shape.weights / self.device.bandwidth
        return max(
            shape.layers * self.device.layer, reading, self._compute(2 * shape.weights * batch)
        )

    def _load(self, shape: Shape) -> float:
        return START + 2 * shape.weights / LOAD_RATE

    def _training(self) -> _Seconds:
        fields, train = self.fields, self.fields["train"]
        student = self.shapes[(fields.get("student") or fields["model"])["name"]]
        teacher = self.shapes[fields["teacher"]["name"]] if fields.get("signal") else None
        length = train_length(fields["data"]["name"])
        seen = _examples(fields["data"]) * train["epochs"]
        steps = math.ceil(seen / train["batch_size"])
        real = seen * sum(length)
        tokens = PADDED * real
        supervised = real if fields.get("positions") == "every" else seen * length.answer
        head = 2 * student.head + (teacher.head if teacher else 0.0)
        own = 2 * self._forward(student, tokens, 1.5 * steps) + self._compute(2 * head * supervised)
        passes = steps * math.ceil(train["batch_size"] / REFERENCE_MICRO)
        reference = 2 * self._forward(student, PADDED_REFERENCE * real, 1.5 * passes)
        reference += self._compute(2 * head * PADDED_REFERENCE * real)
        watching = rollouts = scoring = reference_rollouts = 0.0
        if teacher:
            watching = self._forward(teacher, tokens, steps)
            reference += self._forward(teacher, PADDED_REFERENCE * real, passes)
        policy = fields.get("on_policy")
        if policy and teacher:
            share, batch = policy["probability"], train["batch_size"]
            coins = math.ceil(batch / policy.get("sequences_per_coin", batch))
            busy = 1 - (1 - share) ** coins  # share of the steps that decode anything
            longest = min(STRAGGLER * (train["max_length"] - length.prompt), 1.6 * length.answer)
            rows = share * batch / busy if busy else 0.0
            rollouts = busy * steps * longest * self._token(student, rows)
            reference_rollouts = share * passes * longest * self._token(student)
            scoring = self._forward(teacher, share * tokens, busy * steps)
        load = self._load(student)
        return _Seconds(
            load + own + rollouts + scoring, load + own + rollouts + watching, rollouts,
            load + reference + reference_rollouts,
        )  # fmt: skip

    def _cache(self) -> _Seconds:
        """The teacher reads the text once; without the cache, nothing is read here."""
        teacher, count = self.shapes[self.fields["teacher"]["name"]], _examples(self.fields["data"])
        tokens = PADDED * count * sum(train_length(self.fields["data"]["name"]))
        reading = self._load(teacher) + self._forward(teacher, tokens, count / 16)
        return _Seconds(reading, 0.0, 0.0, 0.0)

    def _texts(self) -> _Seconds:
        """True sequence-level KD is not in the reference: it costs nothing there."""
        fields, teacher = self.fields, self.shapes[self.fields["teacher"]["name"]]
        length = train_length(fields["data"]["name"])
        room = fields["decoding"]["max_new_tokens"] or fields["max_length"] - length.prompt
        count, batch = _examples(fields["data"]), fields["batch"]
        seconds = self._load(teacher) + self._decode(teacher, count, batch, length, room)
        return _Seconds(seconds, seconds, 0.0, 0.0)

    def _predict(self) -> _Seconds:
        fields, task = self.fields, task_of(self.fields["task"])
        model, length = self.shapes[fields["model"]["name"]], task_length(fields["task"])
        count = answers(fields, catalogue.task_size(fields["task"]))
        room = fields["decoding"]["max_new_tokens"] or task.max_new_tokens
        seconds = self._load(model) + self._decode(model, count, fields["batch"], length, room)
        return _Seconds(
            seconds, seconds, 0.0, self._load(model) + self._one_by_one(model, count, length)
        )

    def _decode(
        self, model: Shape, answers: float, batch: int, length: Length, room: float
    ) -> float:
        """Batches with a key-value cache; finished rows leave, the longest decides the time."""
        batches = math.ceil(answers / batch)
        rows = min(batch, answers)
        prefill = self._forward(model, PADDED_PROMPTS * answers * length.prompt, batches)
        return prefill + batches * STRAGGLER * room * self._token(model, rows)

    def _one_by_one(self, model: Shape, answers: float, length: Length) -> float:
        """Batch 1 without key-value cache: every new token reads the whole text again."""
        read = length.answer * (length.prompt + length.answer / 2)
        each = length.answer * self._token(model) + self._compute(2 * model.body * read)
        return answers * each


def _examples(data: Mapping[str, Any]) -> int:
    try:
        size = catalogue.train_set(data["name"]).size
    except KeyError:
        size = catalogue.UNKNOWN_SIZE
    return min(data["limit"] or size, size) - (data["validation"] if data["limit"] is None else 0)


def in_words(hours: Hours) -> str:
    """One line for `kdscope plan`."""
    return (
        f"on one {hours.device} (on paper, docs/cost.md): {hours.cached:.1f} h, of which rollouts "
        f"{hours.rollouts:.1f} h; without the teacher cache {hours.live:.1f} h; as the reference "
        f"implementation does it {hours.reference:,.0f} h"
    )
