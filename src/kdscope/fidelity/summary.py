"""From a study's ``generations`` and ``fidelity`` to the rows of its ``comparisons``.

Levels of each cell (accuracy, agreement, kappa, overlaps with their floors), differences to the SFT
student of the same student, collapse, and the paper's own tests: each with interval, signature and,
where something is tested, a p-value adjusted within its family.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from kdscope.fidelity.accuracies import main_runs
from kdscope.fidelity.answer_model import answer_model
from kdscope.fidelity.bleu_conventions import CONVENTIONS, measure_name
from kdscope.fidelity.cell_rows import CellRows, count_of, difference
from kdscope.fidelity.certainty import family_rows, mcnemar_rows, power_rows
from kdscope.fidelity.columns import BY_EXTRACTOR, MEASURES, TAILS
from kdscope.fidelity.comparison_rows import Row, adjust_family, cell_row
from kdscope.fidelity.inheritance import GROUPED
from kdscope.fidelity.levels import Level, Run, add_levels
from kdscope.fidelity.method_tests import method_tests
from kdscope.fidelity.paper_tests import paper_tests
from kdscope.fidelity.reading import Frame, frame, read_runs, word_problems
from kdscope.fidelity.rewording import CONSISTENCY, add_consistency
from kdscope.fidelity.selection_rows import selection_rows
from kdscope.stats import bootstrap
from kdscope.stats.bootstrap import RESAMPLES, Design
from kdscope.stats.proportions import wilson

MOSTLY_INVALID = 0.5
MARGIN = 0.02
SHARED = ("train_limit", "decoding", "evaluation_prompt")  # as `kdscope.study.grid` has them
TO_TEACHER = ("teacher", "wording", "tokens", "samples", "options", "calibration")
OWN = ("agreement", "kappa", "bleu", "chrf", "rouge_l", "equation_f1", "flips_up", "flips_down")
CHANCE = {"kappa": "expected_agreement"}  # kappa -> the level that says what chance alone gives
GAINS = {
    "agreement": "gain_in_agreement",
    "kappa": "gain_in_kappa",
    "agreement_when_teacher_wrong": "gain_in_agreement_when_teacher_wrong",
    "bleu": "gain_in_bleu",
    "equation_f1": "gain_in_equation_f1",
}


def study_comparisons(  # noqa: PLR0913 -- the tables of a study, and how its numbers are made
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
    solutions: Mapping[tuple[str, str], str] | None = None,
    topics: Mapping[tuple[str, str], str] | None = None,
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
        solutions: (task, item) -> a right solution, by which items are grouped.
        topics: (task, item) -> the data's own topic; read from the question's words where absent.

    Fractions are in [0, 1]. ``task`` is a task or ``all``, the unweighted mean over tasks.
    """
    items = frame(items, ["task", "item", "question", "gold", "options", "form"])
    runs, plan, index = read_runs(
        generations, fidelity, items, distributions, choices, solutions, topics
    )
    settings = Settings(resamples, seed, margin)
    add_consistency(runs, word_problems(items, index), plan, resamples=resamples, seed=seed)
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
    maker = CellRows(plan, signature, seed)
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
        for name in ("accuracy", *BY_EXTRACTOR, "invalid", "score", *CONSISTENCY):
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


def _fidelity_rows(maker: CellRows, cell: Sequence[Run], teachers: Mapping[str, str]) -> list[Row]:
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
            for name in (*MEASURES[relation], *(TAILS if relation == "tokens" else ())):
                levels, expected = (
                    [run.levels.get((relation, reference, kind)) for run, reference in links]
                    for kind in (name, CHANCE.get(name, ""))
                )
                made = maker.rows(name, cell, levels, expected, **fields)
                for row in made:
                    row["signature"] = _signature(relation, name, row["signature"])
                rows += made
    rows += _group_rows(maker, cell)
    own = [(run, ref) for run in cell for relation, ref in run.links if relation == "sft_student"]
    for name in OWN if own else ():
        levels, expected = (
            [run.levels.get(("sft_student", reference, kind)) for run, reference in own]
            for kind in (name, CHANCE.get(name, ""))
        )
        label = name if name.startswith("flips") else f"self_{name}"
        rows += maker.rows(label, cell, levels, expected)
    return rows


def _signature(relation: str, measure: str, signature: str) -> str:
    """What a relation adds to the signature of its measures."""
    if relation == "wording":
        own = next(c.signature for n, c in CONVENTIONS.items() if measure_name(n) == measure)
        return f"{own}|{signature}"
    return f"{signature}|few-items:t" if relation == "tokens" else signature


def _group_rows(maker: CellRows, cell: Sequence[Run]) -> list[Row]:
    """Errors by group of items, the teacher's and the student's; seeds of a teacher are pooled."""
    links = [(run, ref) for run in cell for relation, ref in run.links if relation == "groups"]
    rows: list[Row] = []
    for group in cell[0].groups:
        for name in GROUPED:
            levels = [run.levels.get(("groups", ref, f"{name}\0{group}")) for run, ref in links]
            rows += maker.pooled(name, cell, levels, scope="group", reference=group)
    return rows


def _gains(maker: CellRows, cell: Sequence[Run], pairs: Sequence[tuple[Run, Run]]) -> list[Row]:
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
    n = max((count_of(level, None) for run in cell for level in run.levels.values()), default=0)
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
