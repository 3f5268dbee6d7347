"""Where a student is like its teacher besides its answers: steps, tokens, samples, options."""

from markupsafe import Markup

from kdscope.fidelity.columns import PREFIXES
from kdscope.fidelity.percentiles import PERCENTILES
from kdscope.fidelity.reasoning import ERRORS, SAME_STEPS
from kdscope.report import charts, theme
from kdscope.report.answer import Choice
from kdscope.report.frames import frame as make_frame
from kdscope.report.parts import Figure, Section, note, signatures, spoken
from kdscope.report.results import Results
from kdscope.report.sections import options
from kdscope.report.sections.measures import Column, by_student, lines, pick, table
from kdscope.report.tabulate import Table, number

_STEPS = {
    "equation_f1": Column("equation F1, %"),
    "value_f1": Column("value F1, %"),
    "order": Column("order, %"),
    "diverges_at_first_step": Column("parts at the first step, %"),
    "arithmetic_validity": Column("valid arithmetic, %"),
}
_BY_ANSWER = {
    "same_reasoning_same_answer": Column("both"),
    "same_reasoning_other_answer": Column("steps only"),
    "other_reasoning_same_answer": Column("answer only"),
    "other_reasoning_other_answer": Column("neither"),
    "answer_given_same_steps": Column("same answer given same steps"),
    "steps_given_same_answer": Column("same steps given same answer"),
}
_ERRORS = {f"error_{kind}": Column(kind.replace("_", " ")) for kind in ERRORS}
_TOKENS = {
    "forward_kl": Column("forward KL, nats", 1, 2),
    "reverse_kl": Column("reverse KL, nats", 1, 2),
    "jsd": Column("JSD, nats", 1, 3),
    "top1": Column("same top token, %"),
    "topk": Column("shared of top 5, %"),
}
_SPREAD = {"": Column("mean", 1, 2)} | {
    f"_{name}": Column(f"{100 * share:g} % of tokens below", 1, 3)
    for name, share in PERCENTILES.items()
}
_SAMPLES = {
    "agreement_over_samples": Column("student with teacher, %"),
    "self_agreement_reference": Column("teacher with itself, %"),
    "self_agreement_other": Column("student with itself, %"),
    "agreement_normalised": Column("share of the ceiling", 1, 2),
    "bleu": Column("BLEU with teacher"),
    "bleu_second": Column("BLEU, teacher's second sample"),
    "bleu_floor": Column("BLEU, another item"),
}


def sections(results: Results, found: list[Choice]) -> list[Section]:
    """Steps and errors, distributions, samples and options, in this order."""
    return [
        steps(results, found),
        tokens(results, found),
        samples(results, found),
        options.section(results, found),
    ]


# -- steps and errors ------------------------------------------------------------------------------


def steps(results: Results, found: list[Choice]) -> Section:
    """Equations shared with the teacher, the reasoning by answer, and kinds of error."""
    remark = f"same steps: equation F1 ≥ {SAME_STEPS} against the teacher's text"
    tables = {
        "the share of steps": table(
            results, "steps-shared", "Steps shared with the teacher's text", _STEPS
        ),
        "the reasoning by answer": table(
            results,
            "reasoning-by-answer",
            "Reasoning by answer: which are the teacher's, % of answers",
            _BY_ANSWER,
            remark,
        ),
        "kinds of error": table(
            results, "error-kinds", "Kinds of error, % of the wrong answers", _ERRORS
        ),
    }
    return Section(
        "steps",
        "Does the student take the teacher's steps, and how does it go wrong?",
        by_student(
            found,
            lambda choice: _on_steps(results, choice),
            "No recommended student has steps to compare.",
        ),
        tables=[made for made in tables.values() if made],
        missing=[
            f"For {what}, texts with equations are compared in the step fidelity; the table "
            "comparisons of this study has no such row."
            for what, made in tables.items()
            if made is None
        ],
    )


def _on_steps(results: Results, choice: Choice) -> str | None:
    shared = pick(results, "equation_f1", choice)
    if shared is None:
        return None
    text = f"{choice.winner.label} shares {spoken(shared)} of the teacher's equations (F1)"
    same = pick(results, "steps_given_same_answer", choice)
    if same is not None:
        text += f"; where it gives the same answer, it takes the same steps in {spoken(same)}"
    kinds = {name: pick(results, name, choice) for name in _ERRORS}
    known = [(row.estimate, _ERRORS[name].heading, row) for name, row in kinds.items() if row]
    if known:
        _, kind, row = max(known, key=lambda entry: entry[0])
        text += f". Its commonest error is “{kind}”, {spoken(row)} of its wrong answers"
    return text + "."


# -- distributions ---------------------------------------------------------------------------------


def tokens(results: Results, found: list[Choice]) -> Section:
    """Distance of the next-token distributions on three kinds of text, and exposure bias."""
    question = "Does the student predict like its teacher, and on whose text?"
    figure = _exposure(results)
    if figure is None:
        return Section(
            "tokens",
            question,
            Markup("This study did not compare distributions."),
            missing=[
                "Divergence per token and exposure bias need the step distributions "
                "(evaluate.distributions of at least 1) and a teacher of the same vocabulary."
            ],
        )
    answer = by_student(
        found,
        lambda choice: _on_tokens(results, choice),
        "The distance of each system from its teacher is below.",
    )
    made = [_distances(results), _percentiles(results)]
    return Section("tokens", question, answer, [figure], [table for table in made if table])


def _on_tokens(results: Results, choice: Choice) -> str | None:
    own = pick(results, "forward_kl_on_student", choice)
    read = pick(results, "forward_kl_on_reference", choice)
    bias = pick(results, "exposure_bias", choice)
    if own is None or read is None or bias is None:
        return None
    if bias.low is not None and bias.low > 0:
        verdict = "going on from its own words costs it (exposure bias)"
    elif bias.high is not None and bias.high < 0:
        verdict = "it is closer to its teacher there, so no exposure bias is seen"
    else:
        verdict = "the interval holds 0, so exposure bias is not established"
    return (
        f"on its own text {choice.winner.label} is {_nats(own)} per token from its teacher (forward "
        f"KL), on the reference solutions {_nats(read)}. The difference is "
        f"{_nats(bias, signed=True)}: {verdict}."
    )


def _nats(row: object, *, signed: bool = False) -> str:
    cells = [getattr(row, name) for name in ("estimate", "low", "high")]
    level, low, high = (number(cell, 2, signed=signed) for cell in cells)
    return f"{level} nats ({low} to {high})"


def _distances(results: Results) -> Table:
    rows = [
        (line, prefix)
        for prefix in PREFIXES
        for line in lines(results, {f"{k}_on_{prefix}": shown for k, shown in _TOKENS.items()})
    ]
    place = {key: i for i, key in enumerate(dict.fromkeys((r.who, r.label) for r, _ in rows))}
    rows.sort(key=lambda row: place[row[0].who, row[0].label])
    return Table(
        "token-distances",
        "Student and teacher token by token, means per token",
        ["student", "method", "after the words of", *(shown.heading for shown in _TOKENS.values())],
        [[line.who, line.label, prefix, *line.cells] for line, prefix in rows],
        f"temperature 1 · {note(results.level('forward_kl_on_reference'), 'texts')}",
        [line.method for line, _ in rows],
        signatures(results.level("forward_kl_on_reference")),
    )


def _percentiles(results: Results) -> Table | None:
    """How the forward KL spreads over tokens: its mean is made by few of them."""
    rows = [
        (line, prefix)
        for prefix in PREFIXES
        for line in lines(
            results,
            {f"forward_kl_on_{prefix}{end}": shown for end, shown in _SPREAD.items()},
        )
    ]
    if not any(line.cells[1:] != [None] * len(PERCENTILES) for line, _ in rows):
        return None
    place = {key: i for i, key in enumerate(dict.fromkeys((r.who, r.label) for r, _ in rows))}
    rows.sort(key=lambda row: place[row[0].who, row[0].label])
    shown = results.level("forward_kl_on_student_p90")
    return Table(
        "token-percentiles",
        "How forward KL spreads over tokens, nats",
        ["student", "method", "after the words of", *(shown.heading for shown in _SPREAD.values())],
        [[line.who, line.label, prefix, *line.cells] for line, prefix in rows],
        "no interval with fewer than five tokens of a task beyond the percentile · "
        + note(shown, "texts"),
        [line.method for line, _ in rows],
        signatures(shown),
    )


def _exposure(results: Results) -> Figure | None:
    kinds = {
        "reference": ("reference solution", theme.METHOD_STYLES["base"].light, "diamond"),
        "teacher": ("teacher's answer", theme.MUTED, "triangle-up"),
        "student": ("student's own answer", theme.INK, "circle"),
    }
    parts = []
    for prefix, (kind, _, _) in kinds.items():
        rows = results.level(f"forward_kl_on_{prefix}").assign(kind=kind)
        parts += rows.assign(task=rows["label"]).to_dict("records")
    if not parts:
        return None
    frame = make_frame(parts).sort_values(["place", "order", "label"], kind="stable")
    names = set(frame["kind"])
    colours = {kind: (colour, shape) for kind, colour, shape in kinds.values() if kind in names}
    columns = {f"forward_kl_on_{prefix}": Column(kinds[prefix][0], 1, 2) for prefix in PREFIXES} | {
        "exposure_bias": Column("exposure bias: own less reference", 1, 2, signed=True)
    }
    title = "Distance from the teacher by whose words come before"
    numbers = table(results, "exposure-bias", f"{title}, forward KL in nats per token", columns)
    assert numbers is not None
    heading = "forward KL, nats per token"
    chart = charts.kinds(frame, heading, colours, digits=2)
    return Figure("exposure-bias", title, chart, note(frame, "texts"), numbers)


# -- samples ---------------------------------------------------------------------------------------


def samples(results: Results, found: list[Choice]) -> Section:
    """Agreement and overlap beside what two samples of one model share."""
    question = "How much of the difference is noise of sampling?"
    if results.level("agreement_over_samples").empty:
        return Section(
            "samples",
            question,
            Markup("This study drew one answer to each question, so this is not known."),
            missing=[
                "Noise floor and ceiling need several samples of teacher and students: "
                "evaluate.samples of 2 or more."
            ],
        )
    made = table(results, "sampling-noise", "Agreement over samples and its ceilings", _SAMPLES)
    answer = by_student(
        found,
        lambda choice: _on_samples(results, choice),
        "Agreement over samples and its ceilings are below.",
    )
    return Section("samples", question, answer, tables=[made] if made else [])


def _on_samples(results: Results, choice: Choice) -> str | None:
    cross, own, share = (
        pick(results, name, choice)
        for name in ("agreement_over_samples", "self_agreement_reference", "agreement_normalised")
    )
    if cross is None or own is None or share is None:
        return None
    return (
        f"two samples of the teacher agree in {spoken(own)}, a sample of {choice.winner.label} "
        f"with one of the teacher in {spoken(cross)}: {share.estimate:.2f} of what the noise "
        "of both allows."
    )
