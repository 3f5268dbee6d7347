"""A study's answers as a data set folder: Parquet tables and a card that says what they are."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from kdscope import tables
from kdscope.data.tasks import TASKS
from kdscope.errors import TableError
from kdscope.report.html import write_text
from kdscope.report.parts import count, listing
from kdscope.report.results import Results, load
from kdscope.report.run_folder import copy_study, resolved_study, tables_of
from kdscope.report.sections.overview import sentence

_SHIPPED = {
    "generations": "every answer: who answered, the raw text, what each extractor read, whether it is right",
    "items": "the questions with gold answers and whether they stand in the training data",
    "fidelity": "answer by answer, what each student shares with its teacher",
    "comparisons": "every printed number with its interval, n and signature",
}


def dataset_folder(run: Path, out: Path) -> list[Path]:
    """Write ``README.md`` and ``data/*.parquet`` of a run's answers to ``out``; returns the paths.

    Raises:
        StoreError: ``run`` has no tables.
        TableError: it has no answers.
    """
    folder = tables_of(run)
    results = load(folder, resolved_study(run), "kdscope run study.yaml")
    if results["generations"].empty:
        raise TableError(f"{run} has no answers to export: run its predict steps first.")
    (out / "data").mkdir(parents=True, exist_ok=True)
    written = []
    for name in _SHIPPED:
        if (folder / f"{name}.parquet").is_file():
            written.append(out / "data" / f"{name}.parquet")
            shutil.copyfile(folder / f"{name}.parquet", written[-1])
    return [write_text(out / "README.md", dataset_card(results)), *copy_study(run, out), *written]


def dataset_card(results: Results) -> str:
    """The card: the hub's metadata, what the answers are, the columns, licences of the questions."""
    shipped = [name for name in _SHIPPED if not results[name].empty]
    head: dict[str, Any] = {
        "pretty_name": f"{results.name}: answers of a distillation study",
        "tags": ["knowledge-distillation", "model-answers", "kdscope"],
        "configs": [
            {"config_name": name, "data_files": f"data/{name}.parquet"} for name in shipped
        ],
    }
    answers = results["generations"]
    lines = ["---", yaml.safe_dump(head, sort_keys=False).rstrip(), "---", ""]
    lines += [f"# Answers of the study `{results.name.replace('`', '')}`", "", sentence(results)]
    lines += [f"{count(len(answers), 'answer')} by {count(answers['model'].nunique(), 'system')}."]
    lines += ["", "## Tables", "", *(f"- `{name}`: {_SHIPPED[name]}" for name in shipped)]
    lines += [
        "",
        "## Columns of `generations`",
        "",
        listing(f"`{c}`" for c in tables.SCHEMAS["generations"]),
    ]
    lines += ["", "## Licences of the questions", ""]
    lines += [
        f"- `{task}`: {TASKS[task].licence}" if task in TASKS else f"- `{task}`: unknown"
        for task in results.tasks
    ]
    lines += ["", "The answers are machine-written text, some of it wrong, and were not filtered."]
    lines += ["", "## Made by", "", f"    {results.command}", ""]
    return "\n".join(lines)
