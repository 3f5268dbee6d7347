"""Sentences of the paper's page: numbers as words, its headline, what each reproduction is."""

from kdscope.paper.document import side_by_side
from kdscope.paper.examination import Reexamination, Verdicts
from kdscope.paper.records import Comparison
from kdscope.report.paper_cards import equals_p
from kdscope.report.tabulate import number


def phrase(c: Comparison | None, unit: str = "") -> str:
    """Estimate, interval, p and n as words."""
    if c is None or c.estimate is None:
        return "not known"
    interval = ""
    if c.low is not None and c.high is not None:
        interval = f" [{number(c.low, 2)}, {number(c.high, 2)}]"
    return f"{number(c.estimate, 2)}{unit}{interval}, p\u00a0{equals_p(c.p)}, n\u00a0=\u00a0{c.n}"


def data_words(x: Reexamination) -> str:
    """Which runs a chart draws."""
    return "runs at τ = 1" if x.released else "data of Tables 7 and 8"


def headline(x: Reexamination) -> str:
    """The page's first sentence."""
    changed = [r["verdict_changes"] for r in side_by_side(x) if r["verdict_changes"] is not None]
    first = x.verdicts[0]
    if first.cells:
        return (
            f"{first.equal} of {first.cells} statistics reproduce to the digit; "
            f"{sum(changed)} of {len(changed)} verdicts change when the data are analysed for what "
            "they are"
        )
    return (
        f"{sum(changed)} of {len(changed)} verdicts change when the paper's printed data are "
        "analysed for what they are"
    )


def reproduction(v: Verdicts) -> str:
    """What one way of running the paper's tests is, in words."""
    return {
        "paper-exact": "The notebooks' method: best temperature per task, chosen on the test set",
        "printed-tables": "The data printed in Tables 7 and 8",
        "tau-1": "The runs at τ = 1, which the paper says it uses",
    }[v.analysis]
