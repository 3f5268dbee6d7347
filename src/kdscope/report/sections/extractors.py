"""Whether the verdict hangs on how answers are read out of the texts."""

from markupsafe import escape

from kdscope.report.frames import Frame
from kdscope.report.parts import Section, listing, note, quantity
from kdscope.report.results import CELL, Results
from kdscope.report.tabulate import Table

MEASURES = {
    "flexible": "difference_in_accuracy",
    "strict": "difference_in_accuracy_strict",
    "paper": "difference_in_accuracy_paper",
}
_EXPLAINED = (
    "flexible: any explicit marker, else the last admissible value · strict: the agreed words alone · "
    "paper: as the paper's reference reads it · better, worse: the 95 % interval excludes 0"
)


def section(results: Results) -> Section:
    """Difference to SFT of every cell, over all tasks, by each of the three extractors."""
    question = "Does the verdict change with the extractor?"
    by_name = {name: _by_cell(results, measure) for name, measure in MEASURES.items()}
    shared = [
        cell for cell in by_name["flexible"] if all(cell in found for found in by_name.values())
    ]
    if not shared:
        lacking = (
            "It needs differences to SFT by each extractor in the table comparisons; "
            "run the study again to add them to older results."
        )
        return Section("extractors", question, escape("Not known here."), missing=[lacking])
    cells, changed = [], []
    for cell in shared:
        rows = {name: found[cell] for name, found in by_name.items()}
        said = {name: verdict(row) for name, row in rows.items()}
        own = rows["flexible"]
        if len(set(said.values())) > 1:
            changed.append(f"{own.label} on {own.who}")
        shown = [quantity(row, signed=True) for row in rows.values()]
        cells.append([own.who, own.label, *shown, _in_words(said)])
    text = (
        f"Yes, for {len(changed)} of {len(cells)} cells: {listing(changed)}."
        if changed
        else f"No: all {len(cells)} cells stand to SFT alike by each of the three extractors."
    )
    heads = ["student", "method", *MEASURES, "verdict"]
    remark = f"{_EXPLAINED} · {note(results.level(MEASURES['flexible'], main=False))}"
    methods = [by_name["flexible"][cell].method for cell in shared]
    caption = "Difference in accuracy to SFT by extractor, points"
    table = Table("by-extractor", caption, heads, cells, remark, methods)
    return Section("extractors", question, escape(text), tables=[table])


def verdict(row: Frame) -> str:
    """``better``, ``worse`` or ``alike`` than SFT, by a row's 95 % interval."""
    if row.low > 0:
        return "better"
    return "worse" if row.high < 0 else "alike"


def _by_cell(results: Results, measure: str) -> dict[tuple[str, ...], Frame]:
    rows = results.level(measure, main=False)
    rows = rows[rows["low"].notna() & rows["high"].notna()]
    return {tuple(str(getattr(r, name)) for name in CELL): r for r in rows.itertuples()}


def _in_words(said: dict[str, str]) -> str:
    """One verdict where all agree, else each by its extractor."""
    if len(set(said.values())) == 1:
        return said["flexible"]
    return ", ".join(f"{name} {word}" for name, word in said.items())
