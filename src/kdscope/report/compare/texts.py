"""Overlap of texts and steps for all systems of a comparison, on several cores where it pays."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kdscope.fidelity.bleu_conventions import measure_name, score
from kdscope.fidelity.equations import parse
from kdscope.fidelity.overlap import over_items, partners
from kdscope.fidelity.reasoning import compare_steps

Progress = Callable[[int, int], None]
MEASURES = ("bleu", "chrf", "rouge_l", "bleu_floor", "chrf_floor", "rouge_l_floor")
STEPS = ("equation_f1", "value_f1", "order", "diverges")
COUNTS = tuple(f"bleu_count_{i}" for i in range(10))
_ROWS_PER_JOB = 4_000
_ALONE = 12_000  # rows below which starting further processes does not pay


class Texts(NamedTuple):
    """Texts of the chosen items, and which of them each is compared with as floor.

    Attributes:
        reference: [I] texts of the reference; None where absent.
        systems: [systems][I].
        partner: [I] place of the floor's item, -1 where there is none.
    """

    reference: list[str | None]
    systems: list[list[str | None]]
    partner: NDArray[np.intp]


def choose(
    tasks: Sequence[str], items: Sequence[str], systems: int, rows: int | None
) -> NDArray[np.intp]:
    """The items whose texts are compared: all, or as many as ``rows`` allows, evenly by task.

    The choice follows the order of a hash of the item's id, so that it depends on nothing else.
    """
    count = len(items)
    if rows is None or count * systems <= rows:
        return np.arange(count)
    if rows <= 0:
        return np.empty(0, np.intp)
    ring = _in_ring(partners(tasks, items))
    keep = max(2, rows // systems)
    return np.sort(ring[np.linspace(0, count - 1, min(keep, count)).astype(int)])


def _in_ring(partner: NDArray[np.intp]) -> NDArray[np.intp]:
    """Items in the order of their rings, task after task."""
    seen = np.zeros(len(partner), bool)
    order: list[int] = []
    for start in range(len(partner)):
        place = start
        while place >= 0 and not seen[place]:
            seen[place] = True
            order.append(place)
            place = int(partner[place])
    return np.array(order, np.intp)


def by_conventions(texts: Texts, names: Sequence[str]) -> list[dict[str, NDArray[np.float64]]]:
    """Per system sentence BLEU [I] by other conventions (:data:`CONVENTIONS`), 0 to 100."""
    return [
        {
            measure_name(name): np.array(
                [score(mine, right, name) for mine, right in zip(own, texts.reference, strict=True)]
            )
            for name in names
        }
        for own in texts.systems
    ]


def measure_texts(texts: Texts, progress: Progress) -> list[dict[str, NDArray[np.float64]]]:
    """Per system the measures of each item, [I], NaN where a side has no text.

    Names: :data:`MEASURES` (BLEU and chrF++ from 0 to 100), :data:`STEPS`, :data:`COUNTS`,
    ``valid_steps`` and ``steps`` (true and all equations of the system's text).
    """
    items, systems = len(texts.reference), len(texts.systems)
    ring = _in_ring(texts.partner)
    size = max(1, _ROWS_PER_JOB // max(systems, 1))
    jobs = [ring[start : start + size] for start in range(0, items, size)]
    names = (*MEASURES, *STEPS, *COUNTS, "valid_steps", "steps")
    table = np.full((systems, len(names), items), np.nan)
    done = 0
    for places, part in _run([_job(texts, job) for job in jobs], jobs, items * systems):
        table[:, :, places] = part
        done += len(places) * systems
        progress(done, items * systems)
    return [dict(zip(names, own, strict=True)) for own in table]


def _job(texts: Texts, places: NDArray[np.intp]) -> Texts:
    """The part of the texts that some items need, their floors' references included."""
    outside = np.setdiff1d(texts.partner[places], places)
    needed = np.concatenate([places, outside[outside >= 0]])
    local = {int(place): i for i, place in enumerate(needed)}
    inside = len(places)
    return Texts(
        [texts.reference[i] for i in needed],
        [[own[i] for i in places] for own in texts.systems],
        np.array(
            [local.get(int(p), -1) for p in texts.partner[places]] + [-1] * (len(needed) - inside)
        ),
    )


def _run(parts: list[Texts], jobs: list[NDArray[np.intp]], rows: int):
    """Results of all jobs as they come: in this process, or on all cores for many rows."""
    cores = min(len(jobs), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    if cores < 2 or rows < _ALONE:
        for part, places in zip(parts, jobs, strict=True):
            yield places, work(part)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        pending = {
            pool.submit(work, part): places for part, places in zip(parts, jobs, strict=True)
        }
        for future in as_completed(pending):
            yield pending[future], future.result()


def work(texts: Texts) -> NDArray[np.float64]:
    """Measures of one job, [systems, names, items]."""
    inside = len(texts.systems[0]) if texts.systems else 0
    names = len(MEASURES) + len(STEPS) + len(COUNTS) + 2
    table = np.full((len(texts.systems), names, inside), np.nan)
    padded = [[*own, *[None] * (len(texts.reference) - inside)] for own in texts.systems]
    for found in over_items(texts.reference, padded, texts.partner):
        if found.place >= inside:
            continue
        reference = texts.reference[found.place]
        right = parse(reference) if reference else ()
        for s, own in enumerate(texts.systems):
            text = own[found.place]
            if text is None or reference is None:
                continue
            row = table[s, :, found.place]
            overlap, floor = found.overlap[s], found.floor[s]
            if overlap is not None:
                row[:3] = overlap[:3]
                row[len(MEASURES) + len(STEPS) : -2] = overlap.counts
            if floor is not None:
                row[3:6] = floor[:3]
            mine = parse(text)
            steps = compare_steps(right, mine)
            values = (steps.equation_f1, steps.value_f1, steps.order, steps.diverges)
            row[6:10] = [np.nan if value is None else value for value in values]
            row[-2:] = sum(e.valid for e in mine), len(mine)
    return table
