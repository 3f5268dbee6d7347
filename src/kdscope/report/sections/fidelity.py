"""Whether the student answers and reasons like its teacher."""

from typing import Any

from markupsafe import Markup, escape

from kdscope.report import charts, theme
from kdscope.report.answer import Choice
from kdscope.report.frames import Frame
from kdscope.report.frames import frame as make_frame
from kdscope.report.parts import Figure, Section, note, percent, quantity, spoken
from kdscope.report.results import Results
from kdscope.report.sections.accuracy import by_task, listed
from kdscope.report.tabulate import Quantity, Table

_MEASURES = {
    "agreement": ("agreement, %", 100, 1),
    "gain_in_agreement": ("gain over SFT, points", 100, 1),
    "agreement_when_teacher_right": ("teacher right, %", 100, 1),
    "agreement_when_teacher_wrong": ("teacher wrong, %", 100, 1),
    "kappa": ("kappa", 1, 2),
    "self_agreement": ("with own SFT, %", 100, 1),
    "bleu": ("BLEU", 100, 1),
    "bleu_floor": ("BLEU floor", 100, 1),
}
SAME_STEPS = 0.8


def section(results: Results, found: list[Choice]) -> Section:
    """Agreement, kappa, self-agreement and text overlap with floors; the reasoning by answer."""
    agreement = results.level("agreement")
    question = "Does the student answer and reason like its teacher?"
    if agreement.empty:
        return Section(
            "fidelity",
            question,
            Markup("This study did not compare its students with a teacher."),
            missing=[
                "Agreement and fidelity need a teacher and the step fidelity; "
                "the table comparisons has no row of measure agreement."
            ],
            paper=("Figure 3", "Figure 4"),
        )
    tables = [
        _summary(results),
        by_task(results, "agreement", "Agreement with the teacher by task, %"),
    ]
    made = [
        _wrong(results),
        _before_after(results, found, "agreement"),
        _before_after(results, found, "bleu"),
    ]
    missing = []
    quadrants = reasoning_by_answer(results)
    if quadrants is None:
        missing.append(
            "Reasoning by answer needs equation F1 in the table fidelity; this study has none."
        )
    else:
        tables.append(quadrants)
    return Section(
        "fidelity",
        question,
        _answer(results, found),
        [f for f in made if f],
        tables,
        missing,
        ("Figure 3", "Figure 4", "Figure 8", "Figure 9", "Figure 10", "Figure 11", "Table 6"),
    )


def reasoning_by_answer(results: Results) -> Table | None:
    """Share of items by (same reasoning, same answer): the paradox as a 2 x 2, a row a system.

    Same reasoning means an equation F1 of at least 0.8 against the teacher's text.
    """
    rows = results["fidelity"]
    rows = rows[
        (rows["relation"] == "teacher") & rows["equation_f1"].notna() & rows["agree"].notna()
    ]
    if rows.empty:
        return None
    rows = results.main(rows)
    same = rows["equation_f1"] >= SAME_STEPS
    agree = rows["agree"].astype(bool)
    cells, methods = [], []
    order = {name: i for i, name in enumerate(results.methods)}
    keys = sorted(
        rows.groupby(["student", "method"]).groups,
        key=lambda k: (results.students.index(k[0]), order[k[1]]),
    )
    for student, method in keys:
        mask = (rows["student"] == student) & (rows["method"] == method)
        shares = [
            (a & b & mask).sum() / mask.sum() * 100 for a in (same, ~same) for b in (agree, ~agree)
        ]
        cells.append([student, method, *(Quantity(float(s)) for s in shares), int(mask.sum())])
        methods.append(method)
    heads = [
        "student",
        "method",
        "same steps, same answer",
        "same steps, other answer",
        "other steps, same answer",
        "other steps, other answer",
        "n",
    ]
    return Table(
        "reasoning-by-answer",
        "Reasoning by answer, % of answers",
        heads,
        cells,
        f"same steps: equation F1 ≥ {SAME_STEPS} against the teacher's text · all seeds",
        methods,
    )


def _summary(results: Results) -> Table:
    cells: dict[tuple[str, str], list[Any]] = {}
    methods: dict[tuple[str, str], str] = {}
    present = [name for name in _MEASURES if not results.level(name).empty]
    for i, name in enumerate(present):
        _, scale, digits = _MEASURES[name]
        for row in results.level(name).itertuples():
            if name == "gain_in_agreement" and row.method == "base":
                continue  # how far an untuned model is below SFT is no gain
            key = (str(row.who), str(row.label))
            line = cells.setdefault(key, [*key, *[None] * len(present)])
            line[i + 2] = quantity(
                row, scale=scale, digits=digits, signed=name == "gain_in_agreement"
            )
            methods[key] = str(row.method)
    heads = ["student", "method", *(_MEASURES[name][0] for name in present)]
    rows = results.level("agreement")
    return Table(
        "fidelity",
        "Agreement with the teacher and overlap with its text, all tasks",
        heads,
        list(cells.values()),
        note(rows),
        list(methods.values()),
    )


def _wrong(results: Results) -> Figure | None:
    rows = results.level("agreement_when_teacher_wrong")
    rows = rows[rows["estimate"].notna()]
    if rows.empty:
        return None
    chart = charts.intervals(
        percent(rows), "same answer where the teacher is wrong, %", methods=results.methods
    )
    table = listed("teacher-wrong", "Same answer where the teacher is wrong, %", rows)
    return Figure("teacher-wrong", "Imitation of the teacher's mistakes", chart, note(rows), table)


def _before_after(results: Results, found: list[Choice], measure: str) -> Figure | None:
    rows = percent(results.level(measure, None))
    rows = rows[rows["task"] != "all"]
    own = (
        percent(results.level("self_agreement", None)) if measure == "agreement" else rows.iloc[:0]
    )
    floor = percent(results.level("bleu_floor", None)) if measure == "bleu" else rows.iloc[:0]
    parts = []
    for choice in found:
        label = choice.winner.label if choice.distilled else None
        picks = [
            ("SFT student", rows, "sft"),
            ("recommended student", rows, label),
            ("with its own SFT student", own, label),
            ("floor: another item", floor, label),
        ]
        for kind, source, name in picks:
            mask = (source["student"] == choice.student) & (source["label"] == name)
            parts += source[mask & (source["task"] != "all")].assign(kind=kind).to_dict("records")
    frame = make_frame(parts)
    if not frame.empty:
        frame = results.in_task_order(frame).sort_values("place", kind="stable")
    if frame.empty or frame["kind"].nunique() < 2:
        return None
    methods = theme.METHOD_STYLES
    colours = {
        "SFT student": (methods["sft"].light, "square"),
        "recommended student": (_colour_of(results, found), "circle"),
        "with its own SFT student": (theme.MUTED, "triangle-up"),
        "floor: another item": (methods["base"].light, "diamond"),
    }
    colours = {kind: style for kind, style in colours.items() if kind in set(frame["kind"])}
    title = "agreement, %" if measure == "agreement" else "sentence BLEU with the teacher's text"
    cells = [[r.who, r.task, r.kind, quantity(r, scale=1)] for r in frame.itertuples()]
    table = Table(
        f"{measure}-before-after",
        f"{title} before and after distillation",
        ["student", "task", "kind", title],
        cells,
        note(frame),
    )
    heading = (
        "Agreement before and after distillation"
        if measure == "agreement"
        else "Reasoning fidelity before and after"
    )
    return Figure(
        f"{measure}-before-after", heading, charts.kinds(frame, title, colours), note(frame), table
    )


def _colour_of(results: Results, found: list[Choice]) -> str:
    """The colour of the recommended method where it is one, else that of text."""
    names = {choice.winner.method for choice in found if choice.distilled}
    return theme.styles(results.methods)[names.pop()].light if len(names) == 1 else theme.INK


def _answer(results: Results, found: list[Choice]) -> Markup:
    sentences = []
    wrong = results.level("agreement_when_teacher_wrong", main=False)
    kappa = results.level("kappa", main=False)
    for choice in found:
        if choice.agreement is None:
            continue
        share = spoken(choice.agreement)
        text = f"{choice.winner.label} gives its teacher's answer in {share} of the questions"
        cell = _pick(wrong, choice)
        if cell is not None and cell.estimate == cell.estimate:
            text += f", and in {spoken(cell)} of those that the teacher gets wrong"
        cell = _pick(kappa, choice)
        if cell is not None:
            text += f"; chance and accuracy taken out, kappa is {cell.estimate:.2f}"
        sentences.append(Markup("<b>{}</b>: ").format(choice.student) + escape(text + "."))
    return Markup(" ").join(sentences) or Markup(
        "The agreement of each system with its teacher is below."
    )


def _pick(rows: Frame, choice: Choice) -> Any | None:
    mask = (rows["student"] == choice.student) & (rows["label"] == choice.winner.label)
    return next(iter(rows[mask].itertuples()), None)
