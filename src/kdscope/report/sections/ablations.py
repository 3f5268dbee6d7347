"""What changes with temperature, noise, adaptation and whatever else a study varied."""

from typing import Any

import numpy as np
from markupsafe import escape

from kdscope.distillation.methods import METHODS
from kdscope.report import charts
from kdscope.report.frames import Frame
from kdscope.report.parts import Figure, Section, note, signatures
from kdscope.report.results import Results, settings
from kdscope.report.tabulate import Quantity, Table


def section(results: Results) -> Section:
    """Accuracy over temperature, teacher noise and whatever else the study varied."""
    question = "What changes with temperature, teacher noise and adaptation?"
    rows = percent_rows(results)
    made, listed, missing = [], [], []
    wanted = {
        "temperature": ("Temperature of the loss", "Figure 6"),
        "teacher_noise": ("Noise on the teacher's logits", "Figure 5"),
        "teacher_adapted": ("Teacher without fine-tuning", "Figure 2"),
    }
    others = (
        sorted({key for found in rows["found"] for key in found} - set(wanted)) if len(rows) else []
    )
    for key in [*wanted, *others]:
        figure = _ablation(results, rows, key)
        table = _by_category(results, rows, key)
        if figure is not None:
            made.append(figure)
        elif table is not None:
            listed.append(table)
        elif key in wanted:
            name, figure_name = wanted[key]
            missing.append(
                f"{name} (the paper's {figure_name}) was not varied in this study: list several "
                f"values of {key} under {'methods' if key == 'temperature' else 'ablations'}."
            )
    text = (
        "See the curves: points are accuracies over all tasks with intervals."
        if made
        else "See the tables: accuracies over all tasks with intervals."
        if listed
        else "This study varied none of them."
    )
    return Section(
        "ablations",
        question,
        escape(text),
        made,
        listed,
        missing=missing,
        paper=("Figure 2", "Figure 5", "Figure 6"),
    )


def percent_rows(results: Results) -> Frame:
    """Accuracies over all tasks of every cell, in percent, settings parsed as ``found``."""
    rows = results.level("accuracy", main=False)
    rows = rows[rows["student"].notna()].copy()
    rows[["estimate", "low", "high"]] = rows[["estimate", "low", "high"]].astype(float) * 100
    rows["found"] = [settings(row) for row in rows.to_dict("records")]
    return rows


# Where a study writes nothing of a method's parameter, its formula's own.
_FORMULAS = {
    "temperature": 1.0, "beta": 0.5, "alpha": 0.1, "mu": 0.5, "hard_weight": 0.0,
    "sampling_temperature": 1.0, "scale_by_t2": False,
}  # fmt: skip
_OF_STUDY = {"teacher_noise": 0.0, "teacher_adapted": True, "init": "base"}


def _own_value(study: dict[str, Any], method: str, key: str) -> Any:
    """A study's own value of a setting of a method; None where it has none (all training records)."""
    written = ((study.get("methods") or {}).get(method) or {}).get(key)
    if written is not None:
        return written[0] if isinstance(written, list | tuple) else written
    if key in ("train_limit", "epochs", "learning_rate"):
        return (study.get("train") or {}).get(key.removeprefix("train_"))
    if key == "decoding":
        found = (study.get("evaluate") or {}).get("decoding") or "greedy"
        return found if isinstance(found, str) else found.get("strategy", "greedy")
    if key == "evaluation_prompt":
        return study.get("prompt", "clean")
    if study.get(key) is not None:
        return study[key]
    own = METHODS.get(method)
    if own is not None and key in ("objective", "sequences", "on_policy"):
        return getattr(own, key)
    return {**_FORMULAS, **_OF_STUDY}.get(key)


def _varied(results: Results, rows: Frame, key: str) -> tuple[Frame, list[Any]]:
    """The cells of the methods for which a setting was varied, all else as in the study; its values."""
    varied = {(r.student, r.method) for r in rows.itertuples() if key in r.found}
    kept = [(r.student, r.method) in varied and set(r.found) <= {key} for r in rows.itertuples()]
    own = rows[np.array(kept, dtype=bool)]
    cells = zip(own["found"], own["method"], strict=True)
    return own, [found.get(key, _own_value(results.study, method, key)) for found, method in cells]


def _by_category(results: Results, rows: Frame, key: str) -> Table | None:
    """Accuracies by a setting that is no number, such as a decoding."""
    own, values = _varied(results, rows, key)
    if not any(isinstance(value, str) for value in values):
        return None
    name = key.replace("_", " ")
    cells = [
        [r.who, r.method, str(value or "as in the study"), Quantity(r.estimate, r.low, r.high)]
        for r, value in zip(own.itertuples(), values, strict=True)
    ]
    heads = ["student", "method", name, "accuracy"]
    caption = f"Accuracy by {name}, %"
    label = f"ablation-{key.replace('_', '-')}"
    return Table(label, caption, heads, cells, note(own), list(own["method"]))


def _ablation(results: Results, rows: Frame, key: str) -> Figure | None:
    own, value = _varied(results, rows, key)
    numeric = [float(v) if isinstance(v, int | float) else None for v in value]
    frame = own.assign(x=numeric, y=own["estimate"], line=own["method"])
    frame = frame[frame["x"].notna()].sort_values("x")
    if frame["x"].nunique() < 2:
        return None
    name = key.replace("_", " ")
    frame["tip"] = [
        f"{r.who}, {r.method}, {name} {r.x:g}: {r.y:.1f} [{r.low:.1f}, {r.high:.1f}]"
        for r in frame.itertuples()
    ]
    chart = charts.lines(frame, name, "accuracy, %", methods=theme_order(frame), points=True)
    cells = [
        [r.who, r.method, f"{r.x:g}", Quantity(r.y, r.low, r.high)] for r in frame.itertuples()
    ]
    table = Table(
        f"ablation-{key.replace('_', '-')}",
        f"Accuracy by {name}, %",
        ["student", "method", name, "accuracy"],
        cells,
        note(frame),
        list(frame["method"]),
        signatures(frame),
    )
    return Figure(table.name, f"Accuracy by {name}", chart, note(frame), table)


def theme_order(frame: Frame) -> list[str]:
    """The methods of a frame, each once, in its order."""
    return list(dict.fromkeys(frame["method"]))
