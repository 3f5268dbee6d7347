"""Whether the probabilities of scored options can be trusted, and whether they are the teacher's."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from markupsafe import Markup

from kdscope.fidelity.calibration import reliability, risk_coverage
from kdscope.fidelity.choices import Scored, read_choices
from kdscope.report import charts
from kdscope.report.answer import Choice
from kdscope.report.frames import Frame
from kdscope.report.frames import frame as make_frame
from kdscope.report.parts import Figure, Section, count, spoken
from kdscope.report.results import CELL, Results
from kdscope.report.sections.measures import Column, by_student, pick, table
from kdscope.report.tabulate import Quantity, Table
from kdscope.stats.proportions import wilson

_BINS = 10
_COVERAGES = np.linspace(
    0.1, 1.0, 46
)  # where the curve is drawn; a twentieth of the items is noise
_CALIBRATION = {
    "ece": Column("ECE", 1, 3),
    "ace": Column("ACE", 1, 3),
    "brier": Column("Brier", 1, 3),
    "nll": Column("nll, nats", 1, 2),
    "capa": Column("CAPA", 1, 2),
    "confidence_pearson": Column("correlation of confidence", 1, 2),
    "option_agreement": Column("same option, %"),
    "option_kl": Column("KL over options, nats", 1, 2),
    "option_reverse_kl": Column("reverse KL over options, nats", 1, 2),
    "option_jsd": Column("JSD over options, nats", 1, 3),
}


def section(results: Results, found: list[Choice]) -> Section:
    """Calibration of each system on scored options, and likeness of the options' probabilities."""
    question = "Can the probabilities be trusted, and are they the teacher's?"
    made = table(
        results,
        "calibration",
        "Calibration on scored options, and likeness to the teacher's probabilities",
        _CALIBRATION,
        "ECE, ACE, Brier, nll: lower is better",
    )
    if made is None:
        return Section(
            "options",
            question,
            Markup("This study did not score options."),
            missing=["Calibration and CAPA need tasks with options and evaluate.choices: true."],
        )
    answer = by_student(
        found,
        lambda choice: _on_options(results, choice),
        "The calibration of each system is below.",
    )
    figures = [figure for figure in drawn(results, found) if figure is not None]
    return Section("options", question, answer, figures, [made])


def _on_options(results: Results, choice: Choice) -> str | None:
    error, capa, doubt = (
        pick(results, name, choice) for name in ("ece", "capa", "confidence_pearson")
    )
    if error is None:
        return None
    gap = spoken(error, unit=" points")
    text = f"the confidence of {choice.winner.label} is off by {gap} on average (ECE)"
    if capa is not None:
        text += f"; CAPA with its teacher, 0 by chance and 1 for a copy, is {capa.estimate:.2f}"
    if doubt is not None:
        text += f"; its confidence and its teacher's correlate at {doubt.estimate:.2f}"
    return text + "."


# -- charts ----------------------------------------------------------------------------------------


def drawn(results: Results, found: list[Choice]) -> list[Figure | None]:
    """Reliability and risk-coverage of each teacher, SFT student and recommended student."""
    systems = list(_systems(results, found))
    return [_reliability(systems), _risk_coverage(systems)]


def _systems(results: Results, found: list[Choice]) -> Iterator[tuple[str, str, Scored]]:
    """Panel, method and scored options of each system that is drawn, all seeds together."""
    rows = results["choices"]
    if rows.empty:
        return
    rows = results.main(rows)
    best = {choice.student: choice.winner for choice in found}
    for who in [*results.teachers, *results.students]:
        own = rows[(rows["student"] == who) | (rows["student"].isna() & (rows["teacher"] == who))]
        wanted = ["sft", best[who].label] if who in best else ["sft"]
        labels = np.array([results.label(row) for row in own[CELL].to_dict("records")])
        for label in dict.fromkeys(wanted):
            cell = own[labels == label]
            runs = [read_choices(run) for _, run in cell.groupby("model", sort=False)]
            if runs:
                yield who, str(cell["method"].iloc[0]), _pooled(runs)


def _pooled(runs: list[Scored]) -> Scored:
    """Several runs' items under each other; items without a known right option are left out."""
    width = max(run.p.shape[1] for run in runs)
    p = np.vstack([np.pad(run.p, ((0, 0), (0, width - run.p.shape[1]))) for run in runs])
    gold = np.concatenate([run.gold for run in runs])
    options = np.concatenate([run.options for run in runs])
    kept = gold >= 0
    keys = [key for run in runs for key in run.keys]
    return Scored(
        [key for key, keep in zip(keys, kept, strict=True) if keep],
        p[kept],
        gold[kept],
        options[kept],
    )


def _reliability(systems: list[tuple[str, str, Scored]]) -> Figure | None:
    """How often the likeliest option is right, by how likely the system holds it."""
    rows = []
    for who, method, scored in systems:
        for place in reliability(scored.p, scored.gold, bins=_BINS):
            share = wilson(round(place.accuracy * place.n), place.n)
            rows.append(_point(who, method, place.confidence, share, place.n))
    title = "Reliability: confidence against accuracy"
    heads = ["system", "method", "confidence, %", "right, %", "answers"]
    text = (
        f"{_BINS} bins of equal width · dashed: confidence that means what it says · bars: Wilson's "
        "95\u00a0% intervals over the answers of all seeds"
    )
    signature = f"reliability|bins:{_BINS}|wilson95"
    return _figure("reliability", title, heads, rows, text, signature)


def _risk_coverage(systems: list[tuple[str, str, Scored]]) -> Figure | None:
    """The share of wrong answers when only the most confident ones are given."""
    rows = []
    for who, method, scored in systems:
        curve, n = risk_coverage(scored.p, scored.gold), len(scored.gold)
        coverage = np.array([point.coverage for point in curve])
        for wanted in _COVERAGES if curve else ():
            point = curve[min(int(np.searchsorted(coverage, wanted)), len(curve) - 1)]
            given = round(point.coverage * n)
            share = wilson(round(point.risk * given), given)
            rows.append(_point(who, method, point.coverage, share, given))
    title = "Errors among the most confident answers"
    heads = ["system", "method", "answers given, %", "wrong, %", "answers"]
    text = "bands: Wilson's 95\u00a0% intervals over the answers of all seeds"
    return _figure("risk-coverage", title, heads, rows, text, "risk-coverage|wilson95")


def _point(who: str, method: str, x: float, share, n: int) -> dict:
    low, high = 100 * share.low, 100 * share.high
    return {"who": who, "method": method, "line": method, "x": 100 * x, "y": 100 * share.estimate,
            "low": low, "high": high, "n": n}  # fmt: skip


def _figure(
    name: str, title: str, heads: list[str], rows: list[dict], text: str, signature: str
) -> Figure | None:
    frame = make_frame(rows)
    if frame.empty:
        return None
    frame = frame.drop_duplicates(["who", "method", "x"]).reset_index(drop=True)
    frame["tip"] = [
        f"{r.who}, {r.method}: {heads[2][:-3]} {r.x:.0f} %, {heads[3][:-3]} {r.y:.1f} % "
        f"[{r.low:.1f}, {r.high:.1f}], n = {r.n}"
        for r in frame.itertuples()
    ]
    cells = [
        [r.who, r.method, Quantity(r.x), Quantity(r.y, r.low, r.high), int(r.n)]
        for r in _thinned(name, frame).itertuples()
    ]
    numbers = Table(name, title, heads, cells, text, list(_thinned(name, frame)["method"]),
                    [signature])  # fmt: skip
    bars = name == "reliability"
    chart = charts.lines(
        frame,
        heads[2],
        heads[3],
        methods=list(dict.fromkeys(frame["method"])),
        points=bars,
        band=not bars,
        diagonal=bars,
    )
    answers = frame.groupby(["who", "method"], sort=False)["n"].sum() if bars else frame["n"]
    most = count(int(answers.max()), "answer")
    return Figure(name, title, chart, f"up to {most} a system · {text}", numbers)


def _thinned(name: str, frame: Frame) -> Frame:
    """The points that the table lists: all bins, or every tenth of the coverage."""
    if name == "reliability":
        return frame
    parts = []
    for _, group in frame.groupby(["who", "method"], sort=False):
        places = np.searchsorted(group["x"], np.arange(10, 101, 10) - 1e-9)
        parts.append(group.iloc[np.unique(np.minimum(places, len(group) - 1))])
    return pd.concat(parts)
