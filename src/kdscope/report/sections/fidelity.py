"""Whether the student answers and writes like its teacher."""

from markupsafe import Markup

from kdscope.report import charts, theme
from kdscope.report.answer import Choice
from kdscope.report.frames import frame as make_frame
from kdscope.report.parts import Figure, Section, note, percent, quantity, signatures, spoken
from kdscope.report.results import Results
from kdscope.report.sections.accuracy import by_task, listed
from kdscope.report.sections.measures import Column, by_student, pick, table
from kdscope.report.tabulate import Table

_MEASURES = {
    "agreement": Column("agreement, %"),
    "gain_in_agreement": Column("gain over SFT, points", signed=True),
    "agreement_when_teacher_right": Column("teacher right, %"),
    "agreement_when_teacher_wrong": Column("teacher wrong, %"),
    "kappa": Column("kappa", 1, 2),
    "self_agreement": Column("with own SFT, %"),
    "bleu": Column("BLEU"),
    "bleu_floor": Column("BLEU floor"),
}


_BLEU = {
    "bleu": Column("sacrebleu"),
    "bleu_nltk": Column("nltk, words"),
    "bleu_nltk_bleu1": Column("nltk, BLEU-1"),
    "bleu_nltk_characters": Column("nltk, characters"),
}


def section(results: Results, found: list[Choice]) -> Section:
    """Agreement, kappa, self-agreement and text overlap with floors."""
    agreement, overlap = results.level("agreement"), results.level("bleu")
    question = "Does the student answer and write like its teacher?"
    if agreement.empty and overlap.empty:
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
    caption = "Agreement with the teacher and overlap with its text, all tasks"
    tables = [
        table(results, "fidelity", caption, _MEASURES),
        None
        if agreement.empty
        else by_task(results, "agreement", "Agreement with the teacher by task, %"),
        table(results, "bleu-conventions", "BLEU with the teacher's text, by convention", _BLEU),
    ]
    made = [
        _wrong(results),
        _before_after(results, found, "agreement"),
        _before_after(results, found, "bleu"),
    ]
    missing = []
    if agreement.empty:
        missing.append(
            "Agreement needs answers that can be equal; free text of this study has overlap alone."
        )
    if overlap.empty:
        missing.append("Overlap with the teacher's text was not measured in this study.")
    return Section(
        "fidelity",
        question,
        _answer(results, found),
        [f for f in made if f],
        [t for t in tables if t],
        missing,
        paper=("Figure 3", "Figure 4", "Figure 8", "Figure 9", "Figure 10", "Figure 11", "Table 6"),
    )


def _wrong(results: Results) -> Figure | None:
    rows = results.level("agreement_when_teacher_wrong")
    rows = rows[rows["estimate"].notna()]
    if rows.empty:
        return None
    chart = charts.intervals(
        percent(rows), "same answer where the teacher is wrong, %", methods=results.methods
    )
    numbers = listed("teacher-wrong", "Same answer where the teacher is wrong, %", rows)
    return Figure(
        "teacher-wrong", "Imitation of the teacher's mistakes", chart, note(rows), numbers
    )


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
    numbers = Table(
        f"{measure}-before-after",
        f"{title} before and after distillation",
        ["student", "task", "kind", title],
        cells,
        note(frame),
        signatures=signatures(frame),
    )
    heading = (
        "Agreement before and after distillation"
        if measure == "agreement"
        else "Reasoning fidelity before and after"
    )
    return Figure(
        f"{measure}-before-after",
        heading,
        charts.kinds(frame, title, colours),
        note(frame),
        numbers,
    )


def _colour_of(results: Results, found: list[Choice]) -> str:
    """The colour of the recommended method where it is one, else that of text."""
    names = {choice.winner.method for choice in found if choice.distilled}
    return theme.styles(results.methods)[names.pop()].light if len(names) == 1 else theme.INK


def _answer(results: Results, found: list[Choice]) -> Markup:
    return by_student(
        found,
        lambda choice: _on_agreement(results, choice),
        "How much each system shares with its teacher is below.",
    )


def _on_agreement(results: Results, choice: Choice) -> str | None:
    if choice.agreement is None:
        return None
    share = spoken(choice.agreement)
    text = f"{choice.winner.label} gives its teacher's answer in {share} of the questions"
    wrong = pick(results, "agreement_when_teacher_wrong", choice)
    if wrong is not None:
        text += f", and in {spoken(wrong)} of those that the teacher gets wrong"
    kappa = pick(results, "kappa", choice)
    if kappa is not None:
        text += f"; chance and accuracy taken out, kappa is {kappa.estimate:.2f}"
    return text + "."
