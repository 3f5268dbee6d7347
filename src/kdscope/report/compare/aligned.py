"""All systems of a comparison on the reference's items, as columns of numbers."""

# pandas' annotations are unions that its own methods refuse, so these checks find nothing here.
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false, reportReturnType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false, reportOptionalMemberAccess=false

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdscope.data.tasks import TASKS
from kdscope.fidelity.agreement import AnswerBook, Answers, columns
from kdscope.fidelity.calibration import calibration_columns
from kdscope.fidelity.choices import align, option_columns
from kdscope.fidelity.embeddings import Encoder, likeness_columns
from kdscope.fidelity.noise import noise_columns, self_agreement
from kdscope.fidelity.overlap import partners
from kdscope.fidelity.reasoning import by_answer_columns
from kdscope.report.compare.inputs import System, name_items
from kdscope.report.compare.texts import (
    COUNTS,
    MEASURES,
    Progress,
    Texts,
    by_conventions,
    measure_texts,
)
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import Array
from kdscope.stats.design import Design, codes

MEANS = (*MEASURES, "equation_f1", "value_f1", "order")
_BATCH_BYTES = 400 << 20


class Aligned:
    """All systems on the reference's items: columns per system, zero where it lacks an item."""

    def __init__(self, systems: Sequence[System]) -> None:
        self.systems, book = systems, AnswerBook()
        self.index = systems[0].keys
        self.task = [str(task) for task in self.index.get_level_values(0)]
        self.item = [str(item) for item in self.index.get_level_values(1)]
        questions = {key: q for system in reversed(systems) for key, q in system.questions.items()}
        clusters = None
        if questions:
            asked = [" ".join(questions.get(key, "").lower().split()) for key in self.index]
            clusters = [
                q or f"\0{task}\0{item}" for q, (task, item) in zip(asked, self.index, strict=True)
            ]
        self.plan: Design = bootstrap.design(len(self.index), groups=self.task, clusters=clusters)
        self.places = [self._places(system) for system in systems]
        self.answers = [
            book.read(system.headline["answer"].tolist(), system.headline["correct"].tolist())
            for system in systems
        ]
        options = _options(self.task, self.answers[0], systems[0])
        free = systems[0].headline["free"].to_numpy(bool)
        self.columns: list[dict[str, Array]] = []
        self.matched: list[int] = []
        self.sampled: list[bool] = []
        for place, system in enumerate(systems):
            rows = np.flatnonzero(self.places[place] >= 0)
            target = self.places[place][rows]
            own = self.answers[place].take(rows)
            table = _own_columns(own, system.headline.iloc[rows])
            if place:
                pair = columns(self.answers[0].take(target), own, options=options[target])
                table |= {
                    name: np.where(free[target], 0.0, values) for name, values in pair.items()
                }
            self.matched.append(len(rows))
            self.columns.append(_spread(table, target, len(self.index)))
        self._add_noise(book)
        self._add_options()

    def _places(self, system: System) -> np.ndarray:
        """The reference's place of each of the system's items, -1 where the reference lacks it."""
        keys = system.keys
        if keys.equals(self.index):
            return np.arange(len(keys))
        return self.index.get_indexer(keys)

    def _add_noise(self, book: AnswerBook) -> None:
        codes = [_sample_codes(system, book, self.index) for system in self.systems]
        for place, own in enumerate(codes):
            if own is not None:
                agreement = self_agreement(own)
                defined = np.isfinite(agreement)
                self.columns[place]["own_sampled"] = defined.astype(float)
                self.columns[place]["own_agreement"] = np.where(defined, agreement, 0.0)
            if place and own is not None and codes[0] is not None:
                self.columns[place] |= noise_columns(codes[0], own)

    def _add_options(self) -> None:
        """Columns of scored options: each system's calibration, and what it shares with the first."""
        reference = self.systems[0].choices
        for place, system in enumerate(self.systems):
            if system.choices is None:
                continue
            own = calibration_columns(system.choices.p, system.choices.gold)
            self.columns[place] |= self._on_items(own, system.choices.keys)
            if place and reference is not None:
                p, q = align(reference, system.choices)
                pair = option_columns(p.p, q.p, q.gold, q.options)
                self.columns[place] |= self._on_items(pair, q.keys)

    def _on_items(
        self, columns: Mapping[str, Array], keys: Sequence[tuple[str, str]]
    ) -> dict[str, Array]:
        """Columns over scored items as columns over the comparison's."""
        spread = {name: np.zeros(len(self.index)) for name in columns}
        if keys:
            places = self.index.get_indexer(pd.MultiIndex.from_tuples(keys))
            known = places >= 0
            for name, values in columns.items():
                spread[name][places[known]] = values[known]
        return spread

    def mismatches(self) -> list[str]:
        """What items the systems do not share with the reference."""
        notes, name = [], self.systems[0].name
        for system, places in zip(self.systems[1:], self.places[1:], strict=True):
            extra = np.flatnonzero(places < 0)
            lacking = np.setdiff1d(np.arange(len(self.index)), places)
            parts = []
            if len(extra):
                keys = [system.keys[i] for i in extra[:6]]
                parts.append(f"{len(extra)} of its items are not in {name} ({name_items(keys)})")
            if len(lacking):
                keys = [self.index[i] for i in lacking[:6]]
                parts.append(f"{len(lacking)} items of {name} are not in it ({name_items(keys)})")
            if parts:
                shared = len(places) - len(extra)
                notes.append(f"{system.name}: {'; '.join(parts)}; {shared} items are compared")
        return notes

    def columns_of(self, batch: Sequence[int]) -> dict[str, Array]:
        """Columns of some systems under prefixed names."""
        return {f"{p}\0{name}": v for p in batch for name, v in self.columns[p].items()}

    def batches(self, resamples: int) -> list[list[int]]:
        """Systems that are drawn at once, so that the resamples fit into memory."""
        width = max(len(own) for own in self.columns) * len(self.plan.labels) * resamples * 8
        size = max(1, _BATCH_BYTES // width)
        places = list(range(len(self.systems)))
        return [places[start : start + size] for start in range(0, len(places), size)]


def _own_columns(answers: Answers, rows: pd.DataFrame) -> dict[str, Array]:
    free = rows["free"].to_numpy(bool)
    known = np.isfinite(answers.correct) & ~free
    score = pd.to_numeric(rows["score"]).to_numpy(float)
    scored = free & np.isfinite(score)
    return {
        "present": (~free).astype(float),
        "known_own": known.astype(float),
        "right_own": np.where(known, np.nan_to_num(answers.correct), 0.0),
        "invalid_own": (~answers.valid & ~free).astype(float),
        "scored": scored.astype(float),
        "score": np.where(scored, np.nan_to_num(score), 0.0),
    }


def _spread(table: Mapping[str, Array], places: np.ndarray, items: int) -> dict[str, Array]:
    if len(places) == items and (places == np.arange(items)).all():
        return dict(table)
    spread = {}
    for name, values in table.items():
        spread[name] = np.zeros(items)
        spread[name][places] = values
    return spread


def _options(tasks: Sequence[str], answers: Answers, reference: System) -> Array:
    """[I] number of options of each item: the catalogue's, else as many as a closed task shows."""
    given = reference.headline["answer"]
    found: dict[str, float] = {}
    for task, own in given.groupby(np.asarray(tasks)):
        distinct = {str(a) for a in own.dropna().unique()}
        known = TASKS.get(task)
        letters = bool(distinct) and all(len(a) == 1 and a.isalpha() for a in distinct)
        words = bool(distinct) and len(distinct) <= 6 and all(not a[:1].isdigit() for a in distinct)
        if known and known.options:
            found[task] = len(known.options)
        elif known and known.form == "boolean":
            found[task] = 2
        elif letters or words:
            found[task] = max(len(distinct), 2)
        else:
            found[task] = math.nan
    return np.array([found.get(task, math.nan) for task in tasks])


def _sample_codes(system: System, book: AnswerBook, index: pd.MultiIndex) -> np.ndarray | None:
    """Answer codes [I, S] of all samples, -2 where a sample is absent; None with one sample."""
    if not len(system.samples):
        return None
    rows = system.samples
    places = index.get_indexer(pd.MultiIndex.from_frame(rows[["task", "item"]]))
    sample, _ = codes(rows["sample"].to_numpy())
    table = np.full((len(index), int(sample.max()) + 1), -2)
    known = places >= 0
    table[places[known], sample[known]] = book.read(rows["answer"].tolist()).code[known]
    return table


def add_texts(
    table: Aligned,
    chosen: np.ndarray,
    progress: Progress,
    notes: list[str],
    conventions: Sequence[str] = (),
    encoder: Encoder | None = None,
) -> None:
    """Add the columns of overlaps and steps of the chosen items to the systems."""
    reference = table.systems[0].headline["text"]
    if not len(chosen) or reference.isna().all():
        return
    texts = [_texts(reference.take(chosen))]
    for system, places in zip(table.systems[1:], table.places[1:], strict=True):
        row_of = np.full(len(table.index), -1)
        row_of[places[places >= 0]] = np.flatnonzero(places >= 0)
        rows = row_of[chosen]
        own = _texts(system.headline["text"].take(np.maximum(rows, 0)))
        texts.append([text if row >= 0 else None for text, row in zip(own, rows, strict=True)])
    if len(chosen) < len(table.item):
        notes.append(
            f"texts and steps are compared on {len(chosen)} of {len(table.item)} items "
            "(--text-rows sets how many)"
        )
    partner = partners([table.task[i] for i in chosen], [table.item[i] for i in chosen])
    given = Texts(texts[0], texts[1:], partner)
    others = by_conventions(given, conventions)
    if encoder is not None:
        near = likeness_columns(given.reference, given.systems, list(partner), encoder)
        others = [one | more for one, more in zip(others, near, strict=True)]
    for place, found in enumerate(measure_texts(given, progress), 1):
        own = table.columns[place]
        for name, values in others[place - 1].items():
            own[name] = _placed(np.nan_to_num(values), chosen, table)
            own[f"{name}_n"] = _placed(np.isfinite(values), chosen, table)
        for name in (*MEANS, *COUNTS):
            own[name] = _placed(np.nan_to_num(found[name]), chosen, table)
        for name, source in (
            ("texts", "bleu"),
            ("floors", "bleu_floor"),
            ("stepped", "equation_f1"),
        ):
            own[name] = _placed(np.isfinite(found[source]), chosen, table)
        own["first_step"] = _placed(found["diverges"] == 1, chosen, table)
        for name in ("valid_steps", "steps"):
            own[name] = _placed(np.nan_to_num(found[name]), chosen, table)
        agree = np.where(own["counted"][chosen] > 0, own["agree"][chosen], np.nan)
        for name, values in by_answer_columns(found["equation_f1"], agree).items():
            own[name] = _placed(values, chosen, table)


def _placed(values: np.ndarray, chosen: np.ndarray, table: Aligned) -> Array:
    column = np.zeros(len(table.item))
    column[chosen] = values
    return column


def _texts(column: pd.Series) -> list[str | None]:
    return [None if pd.isna(text) else str(text) for text in column]
