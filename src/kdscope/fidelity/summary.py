"""From a study's ``generations`` and ``fidelity`` to the rows of its ``comparisons``.

Levels of each cell (accuracy, agreement, kappa, overlaps with their floors), differences to the SFT
student of the same student, collapse, and the paper's own tests: each with interval, signature and,
where something is tested, a p-value adjusted within its family.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from kdscope.fidelity.accuracies import main_runs
from kdscope.fidelity.answer_model import answer_model
from kdscope.fidelity.certainty import family_rows, mcnemar_rows, power_rows
from kdscope.fidelity.columns import BY_EXTRACTOR, MEASURES
from kdscope.fidelity.comparison_rows import Row, adjust_family, cell_row, value_range
from kdscope.fidelity.levels import Frame, Level, Run, add_levels, read_runs
from kdscope.fidelity.method_tests import method_tests
from kdscope.fidelity.paper_tests import paper_tests
from kdscope.fidelity.selection_rows import selection_rows
from kdscope.stats import bootstrap, two_level
from kdscope.stats.bootstrap import RESAMPLES, Array, Design
from kdscope.stats.equivalence import tost_drawn
from kdscope.stats.proportions import wilson
from kdscope.stats.records import Estimate

MOSTLY_INVALID = 0.5
MARGIN = 0.02
SHARED = ("train_limit", "decoding", "evaluation_prompt")  # as `kdscope.study.grid` has them
TO_TEACHER = ("teacher", "tokens", "samples", "options", "calibration")
OWN = ("agreement", "kappa", "bleu", "chrf", "rouge_l", "equation_f1", "flips_up", "flips_down")
GAINS = {
    "agreement": "gain_in_agreement",
    "kappa": "gain_in_kappa",
    "agreement_when_teacher_wrong": "gain_in_agreement_when_teacher_wrong",
    "bleu": "gain_in_bleu",
    "equation_f1": "gain_in_equation_f1",
}


def study_comparisons(
    generations: Frame,
    fidelity: Frame,
    items: Frame,
    distributions: Frame = (),
    choices: Frame = (),
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    margin: float = MARGIN,
    sizes: Mapping[str, float] | None = None,
) -> list[Row]:
    """Rows of the ``comparisons`` table of a study.

    Args:
        generations: rows of ``generations``; sample 0 is the answer, further ones give the noise.
        fidelity: rows of ``fidelity`` with relations ``teacher`` and ``sft_student``.
        items: rows of ``items``: equal questions are resampled together, options enter kappa.
        distributions: rows of ``distributions``.
        choices: rows of ``choices``, where options were scored.
        resamples: R.
        seed: of the resamples; 0 is a seed.
        margin: of equivalence, a fraction, fixed beforehand.
        sizes: student -> number of parameters, for the paper's correlation with size; read from the
            names (``0.5B``, ``135M``) where absent.

    Fractions are in [0, 1]. ``task`` is a task or ``all``, the unweighted mean over tasks.
    """
    runs, plan, index = read_runs(generations, fidelity, items, distributions, choices)
    settings = Settings(resamples, seed, margin)
    rows: list[Row] = []
    for student, own in groupby(sorted(runs, key=_student), key=_student):
        rows += _student_rows(student, list(own), plan, runs, settings)
    _adjust(rows)
    pairs = _all_pairs(main_runs(runs))
    rows += family_rows(rows) + mcnemar_rows(pairs, plan) + power_rows(pairs, plan)
    rows += method_tests(runs, plan, rows, margin=margin, seed=seed)
    rows += answer_model(runs, plan, sizes or {}, seed=seed)
    rows += selection_rows(runs, list(index), resamples=resamples, seed=seed)
    return rows + paper_tests([row for row in rows if row["scope"] == "cell"], sizes or {})


class Settings(NamedTuple):
    """How numbers are made: R, the seed of the resamples, and the margin of equivalence."""

    resamples: int
    seed: int
    margin: float


def _student(run: Run) -> str:
    return run.system["student"] or ""


def _student_rows(
    student: str, runs: list[Run], plan: Design, everyone: list[Run], settings: Settings
) -> list[Row]:
    """All rows of one student's cells; the teachers come as the cells without a student.

    Cell by cell, under the same resamples each time, so that only the SFT students' are kept.
    """
    resamples, seed, margin = settings
    signature = (
        f"bootstrap:paired|R:{resamples}|unit:{'cluster' if plan.clustered else 'item'}|seed:{seed}"
    )
    maker = _Maker(plan, signature, seed)
    own = _sft(runs) if student else []
    bases = _bases(runs, own)
    for base in bases.values():
        add_levels(base, plan, resamples=resamples, seed=seed)
    teachers = {
        run.system["model"]: run.system["teacher"] or run.system["model"] for run in everyone
    }
    rows: list[Row] = []
    cells: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        cells.setdefault(run.cell, []).append(run)
    for cell in cells.values():
        kept = any(_same_cell(cell, base) for base in bases.values())
        if not kept:
            add_levels(cell, plan, resamples=resamples, seed=seed)
        cell.sort(key=lambda run: (run.system["seed"] is None, run.system["seed"]))
        for name in ("accuracy", *BY_EXTRACTOR, "invalid", "score"):
            rows += maker.rows(name, cell, [run.levels.get(("", "", name)) for run in cell])
        rows += _fidelity_rows(maker, cell, teachers)
        if student:
            sft = own if cell[0].system["method"] == "sft" else bases.get(_shared(cell[0]), own)
            pairs = _pairs(cell, sft) if not _same_cell(cell, sft) else []
            rows += _gains(maker, cell, pairs)
            rows += maker.certainty(cell, pairs, margin)
            rows.append(_collapse(cell, pairs or [(run, None) for run in cell]))
        if not kept:
            _forget(cell)
    for base in bases.values():
        _forget(base)
    return rows


def _forget(runs: Sequence[Run]) -> None:
    """Drop the resamples, which are large and no longer needed."""
    for run in runs:
        run.levels.clear()


class _Maker:
    """Makes rows of one measure of one cell, per task and over all tasks."""

    def __init__(self, plan: Design, signature: str, seed: int) -> None:
        self.tasks, self.signature, self.seed = plan.labels, signature, seed

    def rows(
        self, measure: str, cell: Sequence[Run], levels: Sequence[Level | None], **fields: Any
    ) -> list[Row]:
        """Rows of a level."""
        found = [level for level in levels if level is not None]
        if not found:
            return []
        rows = []
        for group, task in [(None, "all"), *enumerate(self.tasks)]:
            parts = [
                level.over_tasks() if group is None else level.of_task(group) for level in found
            ]
            count = sum(_count(level, group) for level in found) / len(found)
            if np.isfinite([point for point, _ in parts]).any():
                estimate, _ = self.over_seeds(parts, count)
                if value_range(measure) == (0.0, 1.0):
                    estimate = _not_flat(estimate)
                rows.append(cell_row(measure, cell[0].system, task, estimate, len(parts), **fields))
        return rows

    def differences(
        self, measure: str, cell: Sequence[Run], pairs: Sequence[tuple[Level, Level]], **fields: Any
    ) -> list[Row]:
        """Rows of paired differences (first less second), with the p of no difference."""
        rows = []
        for group, task in [(None, "all"), *enumerate(self.tasks)] if pairs else []:
            parts = [difference(first, second, group) for first, second in pairs]
            if not np.isfinite([point for point, _ in parts]).any():
                continue
            count = sum(_count(first, group) for first, _ in pairs) / len(pairs)
            estimate, drawn = self.over_seeds(parts, count)
            estimate = estimate._replace(
                p=bootstrap.p_value(drawn), signature=estimate.signature + "|p:bootstrap-two-sided"
            )
            rows.append(cell_row(measure, cell[0].system, task, estimate, len(parts), **fields))
        return rows

    def certainty(
        self, cell: Sequence[Run], pairs: Sequence[tuple[Run, Run]], margin: float
    ) -> list[Row]:
        """Whether accuracy is SFT's within the margin, and the errors from items and from seeds."""
        levels = [[run.levels.get(("", "", "accuracy")) for run in pair] for pair in pairs]
        both = [(a, b) for a, b in levels if a is not None and b is not None]
        rows = []
        for group, task in [(None, "all"), *enumerate(self.tasks)] if both else []:
            parts = [difference(first, second, group) for first, second in both]
            parts = [part for part in parts if np.isfinite(part[0])]
            if not parts:
                continue
            count = sum(_count(first, group) for first, _ in both) / len(both)
            found, drawn = self.over_seeds(parts, count)
            equal = found._replace(
                p=tost_drawn(drawn, margin),
                signature=f"{found.signature}|tost|margin:{margin:g}|p:bootstrap",
            )
            named: dict[str, Any] = {"reference": "sft"}
            who = (cell[0].system, task)
            rows.append(
                cell_row("equivalence", *who, equal, len(parts), test="tost_bootstrap", **named)
            )
            errors = two_level.standard_errors(
                [point for point, _ in parts], np.column_stack([drawn for _, drawn in parts])
            )
            for name, error in zip(("items", "seeds"), errors, strict=True):
                if error is not None:
                    size = Estimate(error, n=found.n, signature=f"{self.signature}|se:{name}")
                    measure = f"standard_error_{name}"
                    rows.append(cell_row(measure, *who, size, len(parts), **named))
        return rows

    def over_seeds(
        self, parts: Sequence[tuple[float, Array]], count: float
    ) -> tuple[Estimate, Array]:
        """The mean over the runs where it is defined, with the interval over items and seeds."""
        defined = [part for part in parts if np.isfinite(part[0])]
        return two_level.over_seeds(
            [point for point, _ in defined],
            np.column_stack([drawn for _, drawn in defined]),
            seed=self.seed,
            signature=self.signature,
            n=round(count),
        )


def _not_flat(estimate: Estimate) -> Estimate:
    """A share of all or none: its resamples never differ, so the score interval stands in."""
    if estimate.estimate not in (0.0, 1.0) or estimate.low != estimate.high or not estimate.n:
        return estimate
    return wilson(estimate.estimate * estimate.n, estimate.n)


def _count(level: Level, group: int | None) -> float:
    return float(level.counts.sum() if group is None else level.counts[group])


def difference(first: Level, second: Level, group: int | None) -> tuple[float, Array]:
    """First less second, on one task or on the mean over the tasks where both are defined."""
    if group is not None:
        (a, drawn_a), (b, drawn_b) = first.of_task(group), second.of_task(group)
        return a - b, drawn_a - drawn_b
    return Level(
        first.points - second.points, first.drawn - second.drawn, first.counts
    ).over_tasks()


# -- who is compared with whom ---------------------------------------------------------------------


def _sft(runs: Sequence[Run]) -> list[Run]:
    """The student's SFT runs: at the study's own setting if there are such."""
    found = [run for run in runs if run.system["method"] == "sft"]
    own = [run for run in found if run.system["settings"] in (None, "{}")]
    return own or [run for run in found if run.cell == found[0].cell]


def _bases(runs: Sequence[Run], own: Sequence[Run]) -> dict[str, list[Run]]:
    """SFT runs by what a student has in common with them; its own setting where it shares all else."""
    bases = {"{}": list(own)} if own else {}
    wanted = {_shared(run) for run in runs} - {"{}"}
    for run in runs:
        if run.system["method"] == "sft" and run.system["settings"] in wanted:
            bases.setdefault(run.system["settings"], []).append(run)
    return bases


def _shared(run: Run) -> str:
    """The settings of a run that its SFT student must have too: how much it read, how it was asked."""
    found = json.loads(run.system["settings"] or "{}")
    kept = {name: found[name] for name in sorted(found) if name in SHARED}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False)


def _same_cell(cell: Sequence[Run], sft: Sequence[Run]) -> bool:
    return bool(sft) and cell[0].cell == sft[0].cell


def _all_pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Every distilled run with the SFT run that it is compared with."""
    found: list[tuple[Run, Run]] = []
    for _, own in groupby(sorted(runs, key=_student), key=_student):
        student = list(own)
        sft, cells = _sft(student), {}
        for run in student:
            cells.setdefault(run.cell, []).append(run)
        for cell in cells.values():
            if not _same_cell(cell, sft):
                found += _pairs(cell, sft)
    return found


def _pairs(cell: Sequence[Run], sft: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Runs with the SFT run of the same seed; where seeds do not match, in their order."""
    by_seed = {run.system["seed"]: run for run in sft}
    matched = [(run, by_seed[run.system["seed"]]) for run in cell if run.system["seed"] in by_seed]
    if matched or not sft:
        return matched
    if len(cell) == 1:
        return [(cell[0], run) for run in sft]
    return list(zip(cell, sft, strict=False)) if len(sft) > 1 else [(run, sft[0]) for run in cell]


def _fidelity_rows(maker: _Maker, cell: Sequence[Run], teachers: Mapping[str, str]) -> list[Row]:
    """What the cell shares with its teacher, and with its own SFT student."""
    rows: list[Row] = []
    for relation in TO_TEACHER:
        by_teacher: dict[str, list[tuple[Run, str]]] = {}
        for run in cell:
            for kind, reference in run.links:
                if kind == relation:
                    name = teachers.get(reference, reference)
                    by_teacher.setdefault(name, []).append((run, reference))
        for teacher, links in by_teacher.items():
            # An SFT student belongs to no teacher; compared with several it needs their names.
            fields = {"teacher": teacher} if len(by_teacher) > 1 else {}
            for name in MEASURES[relation]:
                levels = [run.levels.get((relation, reference, name)) for run, reference in links]
                rows += maker.rows(name, cell, levels, **fields)
    own = [(run, ref) for run in cell for relation, ref in run.links if relation == "sft_student"]
    for name in OWN if own else ():
        levels = [run.levels.get(("sft_student", reference, name)) for run, reference in own]
        label = name if name.startswith("flips") else f"self_{name}"
        rows += maker.rows(label, cell, levels)
    return rows


def _gains(maker: _Maker, cell: Sequence[Run], pairs: Sequence[tuple[Run, Run]]) -> list[Row]:
    """Differences to the SFT student: accuracy, score, and what is shared with the same teacher."""
    rows: list[Row] = []
    for name in ("accuracy", *BY_EXTRACTOR, "score"):
        label = f"difference_in_{name}"
        both = [(a.levels.get(("", "", name)), b.levels.get(("", "", name))) for a, b in pairs]
        found = [(a, b) for a, b in both if a is not None and b is not None]
        rows += maker.differences(label, cell, found, reference="sft", test="paired_bootstrap")
    for name, label in GAINS.items():
        found = []
        for run, base in pairs:
            for relation, reference in run.links:
                a = run.levels.get((relation, reference, name))
                b = base.levels.get((relation, reference, name)) or _any_teacher(base, name)
                if relation == "teacher" and a is not None and b is not None:
                    found.append((a, b))
        rows += maker.differences(label, cell, found, reference="sft", test="paired_bootstrap")
    return rows


def _any_teacher(run: Run, measure: str) -> Level | None:
    """The run's level with its only teacher: another seed of it, if not the same."""
    found = [
        level
        for (kind, _, name), level in run.levels.items()
        if (kind, name) == ("teacher", measure)
    ]
    return found[0] if len(found) == 1 else None


def _collapse(cell: Sequence[Run], pairs: Sequence[tuple[Run, Run | None]]) -> Row:
    """Share of runs below their SFT run by more than the 95 % half-width, or mostly invalid."""
    flags = {id(run): collapsed(run, base) for run, base in pairs}
    result = wilson(sum(flags.values()), len(flags))
    rule = f"collapsed:below-sft-by-half-width95-or-invalid>{MOSTLY_INVALID:g}|{result.signature}"
    n = max((_count(level, None) for run in cell for level in run.levels.values()), default=0)
    estimate = result._replace(signature=rule, n=round(n))
    return cell_row("collapsed", cell[0].system, "all", estimate, len(flags), reference="sft")


def collapsed(run: Run, sft: Run | None) -> bool:
    """Whether a run collapsed against the SFT run of the same student."""
    invalid = run.levels.get(("", "", "invalid"))
    if invalid is not None and invalid.over_tasks()[0] > MOSTLY_INVALID:
        return True
    for name in ("accuracy", "score"):
        mine, base = run.levels.get(("", "", name)), sft and sft.levels.get(("", "", name))
        if mine is None or base is None:
            continue
        point, drawn = difference(mine, base, None)
        low, high = bootstrap.interval(drawn)
        if low is not None and high is not None and point < -(high - low) / 2:
            return True
    return False


def _adjust(rows: list[Row]) -> None:
    """Holm's p within each family: one measure, test and task, over all cells of the study."""
    families: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["p"] is not None:
            families.setdefault((row["measure"], row["test"], row["task"]), []).append(row)
    for family in families.values():
        adjust_family(family)
