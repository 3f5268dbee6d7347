"""What a run gives away: a hub folder of one model, its answers as a data set or as other tools' logs."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdscope import tables
from kdscope.data.records import Item
from kdscope.errors import StoreError, UserError
from kdscope.evaluation import export_inspect, export_lm_eval
from kdscope.report.card import card_text, eval_results
from kdscope.report.dataset_card import dataset_folder
from kdscope.report.html import write_text
from kdscope.report.results import load
from kdscope.report.run_folder import copy_study, resolved_study, tables_of
from kdscope.study.graph import Plan, Step
from kdscope.study.identity import SHORT
from kdscope.study.source import nearest
from kdscope.study.store import Run, read_manifest

_TRAINED = ("sft", "distill")
_LOGS: dict[str, Callable[..., list[Path]]] = {"lm-eval": export_lm_eval, "inspect": export_inspect}
FORMS = ("hub", "dataset", *_LOGS)


def export(run: Path, model: str | None, form: str, out: Path) -> list[Path]:
    """Write one form of a run's results to the folder ``out``; returns the files.

    Args:
        run: folder of the run.
        model: name of an evaluated system (or a part that fits one only); None means all, which
            ``hub`` does not take.
        form: ``hub``, ``dataset``, ``lm-eval`` or ``inspect``.
        out: must be absent or empty, so that nothing is overwritten.

    Raises:
        UserError: no such form or model, or ``out`` is not empty.
        StoreError: the run has no tables, or the model's weights are not there.
    """
    if form not in FORMS:
        raise UserError(f"there is no export {form!r}; choose among {', '.join(FORMS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; nothing was written. Choose another --out.")
    if form == "dataset":
        return dataset_folder(run, out)
    return hub_folder(run, model, out) if form == "hub" else logs(run, model, form, out)


def hub_folder(run: Path, model: str | None, out: Path) -> list[Path]:
    """Weights, card and evaluation results of one trained model, in the hub's layout."""
    plan = Run(run).plan()
    step = _training_step(plan, model)
    artifact = Run(run).artifacts([step.kind]).get(step.key[:SHORT])
    manifest = read_manifest(artifact) if artifact else None
    if artifact is None or manifest is None:
        raise StoreError(f"{step.path} is not complete, so it has no weights: `kdscope run` first.")
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((artifact / "out" / "model").iterdir()):
        shutil.copyfile(path, out / path.name)
    adapter = out / "adapter_config.json"
    if adapter.is_file():
        _name_base(adapter, manifest["fields"].get("student") or manifest["fields"]["model"])
    system, results = (
        _system(step),
        load(tables_of(run), resolved_study(run), "kdscope run study.yaml"),
    )
    cell = (system["student"], system["method"], system["teacher"])
    which: dict[str, Any] = {"settings": system["settings"]}
    library = "peft" if adapter.is_file() else "transformers"
    write_text(
        out / "README.md",
        card_text(results, *cell, **which, made=manifest["fields"], library=library),
    )
    copy_study(run, out)
    write_text(out / ".eval_results" / "kdscope.yaml", eval_results(results, *cell, **which))
    return sorted(path for path in out.rglob("*") if path.is_file())


def logs(run: Path, model: str | None, form: str, out: Path) -> list[Path]:
    """Answers as another tool's logs, a folder for each system."""
    found = tables_of(run)
    answers = tables.read("generations", found / "generations.parquet").to_pandas()
    answers = answers.astype(object).where(answers.notna(), None)
    items = [_item(row) for row in tables.read("items", found / "items.parquet").to_pylist()]
    names = list(dict.fromkeys(answers["model"]))
    wanted = names if model is None else [_one(model, names)]
    written = []
    for name in wanted:
        rows = answers[answers["model"] == name].to_dict("records")
        folder = out / re.sub(r"[^A-Za-z0-9._=-]+", "__", name)  # as lm-eval writes a "/"
        written += _LOGS[form](rows, items, folder)
    return written


def _item(row: dict[str, Any]) -> Item:
    options = tuple(row["options"]) if row["options"] else None
    return Item(
        row["task"], row["item"], row["question"] or "", row["gold"] or "", row["form"], options
    )


def _training_step(plan: Plan, model: str | None) -> Step:
    steps = {
        step.system["model"]: step
        for step in plan.steps.values()
        if step.kind in _TRAINED and step.system and step.system["student"]
    }
    if model is None:
        raise UserError(f"name the model to export; this run trains {', '.join(steps)}")
    return steps[_one(model, list(steps))]


def _system(step: Step) -> dict[str, Any]:
    return dict(step.system or {})


def _one(text: str, names: list[str]) -> str:
    """The only name that is ``text`` or holds it."""
    fitting = [text] if text in names else [name for name in names if text in name]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(
            f"{text!r} fits {len(fitting)} models; be more precise: {', '.join(fitting[:8])}"
        )
    raise UserError(f"there is no model {text!r} in this run{nearest(text, names)}")


def _name_base(config: Path, student: dict[str, Any]) -> None:
    """Name the base model as the study does; the file that was loaded is a path of this machine."""
    document = json.loads(config.read_text(encoding="utf-8"))
    document["base_model_name_or_path"] = student.get("model") or student["name"]
    document["revision"] = student.get("revision")
    write_text(config, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
