"""The model card of a distilled adapter, from the study's tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kdscope.data.tasks import TASKS
from kdscope.distillation.methods import METHODS
from kdscope.errors import UserError
from kdscope.report.captions import in_words
from kdscope.report.html import write_text
from kdscope.report.parts import spoken
from kdscope.report.results import Results, load
from kdscope.report.run_folder import command_of, resolved_study, tables_of
from kdscope.report.tabulate import Quantity, Table, interval, number, to_markdown

FORMULAS = {
    "nll": "-log q(y)",
    "forward_kl": "KL(p || q) = Σ p (log p - log q)",
    "reverse_kl": "KL(q || p) = Σ q (log q - log p)",
    "jsd": "b KL(p || m) + (1-b) KL(q || m),  m = b p + (1-b) q",
    "jsd_normalised": "(b KL(p || m) + (1-b) KL(q || m)) / (b (1-b)),  m = b p + (1-b) q",
    "skew_kl": "KL(p || a p + (1-a) q)",
    "skew_rkl": "KL(q || (1-a) p + a q)",
    "tvd": "½ Σ |p - q|",
    "mse": "mean squared difference of centred logits",
    "adaptive_kl": "forward and reverse KL, weighted by the gaps in head and tail",
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


def card_text(
    results: Results,
    student: str,
    method: str,
    teacher: str | None = None,
    *,
    settings: str | None = None,
    made: Mapping[str, Any] | None = None,
    library: str = "peft",
) -> str:
    """The card: metadata for the hub, then what it is, how it was made, and what was measured.

    Args:
        results: of the study.
        student: its name; with ``method``, ``teacher`` and ``settings`` it names the cell.
        method: as in the study.
        teacher: needed only where the study has several.
        settings: canonical JSON of the cell's settings; its first cell where absent.
        made: the fields of the step that trained these weights, for what the study leaves open.
        library: ``peft`` for an adapter, ``transformers`` for whole weights.

    Raises:
        UserError: the study has no such cell; the message lists the cells.
    """
    cell = _cell(results, student, method, teacher, settings)
    source = cell.teacher if isinstance(cell.teacher, str) else None
    head = _metadata(results, student, method, source, made or {}, library)
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False).rstrip(),
            "---",
            "",
            f"# {_code(student)} by {_code(method)}" + (f" from {_code(source)}" if source else ""),
            "",
            *_making(results, method, source, made or {}),
            "",
            "## Results",
            "",
            to_markdown(_numbers(results, cell)),
            _signature(results, cell),
            "",
            "## What is lost",
            "",
            *_losses(results, cell),
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


def eval_results(
    results: Results, student: str, method: str, teacher: str | None = None, **which: Any
) -> str:
    """Scores by task in the hub's form of evaluation results (YAML); arguments as the card's."""
    cell = _cell(results, student, method, teacher, which.get("settings"))
    rows = results.level("accuracy", None, main=False)
    rows = rows[(rows["student"] == student) & (rows["label"] == cell.label)]
    when = _answered(results)
    entries = [
        {
            "dataset": _hub_set(row.task),
            "value": round(float(row.estimate), 6),
            **({"date": when} if when else {}),
            "notes": f"by kdscope: accuracy in [0, 1], 95 % interval {row.low:.4f} to {row.high:.4f}, "
            f"n = {int(row.n)}; {row.signature}",
        }
        for row in rows[rows["task"] != "all"].itertuples()
    ]
    return yaml.safe_dump(entries, sort_keys=False, width=1000)


def _hub_set(task: str) -> dict[str, str]:
    """The task's data set on the hub where the catalogue knows it, else the task's own id."""
    known = TASKS.get(task)
    pin = next((pin for pin in known.pins if pin.hub), None) if known else None
    found = {"id": pin.hub if pin and pin.hub else task, "task_id": task}
    return found | ({"revision": pin.revision} if pin and pin.revision else {})


def _answered(results: Results) -> str | None:
    """When the last answers were generated, ISO 8601."""
    steps = results["steps"]
    times = steps.loc[steps["kind"] == "predict", "started"].dropna() if len(steps) else []
    return str(max(times)) if len(times) else None


def _cell(
    results: Results, student: str, method: str, teacher: str | None, settings: str | None
) -> Any:
    rows = results.level("accuracy", main=False)
    rows = rows[(rows["student"] == student) & (rows["method"] == method)]
    rows = rows[rows["teacher"] == teacher] if teacher else rows
    rows = rows[rows["settings"] == settings] if settings else rows
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
    return next(rows.itertuples())


def _metadata(
    results: Results,
    student: str,
    method: str,
    teacher: str | None,
    made: Mapping[str, Any],
    library: str,
) -> dict[str, Any]:
    data = results.study.get("train", {}).get("data")
    found: dict[str, Any] = {
        "library_name": library,
        "base_model": (made.get("student") or made.get("model") or {}).get("model") or student,
    }
    if data:
        found["datasets"] = [data] if isinstance(data, str) else [str(data)]
    found["tags"] = [
        "knowledge-distillation",
        f"method:{method}",
        *([f"teacher:{teacher}"] if teacher else []),
        "kdscope",
    ]
    return found


def _making(
    results: Results, method: str, teacher: str | None, made: Mapping[str, Any]
) -> list[str]:
    known, own = METHODS.get(method), results.study.get("methods", {}).get(method) or {}
    own = own if isinstance(own, dict) else {}
    train = made.get("train") or results.study.get("train", {})
    lines = [
        f"- method: {_code(method)}" + (f", {known.summary} ({known.source})" if known else "")
    ]
    chosen = made.get("objective") or {"name": own.get("objective") or (known and known.objective)}
    if chosen["name"] in FORMULAS:
        lines.append(
            "- loss per token, p the teacher and q the student: "
            f"`{FORMULAS[chosen['name']]}`, mean over the tokens of the response"
        )
    if teacher:
        lines.append(f"- teacher: {_code(teacher)}")
    data = made.get("data")
    if isinstance(data, dict):
        lines.append(f"- data: {_code(data.get('name'))}, identity {_code(data.get('identity'))}")
    pairs = [
        *((k, v) for k, v in chosen.items() if k != "name" and v not in (None, False, 0.0)),
        *(() if made else own.items()),
        *((made.get("on_policy") or {}).items()),
        ("init", made.get("init")),
        *((k, v) for k, v in train.items() if not isinstance(v, dict)),
        *(train.get("lora") or {}).items(),
        ("seed", made.get("seed")),
    ]
    shown = {key: value for key, value in pairs if value is not None and value != []}
    return lines + [f"- {key}: {_code(_plain(value))}" for key, value in shown.items()]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _losses(results: Results, cell: Any) -> list[str]:
    """How far the student stays behind its teacher and SFT, in sentences with intervals."""
    lines = []
    accuracy = results.level("accuracy", main=False)
    above = accuracy[accuracy["student"].isna() & (accuracy["teacher"] == cell.teacher)]
    above = above[above["method"] == "sft"] if (above["method"] == "sft").any() else above
    for teacher in above.head(1).itertuples():
        lines.append(
            f"- Its teacher answers {spoken(teacher)} of the questions right, this model {spoken(cell)}."
        )
    for measure, text in (
        ("agreement", "It gives its teacher's answer in {} of the questions."),
        ("agreement_when_teacher_wrong", "Where the teacher is wrong, it repeats {} of answers."),
        ("invalid", "{} of its answers could not be read."),
    ):
        rows = results.level(measure, main=False)
        rows = rows[(rows["student"] == cell.student) & (rows["label"] == cell.label)]
        rows = rows[rows["estimate"].notna()]
        lines += [f"- {text.format(spoken(row))}" for row in rows.head(1).itertuples()]
    return lines or ["- Nothing was measured that would say so."]


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
    every = sorted(set(same["signature"].dropna()))
    how = in_words(same["signature"]).replace("\u00a0", " ")
    return "\n".join([f"{how[:1].upper()}{how[1:]}.", "", *(f"- `{text}`" for text in every)])


def _code(text: Any) -> str:
    return "`" + str(text).replace("`", "'").replace("\n", " ") + "`"
