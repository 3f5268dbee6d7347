"""One theme for every chart and page: colours, names and the order of methods.

A method has one colour everywhere, with a second shade of it for dark pages. The shades differ in
lightness as well as hue, so that they stay apart for colour-blind readers and in print; charts that
rely on colour also use shape.
"""

from collections.abc import Iterable
from dataclasses import dataclass

INK, MUTED, GRID, PAPER = "#20262d", "#68727d", "#e4e7eb", "#fefefe"
BAND = "#eef1f4"


@dataclass(frozen=True)
class Style:
    """How a method is drawn: colour on light and on dark paper, and the shape of its points."""

    light: str
    dark: str
    shape: str


METHOD_STYLES: dict[str, Style] = {
    "base": Style("#8d959e", "#7f8892", "circle"),
    "sft": Style("#47525e", "#b4bec9", "square"),
    "seqkd": Style("#bf7408", "#eda945", "triangle-up"),
    "fkl": Style("#2e94d1", "#79c6f2", "diamond"),
    "revkd": Style("#0b4f94", "#5a96e6", "triangle-down"),
    "gkd": Style("#0a8a67", "#41c39a", "cross"),
}
_SPARE = (
    Style("#b0558b", "#e295c2", "circle"),
    Style("#c24d1a", "#ef8a5b", "square"),
    Style("#7f760c", "#cdc24a", "triangle-up"),
    Style("#6a4db5", "#ac94ee", "diamond"),
    Style("#7a4a2c", "#c79a7c", "triangle-down"),
    Style("#128a94", "#55c5cf", "cross"),
)
# Chart colours and the CSS variables that replace them on a page.
INK_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--rule", PAPER: "--paper", BAND: "--band"}


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style for every method, in display order; unknown methods take spare colours by name."""
    wanted = order(methods)
    strangers = [name for name in wanted if name not in METHOD_STYLES]
    spare = {name: _SPARE[i % len(_SPARE)] for i, name in enumerate(sorted(strangers))}
    return {name: METHOD_STYLES.get(name) or spare[name] for name in wanted}


def order(methods: Iterable[str]) -> list[str]:
    """Methods in the order in which they are always shown: untuned, SFT, the distilled ones."""
    known = list(METHOD_STYLES)
    rank = {name: i for i, name in enumerate(known)}
    return sorted(set(methods), key=lambda name: (rank.get(name, len(known)), name))


def chart_config() -> dict:
    """The Vega-Lite configuration that every chart shares."""
    font = "Helvetica, Arial, sans-serif"
    axis = {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "labelPadding": 5,
        "domain": False,
        "ticks": False,
        "gridColor": GRID,
        "gridWidth": 1,
        "labelFont": font,
        "titleFont": font,
    }
    return {
        "background": "#ffffff00",
        "font": font,
        "padding": 2,
        "view": {"stroke": None},
        "axis": axis,
        "axisY": {"grid": False, "labelColor": INK, "labelFontSize": 12},
        "title": {
            "anchor": "start",
            "frame": "group",
            "fontSize": 12,
            "fontWeight": "bold",
            "color": INK,
            "offset": 8,
            "font": font,
        },
        "legend": {
            "labelColor": INK,
            "labelFontSize": 12,
            "title": None,
            "symbolOpacity": 1,
            "symbolSize": 70,
            "orient": "top",
            "columnPadding": 14,
            "labelFont": font,
        },
        "text": {"color": MUTED, "fontSize": 11, "font": font},
        "header": {"labelColor": INK, "titleColor": MUTED},
    }


def stylesheet(methods: Iterable[str]) -> str:
    """CSS that gives each method its variable and lets charts follow the page's colour scheme.

    Charts keep literal colours, so that they stay right outside the page; attribute selectors
    replace them inside it.
    """
    found = styles(methods)
    light = "".join(f"--m{i}:{style.light};" for i, style in enumerate(found.values()))
    dark = "".join(f"--m{i}:{style.dark};" for i, style in enumerate(found.values()))
    swap = {style.light: f"--m{i}" for i, style in enumerate(found.values())} | INK_VARIABLES
    rules = [
        f":root{{{light}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}",
    ]
    for colour, variable in swap.items():
        rules.append(f'svg [fill="{colour}"]{{fill:var({variable})}}')
        rules.append(f'svg [stroke="{colour}"]{{stroke:var({variable})}}')
    rules += [f".m{i}{{--m:var(--m{i})}}" for i in range(len(found))]
    return "\n".join(rules)
