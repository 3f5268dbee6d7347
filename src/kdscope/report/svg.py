"""Charts as SVG that is safe to put into a page, and as files.

vl-convert is met here and nowhere else. What it returns is parsed and rebuilt from a list of
allowed elements and attributes, so that nothing which came in through a name can act in the page.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import altair as alt
import vl_convert

from kdscope.errors import UserError
from kdscope.report import theme

_SPACE = "{http://www.w3.org/2000/svg}"
_ELEMENTS = {"svg", "g", "path", "text", "tspan", "line", "rect", "circle", "defs", "clipPath"}
_ATTRIBUTES = {
    "class",
    "width",
    "height",
    "viewBox",
    "transform",
    "d",
    "x",
    "y",
    "x1",
    "x2",
    "y1",
    "y2",
    "dx",
    "dy",
    "r",
    "cx",
    "cy",
    "rx",
    "ry",
    "fill",
    "stroke",
    "stroke-width",
    "stroke-dasharray",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-miterlimit",
    "stroke-opacity",
    "fill-opacity",
    "opacity",
    "text-anchor",
    "font-family",
    "font-size",
    "font-weight",
    "font-style",
    "id",
    "clip-path",
    "clip-rule",
    "display",
}
_MARKS = {"point", "rule mark", "line mark", "rect mark", "bar", "bar mark"}
_TITLE = 26
_REFERENCE = re.compile(r"url\(#([\w-]+)\)")


def render(chart: alt.TopLevelMixin) -> str:
    """The chart as an SVG document (raw, for files)."""
    return vl_convert.vegalite_to_svg(chart.to_dict(validate=False))


def inline(chart: alt.TopLevelMixin, name: str, label: str) -> str:
    """The chart as SVG markup for a page.

    ``name`` keeps its ids apart from other charts'; ``label`` is what a screen reader says. The
    description of each mark moves to ``data-tip``, which the page's script shows at the pointer.
    """
    root = _clean(ElementTree.fromstring(render(chart)), name)
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def save(chart: alt.TopLevelMixin, path: Path) -> Path:
    """Write the chart as ``.svg``, ``.pdf`` or ``.png`` by the path's suffix.

    Raises:
        UserError: another suffix.
    """
    writers = {".svg": render, ".pdf": _pdf, ".png": _png}
    if path.suffix not in writers:
        raise UserError(
            f"charts are written as {', '.join(writers)}, not {path.suffix!r}: rename {path}"
        )
    content = writers[path.suffix](chart)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def beside(
    charts: Sequence[tuple[str, alt.TopLevelMixin]], *, gap: int = 36, margin: int = 20
) -> str:
    """Titled charts in a row as one SVG document on white, their tops aligned."""
    parts = [
        _clean(ElementTree.fromstring(render(chart)), f"c{i}")
        for i, (_, chart) in enumerate(charts)
    ]
    sizes = [(float(part.attrib["width"]), float(part.attrib["height"])) for part in parts]
    width = sum(w for w, _ in sizes) + gap * (len(parts) - 1) + 2 * margin
    height = max(h for _, h in sizes) + 2 * margin + _TITLE
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": _SPACE[1:-1],
            "width": f"{width:g}",
            "height": f"{height:g}",
            "viewBox": f"0 0 {width:g} {height:g}",
        },
    )
    ElementTree.SubElement(
        root, "rect", {"width": f"{width:g}", "height": f"{height:g}", "fill": "#ffffff"}
    )
    x = float(margin)
    for (title, _), part, (w, _) in zip(charts, parts, sizes, strict=True):
        text = ElementTree.SubElement(
            root,
            "text",
            {
                "x": f"{x:g}",
                "y": f"{margin + 12}",
                "font-family": "Helvetica, Arial, sans-serif",
                "font-size": "15px",
                "font-weight": "bold",
                "fill": theme.INK,
            },
        )
        text.text = title
        part.set("x", f"{x:g}")
        part.set("y", f"{margin + _TITLE}")
        root.append(part)
        x += w + gap
    return ElementTree.tostring(root, encoding="unicode")


def png(document: str) -> bytes:
    """An SVG document as PNG at twice its size."""
    return vl_convert.svg_to_png(document, scale=2)


def _pdf(chart: alt.TopLevelMixin) -> bytes:
    return vl_convert.vegalite_to_pdf(chart.to_dict(validate=False))


def _png(chart: alt.TopLevelMixin) -> bytes:
    return vl_convert.vegalite_to_png(chart.to_dict(validate=False), scale=2)


def _clean(element: ElementTree.Element, name: str) -> ElementTree.Element:
    tag = element.tag.removeprefix(_SPACE)
    kept = ElementTree.Element(tag, {"xmlns": "http://www.w3.org/2000/svg"} if tag == "svg" else {})
    kept.text, kept.tail = element.text, element.tail
    for key, value in element.attrib.items():
        if key not in _ATTRIBUTES:
            continue
        if key == "id":
            value = f"{name}-{value}"
        elif "url(" in value:
            match = _REFERENCE.fullmatch(value)
            if match is None:
                continue
            value = f"url(#{name}-{match.group(1)})"
        kept.set(key, value)
    for child in element:
        if isinstance(child.tag, str) and child.tag.removeprefix(_SPACE) in _ELEMENTS:
            kept.append(_clean(child, name))
    if element.get("aria-roledescription") in _MARKS and element.get("aria-label"):
        kept.set("data-tip", element.attrib["aria-label"])
    return kept
