"""What all pages share: templates, the policy that allows their own text only, safe writing."""

import base64
import hashlib
import json
import os
import uuid
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from kdscope.report.markup import visible
from kdscope.report.tabulate import html_cell, sort_key


def script_json(document: Any) -> Markup:
    """JSON that can stand inside a script element: no ``<``, ``>``, ``&`` or line separators."""
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def render(
    template: str, colours: str, styles: Iterable[str], scripts: Iterable[str], **values: Any
) -> str:
    """A template with its styles and scripts inlined and a policy that allows exactly these."""
    style = "\n".join([*(asset(name) for name in styles), colours])
    script = "\n".join(asset(name) for name in scripts)
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{digest(style)}'; script-src '{digest(script)}'"
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdscope.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        cell=html_cell,
        sort_key=sort_key,
        visible=visible,
    )
    return environment.get_template(template).render(
        style=Markup(style), script=Markup(script), policy=policy, **values
    )


def asset(name: str) -> str:
    """A style or script of the package."""
    return (resources.files("kdscope.report") / "templates" / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """The source expression of a content security policy that allows this inline text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def write_text(path: Path, text: str) -> Path:
    """Write a file atomically: a reader sees the old page or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path
