"""Where a value that is not finite comes from: one more forward pass, looked at layer by layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdscope.data.collation import Batch, Encoded, pad_batch
from kdscope.distillation.targets import States, Targets, TopK
from kdscope.divergences import Head, Objective, first_fault
from kdscope.models.adapters import plain

_NAMED = 5


class Evidence(NamedTuple):
    """A micro-batch whose loss is not finite.

    Attributes:
        examples: of the micro-batch.
        labels: next tokens of their supervised positions ``[N]``.
        objective: what is not finite.
        hidden: the student's states of these positions ``[N, H]``.
        head: the student's.
        targets: what the teacher said.
        noise: on the teacher's logits.
        vocabulary: leading rows of both heads that are real tokens.
        models: by owner (``student``, ``teacher``), those that can be run; the teacher's where it is live.
    """

    examples: Sequence[Encoded]
    labels: Tensor
    objective: Objective
    hidden: Tensor
    head: Head
    targets: Targets | None
    noise: Callable[[slice], Tensor] | None
    vocabulary: int
    models: Mapping[str, nn.Module]


def origin(evidence: Evidence, pad_id: int) -> str:
    """Example and layer that the first value that is not finite comes from, in words."""
    states = {"student": evidence.hidden}
    if isinstance(evidence.targets, States):
        states["teacher"] = evidence.targets.hidden
    if isinstance(evidence.targets, TopK):
        bad = _bad_examples(evidence, _no_numbers(evidence.targets.logprobs))
        if bad:
            return f"the teacher's log-probabilities of {_named(bad)}"
    for owner, hidden in states.items():
        bad = _bad_examples(evidence, ~torch.isfinite(hidden).all(-1))
        if bad:
            model = evidence.models.get(owner)
            layer = first_bad_layer(model, bad[0], pad_id) if model is not None else None
            return f"the {owner}'s {layer or 'hidden states'}, {_named(bad)}"
    return _head_fault(evidence) or f"the objective itself, among {_named(evidence.examples)}"


def _head_fault(evidence: Evidence) -> str | None:
    """The same where all states are finite, so that a head or its logits are at fault."""
    if isinstance(evidence.targets, TopK):
        return None
    options = {}
    if evidence.targets is not None:
        options = {"teacher_hidden": evidence.targets.hidden, "teacher_head": evidence.targets.head,
                   "teacher_noise": evidence.noise}  # fmt: skip
    fault = first_fault(
        evidence.hidden, evidence.head, evidence.labels, evidence.objective,
        vocab_size=evidence.vocabulary, **options,
    )  # fmt: skip
    if fault is None:
        return None
    owners = [(e, at) for e in evidence.examples for at in range(len(e.response))]
    example, at = owners[fault.row]
    return f"{fault.place} at response token {at} of {_named([example])}"


def _bad_examples(evidence: Evidence, rows: Tensor) -> list[Encoded]:
    """Examples that have one of the rows ``[N]`` which are True."""
    lengths = [len(example.response) for example in evidence.examples]
    parts = rows.split(lengths)
    return [e for e, part in zip(evidence.examples, parts, strict=True) if bool(part.any())]


def _no_numbers(logprobs: Tensor) -> Tensor:
    """Rows with NaN or +inf; -inf is the log-probability of a token that is not there."""
    return (torch.isnan(logprobs) | (logprobs == torch.inf)).any(-1)


def _named(examples: Sequence[Encoded]) -> str:
    names = ", ".join(repr(example.id) for example in examples[:_NAMED])
    more = len(examples) - _NAMED
    return f"example{'s' if len(examples) > 1 else ''} {names}" + (
        f" and {more} more" if more > 0 else ""
    )


def first_bad_layer(model: nn.Module, example: Encoded, pad_id: int) -> str | None:
    """The module whose output is the first that is not finite on this example, and whether its weights are.

    One forward pass in the mode and with the head that the model has now; None if all outputs are finite
    this time (as dropout may have it).
    """
    inner = plain(model)
    device = next(inner.parameters()).device
    batch = Batch(*(part.to(device) for part in pad_batch([example], pad_id)))
    found: list[str] = []
    with _watched(inner, found), torch.no_grad():
        inner(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    if not found:
        return None
    weights = inner.get_submodule(found[0]).named_parameters(recurse=False)
    broken = [name for name, weight in weights if not bool(torch.isfinite(weight).all())]
    return f"layer {found[0]}" + (f" (its {broken[0]} is not finite)" if broken else "")


@contextmanager
def _watched(model: nn.Module, found: list[str]) -> Iterator[None]:
    """While open, names of modules with an output that is not finite are added, in their order."""

    def look(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if any(not bool(torch.isfinite(t).all()) for t in _tensors(output)):
                found.append(name)

        return hook

    handles = [m.register_forward_hook(look(n)) for n, m in model.named_modules() if n]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)


def bad_gradient(model: nn.Module) -> str | None:
    """Name of the first weight whose gradient is not finite."""
    for name, weight in model.named_parameters():
        if weight.grad is not None and not bool(torch.isfinite(weight.grad).all()):
            return name
    return None


def describe(step: int, value: float, where: str, objective: str) -> str:
    """The message of a run that stops."""
    return (
        f"the loss ({objective}) is {value} at optimizer step {step}, from {where}: "
        "lower the learning rate, or check these weights and examples; the last checkpoint stays"
    )
