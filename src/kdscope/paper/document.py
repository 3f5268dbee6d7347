"""The JSON document and the files of ``kdscope paper``."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from kdscope.paper.corrected import primary
from kdscope.paper.examination import Reexamination
from kdscope.paper.printed import SOURCE, statistics
from kdscope.paper.records import Claim, Comparison, Printed
from kdscope.stats.multiplicity import write_p

_LATEX_HEAD = (
    r"\begin{table}",
    r"\centering\small",
    r"\begin{tabular}{llrrlrll}",
    r"\toprule",
    r"Test & Task & Printed & Reproduced & $p$ & \multicolumn{2}{l}{Corrected [95\,\%]} & $p$ \\",
    r"\midrule",
)
_LATEX_FOOT = (r"\bottomrule", r"\end{tabular}")


def as_document(x: Reexamination, claims: list[Claim]) -> dict[str, Any]:
    """One object: the comparisons by contract, the claims, and what the page says beside them."""
    return {
        "paper": SOURCE,
        "results": x.released is not None,
        "margin": x.margin,
        "summary": [v._asdict() for v in x.verdicts],
        "table_5_nearest": x.nearest._asdict() if x.nearest else None,
        "comparisons": [c.as_json() for c in x.comparisons],
        "claims": [claim._asdict() for claim in claims],
        "noise": {name: [item._asdict() for item in items] for name, items in x.noise.items()},
        "collapsed": [run._asdict() for run in x.collapsed],
        "not_permitted": [refusal._asdict() for refusal in x.refusals],
    }


def side_by_side(x: Reexamination) -> list[dict[str, Any]]:
    """One row per printed cell: what is printed, each recomputation, and the corrected answer."""
    found = {(c.analysis, c.key): c for c in x.comparisons}
    rows = []
    for cell in statistics():
        row: dict[str, Any] = cell._asdict()
        row |= {"printed": row.pop("statistic"), "p_printed": row.pop("p")}
        for analysis in ("paper-exact", "printed-tables", "tau-1"):
            _fill(row, analysis.replace("-", "_"), found.get((analysis, cell.key)))
        key = (cell.table, cell.benchmark, primary(cell.table, cell.test), cell.task)
        corrected = found.get(("corrected", key))
        row["corrected_test"] = key[2]
        _fill(row, "corrected", corrected)
        for name in ("estimate", "low", "high", "p_adjusted", "n"):
            row[f"corrected_{name}"] = getattr(corrected, name) if corrected else None
        row["verdict_changes"] = verdict_changes(cell, corrected)
        rows.append(row)
    return rows


def verdict_changes(cell: Printed, corrected: Comparison | None) -> bool | None:
    """Whether p < .05, or the sign of a significant relation, differs from print.

    None where the data do not carry the corrected test.
    """
    if corrected is None or corrected.p is None or corrected.estimate is None:
        return None
    if (corrected.p < 0.05) != cell.bold:
        return True
    related = cell.table >= 2 and cell.bold
    return related and corrected.estimate * cell.statistic < 0


def _fill(row: dict[str, Any], prefix: str, c: Comparison | None) -> None:
    row[f"{prefix}_statistic"] = c.statistic if c else None
    row[f"{prefix}_p"] = c.p if c else None


def write_files(x: Reexamination, claims: list[Claim], folder: Path) -> list[Path]:
    """Write the JSON document, the tables as CSV and the five tables as LaTeX; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(as_document(x, claims), indent=2, ensure_ascii=False, allow_nan=False)
    paths = [folder / "paper.json"]
    paths[0].write_text(document + "\n", encoding="utf-8")
    tables = {
        "side_by_side": pd.DataFrame(side_by_side(x)),
        "comparisons": pd.DataFrame([c.as_json() for c in x.comparisons]),
        "claims": pd.DataFrame(c._replace(presets="; ".join(c.presets)) for c in claims),
        "collapsed": pd.DataFrame(x.collapsed),
        "noise": pd.DataFrame([item for items in x.noise.values() for item in items]),
    }
    for name, table in tables.items():
        path = folder / f"{name}.csv"
        table.to_csv(path, index=False)
        paths.append(path)
    paths.append(folder / "tables.tex")
    paths[-1].write_text(latex(x), encoding="utf-8")
    return paths


def latex(x: Reexamination) -> str:
    """Tables 1 to 5 side by side in LaTeX (needs the package booktabs)."""
    parts = []
    rows = side_by_side(x)
    for table, benchmark in dict.fromkeys((row["table"], row["benchmark"]) for row in rows):
        chosen = [row for row in rows if (row["table"], row["benchmark"]) == (table, benchmark)]
        lines = [_latex_row(row) for row in chosen]
        caption = f"Table {table}, {benchmark}: printed, reproduced and corrected."
        parts.append("\n".join([*_LATEX_HEAD, *lines, *_LATEX_FOOT, f"\\caption{{{caption}}}"]))
        parts.append("\\end{table}\n")
    return "\n".join(parts)


def _latex_row(row: dict[str, Any]) -> str:
    low, high = row["corrected_low"], row["corrected_high"]
    cells = [
        row["test"],
        row["task"],
        _math(row["printed"], bold=row["bold"]),
        _math(row["paper_exact_statistic"]),
        _p(row["paper_exact_p"]),
        _math(row["corrected_estimate"]),
        f"[{_math(low)}, {_math(high)}]" if low is not None and high is not None else "--",
        _p(row["corrected_p"]),
    ]
    return " & ".join(cells) + r" \\"


def _math(value: float | None, *, bold: bool = False) -> str:
    if value is None:
        return "--"
    return f"$\\mathbf{{{value:.2f}}}$" if bold else f"${value:.2f}$"


def _p(value: float | None) -> str:
    return write_p(value).replace("<", "$<$").replace("–", "--")


def in_words(x: Reexamination, claims: list[Claim]) -> str:
    """What the command prints for a person."""
    lines = [f"{SOURCE}", ""]
    for v in x.verdicts:
        if not v.cells:
            lines.append(f"{v.analysis:15} needs the released files: --results DIR")
            continue
        fifth = f"; Table 5: {v.table_5_equal} of {v.table_5_cells}" if v.table_5_cells else ""
        lines.append(
            f"{v.analysis:15} {v.equal:3} of {v.cells} statistics as printed{fifth}; "
            f"{v.flips} verdicts differ; p < .05: {v.significant}, after Holm {v.after_holm}"
        )
    if x.nearest:
        lines.append(
            f"{'':15} nearest to Table 5: {x.nearest.file}, off by up to {x.nearest.worst:.2f}"
        )
    corrected = [row["verdict_changes"] for row in side_by_side(x)]
    known = [change for change in corrected if change is not None]
    lines.append(f"{'corrected':15} {sum(known)} of {len(known)} printed verdicts change")
    for run in x.collapsed:
        lines.append(
            f"{'collapsed':15} {run.teacher} -> {run.student}, {run.method}: {run.average:.2f} "
            f"against SFT {run.sft:.2f} ({run.benchmark})"
        )
    verdicts = [claim.verdict for claim in claims]
    counted = ", ".join(f"{verdicts.count(name)} {name}" for name in dict.fromkeys(verdicts))
    lines.append(f"{'claims':15} {len(claims)} checked: {counted}")
    return "\n".join(lines)
