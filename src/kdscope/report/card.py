"""The model card of a distilled adapter, from the study's tables."""

from pathlib import Path
from typing import Any

import yaml

from kdscope.distillation.methods import METHODS
from kdscope.errors import UserError
from kdscope.report.page import write_text
from kdscope.report.results import Results, load
from kdscope.report.run_folder import command_of, resolved_study, tables_of
from kdscope.report.tabulate import Quantity, Table, interval, number, to_markdown

FORMULAS = {
    "nll": "-log q(y)",
    "forward_kl": "KL(p || q) = Σ p (log p - log q)",
    "reverse_kl": "KL(q || p) = Σ q (log q - log p)",
    "jsd": "b KL(p || m) + (1-b) KL(q || m),  m = b p + (1-b) q",
}
_SHOWN = {
    "accuracy": ("accuracy, %", 100, 1),
    "agreement": ("agreement with the teacher, %", 100, 1),
    "agreement_when_teacher_wrong": ("agreement where the teacher is wrong, %", 100, 1),
    "kappa": ("kappa", 1, 2),
    "bleu": ("sentence BLEU with the teacher's text", 100, 1),
    "bleu_floor": ("the same against another item (floor)", 100, 1),
    "difference_in_accuracy": ("gain over SFT, points", 100, 1),
}


def model_card(
    run: Path, student: str, method: str, out: Path, *, teacher: str | None = None
) -> Path:
    """Write ``README.md`` for the adapter of one cell to the folder ``out``, over all its seeds.

    Raises:
        UserError: the study has no such cell; the message lists the cells.
    """
    results = load(tables_of(run), resolved_study(run), command_of(run))
    return write_text(out / "README.md", card_text(results, student, method, teacher))


def card_text(results: Results, student: str, method: str, teacher: str | None = None) -> str:
    """The card: metadata for the hub, then what it is, how it was made, and what was measured."""
    rows = results.level("accuracy", main=False)
    rows = rows[(rows["student"] == student) & (rows["method"] == method)]
    rows = rows[rows["teacher"] == teacher] if teacher else rows
    if rows.empty:
        cells = sorted(
            {
                f"{r.student} {r.method}"
                for r in results.level("accuracy").itertuples()
                if r.student == r.student and r.student
            }
        )
        raise UserError(
            f"the study has no cell with student {student!r} and method {method!r}, so there are "
            f"no results to write a card from; its cells are: {', '.join(cells)}"
        )
    cell = next(rows.itertuples())
    source = cell.teacher if isinstance(cell.teacher, str) else None
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_metadata(results, student, method, source), sort_keys=False).rstrip(),
            "---",
            "",
            f"# {_code(student)} by {_code(method)}" + (f" from {_code(source)}" if source else ""),
            "",
            *_making(results, method, source),
            "",
            "## Results",
            "",
            to_markdown(_numbers(results, cell)),
            _signature(results, cell),
            "",
            "## Made by",
            "",
            f"    {results.command}",
            "",
            "Made with kdscope. Brackets are 95 % intervals; "
            "the signature says how each number was obtained.",
            "",
        ]
    )


def eval_results(results: Results, student: str, method: str) -> str:
    """Scores by task in the hub's form of evaluation results (YAML)."""
    rows = results.level("accuracy", None)
    rows = rows[(rows["student"] == student) & (rows["method"] == method) & (rows["task"] != "all")]
    entries = [
        {
            "dataset": {"id": row.task, "task_id": row.task},
            "value": round(float(row.estimate), 6),
            "interval": [round(float(row.low), 6), round(float(row.high), 6)],
            "notes": str(row.signature),
        }
        for row in rows.itertuples()
    ]
    return yaml.safe_dump(entries, sort_keys=False)


def _metadata(results: Results, student: str, method: str, teacher: str | None) -> dict[str, Any]:
    data = results.study.get("train", {}).get("data")
    found: dict[str, Any] = {"library_name": "peft", "base_model": student}
    if data:
        found["datasets"] = [data] if isinstance(data, str) else list(data)
    found["tags"] = [
        "knowledge-distillation",
        f"method:{method}",
        *([f"teacher:{teacher}"] if teacher else []),
        "kdscope",
    ]
    return found


def _making(results: Results, method: str, teacher: str | None) -> list[str]:
    known, own = METHODS.get(method), results.study.get("methods", {}).get(method) or {}
    train = results.study.get("train", {})
    lines = [
        f"- method: {_code(method)}" + (f", {known.summary} ({known.source})" if known else "")
    ]
    objective = own.get("objective") or (known.objective if known else None)
    if objective in FORMULAS:
        lines.append(
            "- loss per token, p the teacher and q the student: "
            f"`{FORMULAS[objective]}`, mean over the tokens of the response"
        )
    if teacher:
        lines.append(f"- teacher: {_code(teacher)}")
    pairs = [
        *own.items(),
        *((k, v) for k, v in train.items() if not isinstance(v, dict)),
        *train.get("lora", {}).items(),
    ]
    lines += [f"- {key}: {_code(str(value))}" for key, value in pairs if value is not None]
    return lines


def _numbers(results: Results, cell: Any) -> Table:
    rows = []
    for measure, (name, scale, digits) in _SHOWN.items():
        found = results.level(measure, None, main=False)
        for row in found[
            (found["student"] == cell.student) & (found["label"] == cell.label)
        ].itertuples():
            value = Quantity(row.estimate * scale, row.low * scale, row.high * scale, digits)
            rows.append(
                [
                    name,
                    "all" if row.task == "all" else row.task,
                    number(value.value, digits),
                    interval(value),
                    int(row.n),
                    int(row.seeds),
                ]
            )
    return Table(
        "results", "Results", ["measure", "task", "value", "95 % interval", "n", "seeds"], rows
    )


def _signature(results: Results, cell: Any) -> str:
    found = results.cells
    same = found[(found["student"] == cell.student) & (found["method"] == cell.method)]
    return "\n".join(f"- `{text}`" for text in sorted(set(same["signature"].dropna())))


def _code(text: str) -> str:
    return "`" + str(text).replace("`", "'").replace("\n", " ") + "`"
