"""What the paper's page says: each question, its answer in one sentence, and the evidence."""

from typing import Any, NamedTuple

import altair as alt

from kdscope.paper.corrected import WITHOUT, primary
from kdscope.paper.covariates import DOUBLING, SIZE, SIZE_PARTIAL, TEACHER
from kdscope.paper.document import side_by_side
from kdscope.paper.examination import Reexamination
from kdscope.paper.gains import GAIN, MIXED
from kdscope.paper.printed import BENCHMARKS
from kdscope.paper.records import AVERAGE
from kdscope.report import paper_charts as charts
from kdscope.report.paper_cards import NAMES, Block, blocks, equals_p
from kdscope.report.paper_words import data_words, phrase
from kdscope.report.tabulate import number


class Picture(NamedTuple):
    """A chart with its title and what is drawn."""

    name: str
    title: str
    chart: alt.TopLevelMixin
    note: str


class Evidence(NamedTuple):
    """A question with its answer and what supports it."""

    name: str
    question: str
    answer: str
    notes: list[str]
    pictures: list[Picture]
    blocks: list[Block]


def sections(x: Reexamination) -> list[Evidence]:
    """The questions of Tables 1 to 5, in order."""
    rows = side_by_side(x)
    return [
        _gains(x, rows),
        _methods(x, rows),
        _teacher(x, rows),
        _size(x, rows),
        _agreement(x, rows),
        _fidelity(x, rows),
    ]


def _gains(x: Reexamination, rows: list[dict[str, Any]]) -> Evidence:
    math, other = (x.find("corrected", name, GAIN, AVERAGE) for name in BENCHMARKS)
    yes = [c is not None and c.p is not None and c.p < 0.05 for c in (math, other)]
    words = {
        (True, True): "Yes in both benchmarks",
        (True, False): "Yes in math; in commonsense these runs do not show it",
        (False, True): "Not shown in math; yes in commonsense",
        (False, False): "These runs do not show it",
    }[yes[0], yes[1]]
    notes = [
        "The corrected number is the mean over six students, with two-sided t: runs of one student "
        "share their baseline and teachers, so that 33 runs are not 33 observations.",
    ]
    kept = x.find("corrected", "commonsense", GAIN + WITHOUT, AVERAGE)
    if kept:
        notes.append(f"Commonsense with collapsed runs left out: {phrase(kept, ' points')}.")
    parts = [
        c for c in x.comparisons if c.analysis == "corrected" and c.test.startswith(_LEAK_TESTS)
    ]
    for c in parts:
        name = c.test.removeprefix("gain over SFT, ")
        notes.append(f"Math, {name}: {phrase(c, ' points')}.")
    picture = Picture(
        "gains",
        "Gain over SFT",
        charts.gains(x),
        f"Mean over six students with 95 % interval; {data_words(x)}.",
    )
    return Evidence(
        "gains",
        "Does distillation raise accuracy over SFT? (Table 1, t tests)",
        f"{words}: {phrase(math, ' points')} in math, {phrase(other, ' points')} in commonsense.",
        notes,
        [picture],
        blocks(rows, 1, "t-test"),
    )


_LEAK_TESTS = ("gain over SFT, leaked", "gain over SFT, clean")


def _methods(x: Reexamination, rows: list[dict[str, Any]]) -> Evidence:
    math = x.find("corrected", "math", "methods: RevKD - SeqKD", AVERAGE)
    other = x.find("corrected", "commonsense", "methods: Friedman over pairs", AVERAGE)
    tost = [c for c in x.comparisons if "(TOST)" in c.test and c.task == AVERAGE]
    equal = [c for c in tost if c.p_adjusted is not None and c.p_adjusted < 0.05]
    notes = [
        "Methods are compared within the same teacher and student (eleven pairs); the paper's "
        "ANOVA treats them as independent groups, and finding no difference is not finding "
        "equality.",
        f"Equal within {x.margin:g} point (two one-sided tests, Holm): {len(equal)} of {len(tost)} "
        "comparisons of averages.",
    ]
    for name in BENCHMARKS:
        c = x.find("corrected", name, MIXED, AVERAGE)
        if c:
            notes.append(
                f"{NAMES[name]}: mixed model with the pair as random effect, likelihood ratio "
                f"{number(c.statistic, 1)}, p {equals_p(c.p)} over orders within pairs."
            )
    return Evidence(
        "methods",
        "Are the methods equally good? (Table 1, ANOVA)",
        f"Not in math, where RevKD is ahead of SeqKD by {phrase(math, ' points')}; in commonsense "
        f"the runs do not tell (Friedman p {equals_p(other.p if other else None)}), which is not "
        "equality.",
        notes,
        [
            Picture(
                "differences",
                "Differences within pairs",
                charts.differences(x),
                f"95 % interval; the band is the equivalence margin of {x.margin:g} point; "
                f"{data_words(x)}.",
            )
        ],
        blocks(rows, 1, "ANOVA"),
    )


def _teacher(x: Reexamination, rows: list[dict[str, Any]]) -> Evidence:
    math, other = (x.find("corrected", name, TEACHER, AVERAGE) for name in BENCHMARKS)
    return Evidence(
        "teacher",
        "Does a better teacher make a better student? (Table 2)",
        f"The data do not tell: within a student, a point of the teacher brings "
        f"{phrase(math, ' points')} in math and {phrase(other, ' points')} in commonsense.",
        [
            "Better teachers also serve bigger students, so that the printed correlations mix "
            "both. Here each student is compared with itself; p permutes the teachers of one "
            "student (72 orders, three students, eight pairs). The interval is Student's and "
            "assumes normal errors, which the permutation does not: where they disagree, the "
            "permutation decides."
        ],
        [],
        blocks(rows, 2),
    )


def _size(x: Reexamination, rows: list[dict[str, Any]]) -> Evidence:
    math, other = (x.find("corrected", name, SIZE, AVERAGE) for name in BENCHMARKS)
    notes = [
        "Six students of five sizes stand behind 33 runs: p counts all 720 orders of the sizes "
        "over the students. With six students no interval of a rank correlation holds its level.",
    ]
    for name in BENCHMARKS:
        held = x.find("corrected", name, SIZE_PARTIAL, AVERAGE)
        doubling = x.find("corrected", name, DOUBLING, AVERAGE)
        notes.append(
            f"{NAMES[name]}: {phrase(doubling, ' points')} per doubling; rho given the SFT score "
            f"{phrase(held)}."
        )
    pictures = [
        Picture(
            f"size-{name}",
            f"Gain by student size, {NAMES[name].lower()}",
            charts.by_size(x.grids[name]),
            "Points: runs. Rings: what the SFT score alone predicts (regression to the mean); "
            f"they fall with size whatever distillation does; {data_words(x)}.",
        )
        for name in BENCHMARKS
    ]
    return Evidence(
        "size",
        "Do smaller students gain more? (Table 3)",
        f"In math yes, though size cannot be told from a low start (rho {phrase(math)}); in "
        f"commonsense it is not shown (rho {phrase(other)}).",
        notes,
        pictures,
        blocks(rows, 3),
    )


def _agreement(x: Reexamination, rows: list[dict[str, Any]]) -> Evidence:
    if not x.released:
        return Evidence(
            "agreement",
            "Do students that gain more agree more with their teacher? (Table 4)",
            "The printed tables hold no agreement: give the released files with --results.",
            [],
            [],
            blocks(rows, 4),
        )
    name = primary(4, "Spearman rank")
    found = [c for c in x.comparisons if c.test == name and c.p is not None]
    up = [c for c in found if c.p is not None and c.p < 0.05]
    notes = [
        "The released agreement belongs to RevKD runs, three of them collapsed; the paper's code "
        "joins it to the gains of all three methods and compares its level with their change. "
        "Here change is compared with change, in the very run that was measured (eleven pairs per "
        "task).",
    ]
    for benchmark in BENCHMARKS:
        suffix = WITHOUT if benchmark == "commonsense" else ""
        values = [
            x.find("corrected", benchmark, f"agreement: {what}{suffix}", AVERAGE)
            for what in _AGREEMENT_PARTS
        ]
        notes.append(
            f"{NAMES[benchmark]}{suffix}: agreement rises by {phrase(values[0], ' points')}; "
            f"accuracy alone would bring {phrase(values[1], ' points')}; kappa, which removes "
            f"that part, rises by {phrase(values[2])} (times 100)."
        )
    pictures = [
        Picture(
            f"agreement-{benchmark}",
            f"Agreement gain against accuracy gain, {NAMES[benchmark].lower()}",
            charts.agreement(x.aligned[benchmark]),
            "RevKD runs, one point per pair and task. Dashed: equal gains.",
        )
        for benchmark in BENCHMARKS
    ]
    return Evidence(
        "agreement",
        "Do students that gain more agree more with their teacher? (Table 4)",
        f"Yes: on {len(up)} of {len(found)} tasks gain of agreement follows gain of accuracy "
        f"(rho {number(min(c.estimate or 0 for c in up), 2)} to "
        f"{number(max(c.estimate or 0 for c in up), 2)}), and most of it is that accuracy.",
        notes,
        pictures,
        blocks(rows, 4),
    )


_AGREEMENT_PARTS = (
    "gain over SFT",
    "gain that accuracy alone brings",
    "gain of chance-corrected kappa (x 100)",
)


def _fidelity(x: Reexamination, rows: list[dict[str, Any]]) -> Evidence:
    if x.nearest is None:
        answer, notes = "Table 5 needs the released files: give --results.", []
    else:
        answer = (
            "It cannot be checked: none of the six correlations of Table 5 follows from any "
            f"released file; the nearest of {x.nearest.tried} readings is off by up to "
            f"{number(x.nearest.worst, 2)}."
        )
        notes = [
            f"Nearest: {x.nearest.file}, {x.nearest.rows} rows, {x.nearest.runs}, against the "
            f"{x.nearest.target}. That file is not BLEU: its values lie between 78 and 91. The "
            "corrected column compares its change with the change of accuracy."
        ]
    return Evidence(
        "fidelity",
        "Do students that gain more reason more like their teacher? (Table 5)",
        answer,
        notes,
        [],
        blocks(rows, 5),
    )
