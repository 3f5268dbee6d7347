"""What a plan will cost: predicted seconds, memory and disk of each step, by a calibrated form.

A step's time is that of its forward passes (a fixed cost of each, and 2 operations per weight and
token), of backward passes (twice that) and of generated tokens one by one. What the form misses is
put right by a factor per kind and size of model, the median over earlier steps on this machine.
"""

import heapq
import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from kdscope.models.sources import cache_folder
from kdscope.study import catalogue
from kdscope.study.graph import Plan, Step
from kdscope.study.store import write_text

TOKENS = 100.0  # tokens of an example (prompt and response): a plan reads no data
START = 6.0  # seconds until the first worker has imported its libraries
SPENT = 0.6  # share of the allowed answer length that a batch is decoded for
HIDDEN = 1000.0  # width of hidden states per 1e9 weights to the power 1/3, roughly


@dataclass(frozen=True)
class Machine:
    """The few numbers that the cost model needs of a machine; `kdscope doctor` measures them.

    Attributes:
        flops: floating-point operations per second of one slot in a matrix product.
        call: seconds of one forward pass of a model of no size (Python and kernel launches).
        load: seconds to load a model of no size.
        scale: measured over predicted seconds by ``kind:size``, from earlier steps.
    """

    flops: float = 3.0e10
    call: float = 0.006
    load: float = 0.3
    scale: Mapping[str, float] = field(default_factory=dict)


class Cost(NamedTuple):
    """Of one step: seconds, bytes of memory, bytes that stay on disk."""

    seconds: float
    memory: float
    disk: float


def machine_file() -> Path:
    """Where this machine's numbers are kept."""
    return cache_folder() / "machine.json"


def this_machine() -> Machine:
    """The numbers of this machine; defaults where none were measured."""
    try:
        return Machine(**json.loads(machine_file().read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Machine()


def save_machine(machine: Machine) -> None:
    """Keep the numbers for later plans; a folder that cannot be written is no reason to fail."""
    try:
        machine_file().parent.mkdir(parents=True, exist_ok=True)
        write_text(machine_file(), json.dumps(asdict(machine), indent=1))
    except OSError:
        pass


def costs(plan: Plan, machine: Machine, parameters: Mapping[str, float]) -> dict[str, Cost]:
    """Predicted cost of every step; ``parameters`` has the number of weights by model name."""
    found = {}
    for key, step in plan.steps.items():
        raw = _raw(step, machine, parameters)
        factor = _factor(machine.scale, _bucket(step, parameters))
        found[key] = raw._replace(seconds=raw.seconds * factor)
    return found


def learn(
    machine: Machine, measured: Iterable[tuple[Step, float]], parameters: Mapping[str, float]
) -> Machine:
    """The machine with its factors renewed by measured seconds of steps."""
    ratios: dict[str, list[float]] = {}
    for step, seconds in measured:
        raw = _raw(step, machine, parameters).seconds
        if seconds > 0.0 and raw > 0.0:
            ratios.setdefault(_bucket(step, parameters), []).append(seconds / raw)
    fresh = {bucket: statistics.median(values) for bucket, values in ratios.items()}
    return replace(machine, scale={**machine.scale, **fresh})


def makespan(plan: Plan, found: Mapping[str, Cost], todo: Iterable[str], slots: int) -> float:
    """Predicted wall seconds of the steps to do on so many slots, the longest way first."""
    todo = set(todo)
    path: dict[str, float] = {}
    for key, step in reversed(plan.steps.items()):
        if key in todo:
            path[key] = path.get(key, 0.0) + found[key].seconds
            for other in step.input_keys():
                path[other] = max(path.get(other, 0.0), path[key])
    waiting = {key: len(todo & set(plan.steps[key].input_keys())) for key in todo}
    users: dict[str, list[str]] = {}
    for key in todo:
        for other in todo & set(plan.steps[key].input_keys()):
            users.setdefault(other, []).append(key)
    ready = [(-path[key], key) for key, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    clock = START if todo else 0.0
    while ready or running:
        while ready and len(running) < slots:
            _, key = heapq.heappop(ready)
            heapq.heappush(running, (clock + found[key].seconds, key))
        clock, done = heapq.heappop(running)
        for user in users.get(done, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (-path[user], user))
    return clock


def _bucket(step: Step, parameters: Mapping[str, float]) -> str:
    weights = _weights(step, parameters)
    return f"{step.kind}:{round(2 * math.log10(weights))}" if weights else step.kind


def _factor(scale: Mapping[str, float], bucket: str) -> float:
    """The factor of a bucket, or of the nearest size of the same kind, or 1."""
    if bucket in scale:
        return scale[bucket]
    kind, _, rank = bucket.partition(":")
    same = [(abs(int(b.partition(":")[2]) - int(rank)), v) for b, v in scale.items()
            if rank and b.startswith(f"{kind}:")]  # fmt: skip
    return min(same)[1] if same else 1.0


def _weights(step: Step, parameters: Mapping[str, float]) -> float:
    for role in ("student", "model", "teacher"):
        model = step.fields.get(role)
        if isinstance(model, Mapping) and model.get("name") in parameters:
            return parameters[model["name"]]
    return 0.0


def _raw(step: Step, machine: Machine, parameters: Mapping[str, float]) -> Cost:
    form = _FORMS.get(step.kind)
    if form is None:
        return Cost(1.0, 5.0e8, 1.0e5)
    return form(step.fields, machine, parameters)


def _examples(fields: Mapping[str, Any]) -> int:
    data = fields["data"]
    if data["limit"]:
        return data["limit"]
    try:
        return catalogue.train_set(data["name"]).size
    except KeyError:
        return 1000


def _forward(machine: Machine, weights: float, tokens: float, passes: float) -> float:
    return passes * machine.call + 2 * weights * tokens / machine.flops


def _decode(machine: Machine, weights: float, answers: float, batch: int, length: float) -> float:
    batches = math.ceil(answers / batch)
    new = SPENT * length
    return _forward(machine, weights, answers * (TOKENS + new), batches * (1 + new))


def _training(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    student = fields.get("student") or fields["model"]
    weights, train = parameters.get(student["name"], 1e9), fields["train"]
    seen = _examples(fields) * train["epochs"]
    steps = math.ceil(seen / train["batch_size"])
    seconds = 3 * _forward(machine, weights, seen * TOKENS, steps)
    if fields.get("signal") is not None:
        seconds *= 1.3
    on_policy = fields.get("on_policy")
    if on_policy:
        share = on_policy["probability"]
        teacher = parameters.get(fields["teacher"]["name"], weights)
        length = train["max_length"] / 2
        seconds += share * _decode(machine, weights, seen, train["batch_size"], length)
        seconds += share * _forward(machine, teacher, seen * TOKENS, steps)
    lora = train["lora"]
    trained = weights if lora is None else min(weights, 60 * lora["r"] * weights**0.6)
    memory = 4 * weights + 16 * trained + 4e8 + train["batch_size"] * TOKENS * 4e5
    return Cost(machine.load + seconds, memory, 4 * trained)


def _texts(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    weights, count = parameters.get(fields["teacher"]["name"], 1e9), _examples(fields)
    length = fields["decoding"]["max_new_tokens"] or fields["max_length"]
    seconds = _decode(machine, weights, count, fields["batch"], length)
    return Cost(machine.load + seconds, 4 * weights + 5e8, count * 500.0)


def _cache(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    weights, tokens = parameters.get(fields["teacher"]["name"], 1e9), _examples(fields) * TOKENS
    seconds = _forward(machine, weights, tokens, _examples(fields) / 16)
    width = 2.0 * HIDDEN * (weights / 1e9) ** (1 / 3)
    if fields["top_k"]:
        return Cost(machine.load + seconds, 4 * weights + 5e8, tokens / 2 * 8 * fields["top_k"])
    bytes_each = 1 if fields["cache_dtype"] == "int8" else _bytes(fields["teacher"]["dtype"])
    return Cost(machine.load + seconds, 4 * weights + 5e8, tokens / 2 * width * bytes_each)


def _bytes(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def _predict(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    task, weights = fields["task"]["name"], parameters.get(fields["model"]["name"], 1e9)
    count = catalogue.task_size(task)
    count = min(count, fields["limit"] or count) * (1 + fields["samples"])
    length = fields["decoding"]["max_new_tokens"] or catalogue.answer_length(task)
    seconds = _decode(machine, weights, count, fields["batch"], length)
    return Cost(machine.load + seconds, 4 * weights + 5e8, count * 400.0)


def _fidelity(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    rows = sum(catalogue.task_size(task["name"]) for task in fields["tasks"])
    return Cost(0.1 + rows * 1e-3, 4e8, rows * 60.0)


def _distributions(
    fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]
) -> Cost:
    """Both models read each item after three kinds of prefix."""
    weights = sum(parameters.get(fields[role]["name"], 1e9) for role in ("model", "teacher"))
    texts = 3 * sum(min(catalogue.task_size(t["name"]), fields["items"]) for t in fields["tasks"])
    seconds = _forward(machine, weights, texts * TOKENS, texts / 16)
    return Cost(machine.load + seconds, 4 * weights + 7e8, texts * TOKENS / 2 * 20.0)


def _stats(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    return Cost(10.0, 1e9, 1e5)


def _report(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    return Cost(8.0, 6e8, 1e6)


_FORMS = {
    "sft": _training,
    "distill": _training,
    "teacher_texts": _texts,
    "teacher_cache": _cache,
    "predict": _predict,
    "fidelity": _fidelity,
    "distributions": _distributions,
    "stats": _stats,
    "report": _report,
}
