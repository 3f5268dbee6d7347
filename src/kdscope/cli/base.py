"""What all verbs share: the application, its panels, and how a verb speaks."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="kdscope",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A laboratory for knowledge distillation of language models.",
)

START, STUDY, COMPARE, DATA, SHARE = "Start", "Study", "Compare", "Data", "Share"

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Folder = Annotated[Path, typer.Argument(help="A run's folder.")]
Margin = Annotated[float, typer.Option(min=0.01, help="Equivalence margin, points.")]


def say(message: str) -> None:
    """Print a message for people: always to standard error, so that ``--json`` output stays clean."""
    print(message, file=sys.stderr, flush=True)


def emit(document: Any) -> None:
    """Print one JSON document to standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
