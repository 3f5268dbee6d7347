"""What must be in order before any training: libraries, data that can be read, weights at hand."""

from kdscope.data.sources import examples_of, items_of
from kdscope.errors import ConfigError, DataError, UserError, missing_extra
from kdscope.generation.vllm_limits import memory_share, unfit_device
from kdscope.models.sources import SMOLLM2, smollm2_gguf
from kdscope.study.local import visible_gpus
from kdscope.study.overview import Overview
from kdscope.study.resolve import Resolved
from kdscope.study.tracking import require

_LIBRARIES = {"train": "torch", "quant": "bitsandbytes", "vllm": "vLLM"}


def check(study: Overview, *, here: bool = True) -> None:
    """Read all data of a study that has steps to run, and find its extras and packaged weights.

    Args:
        study: with its plan.
        here: its steps run on this machine, so that its GPUs are looked for.

    Raises:
        UserError: lists everything that is missing or malformed; nothing was started.
    """
    require(study.plan.trackers, study.plan.name)
    for extra in study.missing_extras():
        raise missing_extra(extra, _LIBRARIES.get(extra, extra), f"the study {study.plan.name!r}")
    if here and study.needs_vllm():
        device = "cuda" if visible_gpus() else "cpu"
        if reason := unfit_device(device):
            raise ConfigError(reason)
        memory_share(device)
    _raise_all([str(problem) for problem in (*_data(study.resolved), *_weights(study.resolved))])


def check_own_files(resolved: Resolved) -> None:
    """Read the user's own files, which are always at hand, record by record.

    Raises:
        DataError: lists what is malformed, with file and line.
    """
    _raise_all([str(problem) for problem in _data(resolved, own_only=True)])


def _raise_all(problems: list[str]) -> None:
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise DataError(f"{len(problems)} things are not at hand, nothing was started:\n{listed}")


def _data(resolved: Resolved, *, own_only: bool = False) -> list[UserError]:
    problems: list[UserError] = []
    for ref in {ref.name: ref for ref in (resolved.data, resolved.teacher_data)}.values():
        if own_only and ref.path is None:
            continue
        try:
            examples = examples_of(ref.fields, ref.path)
            held = resolved.study.train.validation
            if len(examples) <= held:
                problems.append(
                    DataError(
                        f"{ref.name} has {len(examples)} examples and train.validation holds "
                        f"{held} of them out: nothing is left to train on"
                    )
                )
        except UserError as problem:
            problems.append(problem)
    for task in resolved.tasks:
        if own_only and task.path is None:
            continue
        try:
            items_of(task.fields, task.path, limit=resolved.study.evaluate.limit)
        except UserError as problem:
            problems.append(problem)
    return problems


def _weights(resolved: Resolved) -> list[UserError]:
    models = {**resolved.teachers, **resolved.students}
    names = {entry.model for entry in (*resolved.study.teachers, *resolved.study.students)}
    if not models or SMOLLM2 not in names:
        return []
    try:
        smollm2_gguf()
    except UserError as problem:
        return [problem]
    return []
