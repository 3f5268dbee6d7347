"""What a plan will cost: predicted seconds, memory and disk of each step, by a calibrated form.

A step's time is that of its forward passes (a fixed cost of each, and 2 operations per weight and
token), of backward passes (twice that) and of generated tokens one by one. What the form misses is
put right by a factor per sort of step and size of model: the median over the last steps of that sort
on this machine, each counted with the time that it would have taken alone (:func:`own_seconds`).
"""

import heapq
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from kdscope.models.families import shape_of
from kdscope.models.sources import cache_folder
from kdscope.study import catalogue
from kdscope.study.graph import Plan, Step
from kdscope.study.lengths import Length, task_length, train_length
from kdscope.study.store import write_text

START = 5.0  # seconds until the first worker has imported its libraries
BETWEEN = 0.1  # seconds between two steps of a slot: files, checksums, the next job
RECENT = 24  # measured steps of a sort that count: a slow hour is forgotten
CROWDED = 1.25  # processes per core from which wall time says little about a step
STRAGGLER = 0.8  # share of the allowed answer length that a batch is decoded for at most
LONGEST = 1.8  # longest answer of a batch over the mean
ACTIVATIONS = 600.0  # bytes kept for the backward pass, a token, per weights to the power 0.45
HIDDEN = 1000.0  # width of hidden states per 1e9 weights to the power 1/3, roughly


@dataclass(frozen=True)
class Machine:
    """The few numbers that the cost model needs of a machine; `kdscope doctor` measures them.

    Attributes:
        flops: floating-point operations per second of one slot in a matrix product.
        call: seconds of one forward pass of a model of no size (Python and kernel launches).
        load: seconds to load a model of no size.
        read: bytes per second that a slot reads of weights, one token after another.
        ratios: measured over predicted seconds of the last steps, by sort and size.
    """

    flops: float = 3.0e10
    call: float = 0.006
    load: float = 0.3
    read: float = 1.0e10
    ratios: Mapping[str, Sequence[float]] = field(default_factory=dict)


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
    found, factors = {}, {name: statistics.median(r) for name, r in machine.ratios.items() if r}
    for key, step in plan.steps.items():
        raw = _raw(step, machine, parameters)
        factor = _factor(factors, _bucket(step, parameters))
        found[key] = raw._replace(seconds=raw.seconds * factor)
    return found


def learn(
    machine: Machine, measured: Iterable[tuple[Step, float]], parameters: Mapping[str, float]
) -> Machine:
    """The machine with measured seconds of steps added; of each sort the last ones are kept."""
    ratios = {bucket: list(values) for bucket, values in machine.ratios.items()}
    for step, seconds in measured:
        raw = _raw(step, machine, parameters).seconds
        if seconds > 0.0 and raw > 0.0:
            ratios.setdefault(_bucket(step, parameters), []).append(round(seconds / raw, 4))
    return replace(machine, ratios={bucket: v[-RECENT:] for bucket, v in ratios.items()})


def own_seconds(manifest: Mapping[str, Any]) -> float | None:
    """Seconds that a step would have taken with its slot to itself; None if nobody can say.

    On one thread of a processor that is its processor time, whatever else the machine was doing.
    Of several threads, or beside a GPU, wall time counts, unless the machine had more to do than it
    has cores.
    """
    seconds, cpu = manifest["seconds"], manifest.get("cpu_seconds")
    if manifest["device"] == "cpu" and manifest["threads"] == 1 and cpu is not None:
        return min(seconds, cpu)
    machine = manifest["machine"]
    crowded = machine.get("load", 0.0) > CROWDED * (machine.get("cores") or 1)
    return None if crowded else seconds


def makespan(plan: Plan, seconds: Mapping[str, float], todo: Iterable[str], slots: int) -> float:
    """Predicted wall seconds of the steps to do on so many slots, the longest way first."""
    todo = set(todo)
    path: dict[str, float] = {}
    for key, step in reversed(plan.steps.items()):
        if key in todo:
            path[key] = path.get(key, 0.0) + seconds[key] + BETWEEN
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
            heapq.heappush(running, (clock + seconds[key] + BETWEEN, key))
        clock, done = heapq.heappop(running)
        for user in users.get(done, ()):
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (-path[user], user))
    return clock


def _bucket(step: Step, parameters: Mapping[str, float]) -> str:
    """Sort and size of a step: kind, what makes steps of a kind differ, size of the model."""
    weights, sort = _weights(step, parameters), step.kind
    if step.kind == "predict":
        sort += f" {step.fields['task']['name']}"
    elif step.kind == "distill":
        signal = "rollouts" if step.fields["on_policy"] else step.fields["signal"] or "text"
        sort += f" {signal}"
    return f"{sort}:{round(2 * math.log10(weights))}" if weights else sort


def _factor(factors: Mapping[str, float], bucket: str) -> float:
    """The factor of a bucket; else of the nearest size of its sort, or of its kind; else 1."""
    if bucket in factors:
        return factors[bucket]
    sort, _, rank = bucket.partition(":")
    for like in (f"{sort}:", f"{sort.partition(' ')[0]} "):
        same: dict[int, list[float]] = {}
        for other, factor in factors.items():
            if rank and other.startswith(like):
                away = abs(int(other.partition(":")[2]) - int(rank))
                same.setdefault(away, []).append(factor)
        if same:
            return statistics.median(same[min(same)])
    return 1.0


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


def _decode(
    machine: Machine, weights: float, answers: float, batch: int, length: Length, room: float
) -> float:
    """Seconds of decoding batch by batch: every new token reads all weights once."""
    batches = math.ceil(answers / batch)
    longest = min(STRAGGLER * room, LONGEST * length.answer)
    each = machine.call + 4 * weights / machine.read
    tokens = answers * (length.prompt + length.answer)
    return _forward(machine, weights, tokens, batches) + batches * longest * each


def _training(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    student = fields.get("student") or fields["model"]
    weights, train = parameters.get(student["name"], 1e9), fields["train"]
    length = train_length(fields["data"]["name"])
    seen = _examples(fields) * train["epochs"]
    steps, tokens = math.ceil(seen / train["batch_size"]), seen * sum(length)
    seconds = 3 * _forward(machine, weights, tokens, steps)
    if fields.get("signal") is not None:
        seconds *= 1.1
    on_policy = fields.get("on_policy")
    if on_policy:
        share = on_policy["probability"]
        teacher = parameters.get(fields["teacher"]["name"], weights)
        room = train["max_length"] - length.prompt
        seconds += share * _decode(machine, weights, seen, train["batch_size"], length, room)
        seconds += share * _forward(machine, teacher, tokens, steps)
    lora = train["lora"]
    trained = weights if lora is None else min(weights, 60 * lora["r"] * weights**0.6)
    kept = ACTIVATIONS * weights**0.45 * (0.2 if train["gradient_checkpointing"] else 1.0)
    memory = 4 * weights + 16 * trained + 8e8 + train["batch_size"] * sum(length) * kept
    return Cost(machine.load + seconds, memory, 4 * trained)


def _texts(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    weights, count = parameters.get(fields["teacher"]["name"], 1e9), _examples(fields)
    length = train_length(fields["data"]["name"])
    room = fields["decoding"]["max_new_tokens"] or fields["max_length"] - length.prompt
    seconds = _decode(machine, weights, count, fields["batch"], length, room)
    return Cost(machine.load + seconds, 4 * weights + 5e8, count * 500.0)


def _cache(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    weights, length = (
        parameters.get(fields["teacher"]["name"], 1e9),
        train_length(fields["data"]["name"]),
    )
    count = _examples(fields)
    seconds = _forward(machine, weights, count * sum(length), count / 16)
    disk = cache_bytes(fields, parameters)
    return Cost(machine.load + seconds, 4 * weights + 5e8, disk)


def cache_bytes(fields: Mapping[str, Any], parameters: Mapping[str, float]) -> float:
    """About what a teacher cache takes on disk: its rows by mean lengths, and the teacher's head.

    An estimate, as a plan tokenises nothing; the step that writes the cache knows it to the byte.
    """
    teacher = fields["teacher"]
    length = train_length(fields["data"]["name"])
    every = fields.get("positions") == "every"  # prompts are supervised too
    rows = _examples(fields) * (sum(length) if every else length.answer)
    if fields["top_k"]:
        return rows * 8 * fields["top_k"]
    shape = shape_of(teacher.get("id") or teacher.get("model") or teacher["name"])
    each = _bytes(teacher["dtype"])
    if shape is None:
        width, head = 2.0 * HIDDEN * (parameters.get(teacher["name"], 1e9) / 1e9) ** (1 / 3), 0.0
    else:
        width, head = float(shape.width), shape.head * each
    return rows * (width + 4 if fields["cache_dtype"] == "int8" else width * each) + head


def _bytes(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def answers(fields: Mapping[str, Any], items: int) -> int:
    """Answers that a step ``predict`` gives to a task of so many items, samples included."""
    asked = min(items, fields["limit"] or items)
    return asked + min(asked, fields.get("sample_limit") or asked) * fields["samples"]


def _predict(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    task, weights = fields["task"], parameters.get(fields["model"]["name"], 1e9)
    count = catalogue.task_size(task)
    count = answers(fields, count)
    room = fields["decoding"]["max_new_tokens"] or catalogue.answer_length(task)
    seconds = _decode(machine, weights, count, fields["batch"], task_length(task), room)
    return Cost(machine.load + seconds, 4 * weights + 5e8, count * 400.0)


def _fidelity(fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]) -> Cost:
    rows = sum(catalogue.task_size(task) for task in fields["tasks"])
    return Cost(0.1 + rows * 1e-3, 4e8, rows * 60.0)


def _distributions(
    fields: Mapping[str, Any], machine: Machine, parameters: Mapping[str, float]
) -> Cost:
    """Both models read each item after three kinds of prefix."""
    weights = sum(parameters.get(fields[role]["name"], 1e9) for role in ("model", "teacher"))
    sizes = [(t, min(catalogue.task_size(t), fields["items"])) for t in fields["tasks"]]
    texts = 3 * sum(count for _, count in sizes)
    tokens = 3 * sum(count * sum(task_length(task)) for task, count in sizes)
    seconds = _forward(machine, weights, tokens, texts / 16)
    return Cost(2 * machine.load + seconds, 4 * weights + 7e8, tokens / 3 * 20.0)


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
