"""Where the gain comes from: task by task, against the headroom, run by run, and by ranks."""

import numpy as np
import pandas as pd
from markupsafe import escape

from kdscope.errors import NotEstimableError
from kdscope.report import charts
from kdscope.report.captions import in_words
from kdscope.report.frames import Frame
from kdscope.report.frames import frame as make_frame
from kdscope.report.parts import Figure, Section, count, note, percent, quantity, signatures
from kdscope.report.results import Results
from kdscope.report.tabulate import Quantity, Table, p_value
from kdscope.stats.ranks import critical_difference, friedman
from kdscope.stats.runs import probability_of_improvement, profile

_QUESTION = "Where does distillation help, and does one method win overall?"
_THRESHOLDS = np.linspace(0, 1, 51)


def section(results: Results) -> Section:
    """Gain by task and against headroom, probability of improvement, score profile, mean ranks."""
    missing: list[str] = []
    made = [heat_map(results), headroom(results)]
    scores = run_scores(results)
    if scores.empty:
        missing.append("Run-by-run contrasts need graded answers in the table generations.")
    else:
        made += [improvement(results, scores), score_profile(results, scores)]
    ranks, verdict = mean_ranks(results)
    made.append(ranks)
    if ranks is None:
        missing.append(
            "Ranks (Friedman, critical difference) need three methods on two student-task blocks."
        )
    figures = [figure for figure in made if figure is not None]
    if not figures:
        missing.append("Gains over SFT need an SFT student beside the distilled ones.")
    return Section("contrasts", _QUESTION, escape(verdict), figures, missing=missing)


def gains(results: Results) -> Frame:
    """Gains in accuracy over SFT of distilled cells, per task, in percent points."""
    rows = percent(results.level("difference_in_accuracy", None))
    rows = results.in_task_order(rows)
    return rows[(rows["task"] != "all") & ~rows["method"].isin(["base", "sft"])]


def heat_map(results: Results) -> Figure | None:
    """Gain over SFT by method and task; the interval is in the table and at the pointer."""
    rows = gains(results)
    if rows.empty:
        return None
    cells = [[r.who, r.label, r.task, quantity(r, scale=1, signed=True)] for r in rows.itertuples()]
    table = Table(
        "gain-by-task",
        "Gain over SFT by task, points",
        ["student", "method", "task", "gain"],
        cells,
        note(rows),
        list(rows["method"]),
        signatures(rows),
    )
    text = f"bold: the 95 % interval excludes 0 · {note(rows)}"
    return Figure("gain-by-task", "Gain by method and task", charts.heat(rows), text, table)


def headroom(results: Results) -> Figure | None:
    """Gain over SFT against the teacher's lead over the SFT student, task by task."""
    rows, accuracy = gains(results), percent(results.level("accuracy", None))
    teacher = accuracy[accuracy["student"].isna() & (accuracy["method"] == "sft")]
    sft = accuracy[accuracy["student"].notna() & (accuracy["method"] == "sft")]
    if rows.empty or teacher.empty or sft.empty:
        return None
    lead = teacher.set_index(["teacher", "task"])["estimate"]
    own = sft.set_index(["student", "task"])["estimate"]
    rows = rows[[(t, k) in lead.index and (s, k) in own.index for t, s, k in _keys(rows)]].copy()
    if rows.empty:
        return None
    room = np.array([float(lead[t, k]) - float(own[s, k]) for t, s, k in _keys(rows)])
    frame = rows.assign(
        x=room, x_low=room, x_high=room, y=rows["estimate"], y_low=rows["low"], y_high=rows["high"]
    )
    labels = list(dict.fromkeys(frame["label"]))
    apart = 0.02 * (float(np.ptp(room)) or 1.0)  # methods share their task's headroom
    middle = (len(labels) - 1) / 2
    frame["shift"] = [apart * (labels.index(label) - middle) for label in frame["label"]]
    frame["label"] = frame["label"] + ", " + frame["task"]
    cells = [
        [r.who, r.label, Quantity(r.x), quantity(r, scale=1, signed=True)]
        for r in frame.itertuples()
    ]
    table = Table(
        "gain-and-headroom",
        "Gain against headroom, points",
        ["student", "method, task", "teacher's lead over SFT", "gain over SFT"],
        cells,
        note(rows),
        signatures=signatures(rows),
    )
    chart = charts.scatter(frame, "teacher's lead over SFT, points", "gain over SFT, points")
    text = f"methods of one task stand side by side · {note(rows)}"
    return Figure("gain-and-headroom", "Gain against headroom", chart, text, table)


def run_scores(results: Results) -> Frame:
    """Accuracy of every run of every student by task: columns student, task, method, score."""
    rows = results["generations"]
    if rows.empty:
        return rows
    rows = rows[(rows["sample"] == 0) & rows["correct"].notna() & rows["student"].notna()]
    rows = results.main(rows[rows["method"] != "base"])
    keys = ["student", "task", "method", "model"]
    means = (
        rows.assign(score=rows["correct"].astype(float)).groupby(keys, sort=False)["score"].mean()
    )
    return means.reset_index()


def improvement(results: Results, scores: Frame) -> Figure | None:
    """Probability that a run of a method beats a run of SFT on the same student and task."""
    found = []
    for method in [name for name in results.methods if name in set(scores["method"]) - {"sft"}]:
        blocks = [
            (own["score"].to_numpy(), sft["score"].to_numpy())
            for _, group in scores.groupby(["student", "task"], sort=False)
            if len(own := group[group["method"] == method])
            and len(sft := group[group["method"] == "sft"])
        ]
        if blocks:
            estimate = probability_of_improvement(blocks)._asdict()
            found.append({**estimate, "method": method, "label": method, "who": charts.EVERYONE})
    if not found:
        return None
    frame = make_frame(found).assign(seeds=None)
    rows = percent(frame)
    cells = [[r.method, quantity(r, scale=1), int(r.n)] for r in rows.itertuples()]
    text = note(frame, "student-task blocks")
    if frame["low"].isna().all():
        text += " · one run in each, so that there is no interval"
    table = Table(
        "improvement",
        "Probability of improvement over SFT, %",
        ["method", "probability", "blocks"],
        cells,
        text,
        list(frame["method"]),
        signatures(frame),
    )
    chart = charts.intervals(
        rows,
        "probability that a run beats an SFT run, %",
        reference=charts.Reference(50.0, "even"),
        methods=results.methods,
    )
    return Figure("improvement", "Probability of improvement", chart, text, table)


def score_profile(results: Results, scores: Frame) -> Figure | None:
    """Share of runs above each accuracy, by method."""
    parts, texts = [], []
    names = [name for name in results.methods if name in set(scores["method"])]
    for method in names:
        own = scores[scores["method"] == method]
        blocks = [g["score"].to_numpy() for _, g in own.groupby(["student", "task"], sort=False)]
        values = profile(blocks, _THRESHOLDS)
        texts.append(values[0].signature)
        parts.append(
            make_frame(
                {
                    "who": charts.EVERYONE,
                    "method": method,
                    "line": method,
                    "x": _THRESHOLDS * 100,
                    "y": [100 * v.estimate for v in values],
                    "low": [100 * (v.low or 0.0) for v in values],
                    "high": [100 * (v.high or 0.0) for v in values],
                    "tip": method,
                }
            )
        )
    if len(names) < 2:
        return None
    frame: Frame = pd.concat(parts)
    some = frame[frame["x"] % 10 == 0]
    cells = [[r.method, f"{r.x:.0f} %", Quantity(r.y, r.low, r.high)] for r in some.itertuples()]
    heads = ["method", "accuracy above", "runs, %"]
    caption, how = "Share of runs above an accuracy", sorted(set(texts))
    blocks = scores[["student", "task"]].drop_duplicates()
    text = f"{count(len(blocks), 'student-task block')} · bands: {in_words(how)}"
    table = Table("profile", caption, heads, cells, text, signatures=how)
    chart = charts.lines(frame, "accuracy above, %", "runs, %", methods=names, band=True)
    return Figure("profile", "Performance profile", chart, text, table)


def mean_ranks(results: Results) -> tuple[Figure | None, str]:
    """Mean rank of each method over students and tasks, with Nemenyi's critical difference."""
    rows = results.level("accuracy", None)
    rows = rows[(rows["task"] != "all") & rows["student"].notna() & (rows["method"] != "base")]
    block = [*("student", "task")]
    wide = rows.pivot_table(index=block, columns="label", values="estimate", sort=False).dropna()
    try:
        result = friedman(wide.to_numpy())
    except NotEstimableError:
        return None, "The gains are drawn below, as far as the study has them."
    k, n = wide.shape[1], wide.shape[0]
    ranks = wide.rank(axis=1, ascending=False).mean()
    half = critical_difference(k, n) / 2
    method = rows.drop_duplicates("label").set_index("label")["method"]
    frame = make_frame(
        {
            "who": charts.EVERYONE,
            "label": ranks.index,
            "method": [method[label] for label in ranks.index],
            "estimate": ranks.to_numpy(),
            "low": ranks.to_numpy() - half,
            "high": ranks.to_numpy() + half,
            "n": n,
        }
    ).sort_values("estimate")
    text = (
        f"{n} student-task blocks · bars are the mean rank ± half of Nemenyi's critical difference "
        f"{2 * half:.2f}: methods whose bars overlap are not told apart"
    )
    cells = [[r.label, Quantity(r.estimate, r.low, r.high, 2), n] for r in frame.itertuples()]
    heads = ["method", "mean rank", "blocks"]
    table = Table("ranks", "Mean ranks, 1 is best", heads, cells, text, list(frame["method"]))
    chart = charts.intervals(frame, "mean rank (1 is best)", digits=2, methods=results.methods)
    figure = Figure("ranks", "Mean ranks and critical difference", chart, text, table)
    best = frame.iloc[0]
    tied = [r.label for r in frame.iloc[1:].itertuples() if r.low <= best["high"]]
    verdict = (
        f"Friedman's test over {n} student-task blocks gives chi-square {result.statistic:.1f}, "
        f"p {p_value(result.p) if (result.p or 0) < 0.001 else '= ' + p_value(result.p)}. "
        f"{best['label']} ranks first"
    )
    return figure, verdict + (
        f", not told apart from {', '.join(tied)}." if tied else ", apart from the rest."
    )


def _keys(rows: Frame) -> list[tuple[str, str, str]]:
    return list(rows[["teacher", "student", "task"]].itertuples(index=False, name=None))
