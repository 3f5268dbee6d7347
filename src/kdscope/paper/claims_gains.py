"""The paper's sentences about accuracy, recomputed."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from kdscope.paper.covariates import SIZE, TEACHER
from kdscope.paper.examination import Reexamination, significant
from kdscope.paper.gains import FRIEDMAN, GAIN
from kdscope.paper.printed import BENCHMARKS, tasks
from kdscope.paper.records import AVERAGE, Comparison
from kdscope.stats.multiplicity import write_p

HOLDS, PART, FAILS = "holds", "holds in part", "fails"
UNSUPPORTED, UNKNOWN = "not supported", "cannot be checked"


class Finding(NamedTuple):
    """What the data say about a claim."""

    recomputed: str
    verdict: str
    note: str


Check = Callable[[Reexamination], Finding]


def needs_files(what: str) -> Finding:
    """The finding where released files are needed and were not given."""
    return Finding("–", UNKNOWN, f"needs {what}: give --results")


def no_data(what: str) -> Check:
    """A claim about numbers that no released file holds."""
    return lambda x: Finding("–", UNKNOWN, what)


def averages(x: Reexamination, benchmark: str, student: str | None = None) -> pd.DataFrame:
    """The printed averages, of all runs or of one student's."""
    rows = x.printed[benchmark].of(AVERAGE)
    return rows if student is None else rows[rows["student"] == student]


def _gain_of_student(student: str, math: float, commonsense: float) -> Check:
    """Best and mean gain of one student, beside the two printed numbers."""

    def check(x: Reexamination) -> Finding:
        gains = [averages(x, name, student)["gain"] for name in BENCHMARKS]
        best = [round(float(g.max()), 2) for g in gains]
        mean = [float(g.mean()) for g in gains]
        close = all(abs(b - p) <= 0.055 for b, p in zip(best, (math, commonsense), strict=True))
        runs = len(gains[0])
        return Finding(
            f"best {best[0]:.2f}; {best[1]:.2f} · mean {mean[0]:.1f}; {mean[1]:.1f}",
            PART,
            f"The printed numbers are the best of {runs} runs"
            + (", chosen on the test set." if close else "; they differ from the printed tables."),
        )

    return check


def _up_to_ten(x: Reexamination) -> Finding:
    gains = [averages(x, name, "Qwen2.5-0.5B")["gain"] for name in BENCHMARKS]
    return Finding(
        f"best {gains[0].max():.2f}; {gains[1].max():.2f} · "
        f"mean {gains[0].mean():.1f}; {gains[1].mean():.1f}",
        PART,
        "True of the best of nine runs in math, chosen on the test set; the mean is two thirds of "
        "it. Llama-1B gains more than 10.",
    )


def _peak_gain(x: Reexamination) -> Finding:
    cells = pd.concat([grid.cells for grid in x.printed.values()], ignore_index=True)
    cells = cells[cells["task"] != AVERAGE]
    top = cells.loc[cells["gain"].idxmax()]
    clean = cells[~cells["task"].map(lambda task: tasks()[task].leaked)]
    second = clean.loc[clean["gain"].idxmax()]
    return Finding(
        f"{top['gain']:.2f} ({top['task']}, {top['student']}, {top['method']})",
        PART,
        f"{top['task']} stands in the training set. On a task that does not, the largest gain is "
        f"{second['gain']:.2f} ({second['task']}).",
    )


def _large_models(x: Reexamination) -> Finding:
    gains = [averages(x, name, "Qwen2.5-7B")["gain"] for name in BENCHMARKS]
    return Finding(
        f"mean {gains[0].mean():.2f} in math, {gains[1].mean():.2f} in commonsense",
        PART,
        "Near the commonsense mean alone; in math the 7B student loses on average.",
    )


def spoken(c: Comparison | None, *, what: str = "") -> str:
    """A comparison as a phrase: estimate, interval, p, n."""
    if c is None or c.estimate is None:
        return "–"
    interval = f" [{c.low:.2f}, {c.high:.2f}]" if c.low is not None and c.high is not None else ""
    return f"{what}{c.estimate:.2f}{interval}, p {write_p(c.p)}, n = {c.n}"


def _both(x: Reexamination, test: str, task: str = AVERAGE) -> list[Comparison | None]:
    return [x.find("corrected", name, test, task) for name in BENCHMARKS]


def _teacher_minimal(x: Reexamination) -> Finding:
    math, commonsense = _both(x, TEACHER)
    return Finding(
        f"points per point of the teacher: {spoken(math)}; {spoken(commonsense)}",
        UNSUPPORTED,
        "Better teachers also serve bigger students. Within a student the data allow anything from "
        "none to a strong effect: eight pairs, three students.",
    )


def _smaller_gain_more(x: Reexamination) -> Finding:
    math, commonsense = _both(x, SIZE)
    return Finding(
        f"over students: {spoken(math)}; {spoken(commonsense)}",
        PART,
        "Six students, not 33 runs. Size, baseline and headroom go together, so that the data do "
        "not tell which of them it is.",
    )


def _methods_equal(x: Reexamination) -> Finding:
    math, commonsense = _both(x, FRIEDMAN)
    verdict = FAILS if math is not None and significant(math) else UNSUPPORTED
    return Finding(
        f"Friedman p {write_p(math and math.p)}; {write_p(commonsense and commonsense.p)}",
        verdict,
        "Table 1 itself prints GSM8K and SVAMP bold. Within pairs RevKD and GKD are ahead of "
        "SeqKD in math. No difference found is not equality: that needs an equivalence test.",
    )


def _always_better(x: Reexamination) -> Finding:
    gains = [averages(x, name)["gain"] for name in BENCHMARKS]
    below = [int((g < 0).sum()) for g in gains]
    return Finding(
        f"below SFT: {below[0]} of {len(gains[0])}; {below[1]} of {len(gains[1])}",
        FAILS,
        f"By up to {-min(float(g.min()) for g in gains):.1f} points, in the printed averages.",
    )


def _t_tests(x: Reexamination) -> Finding:
    rows = [x.find("tau-1", name, "t-test all methods", AVERAGE) for name in BENCHMARKS]
    if None in rows:
        rows = [
            x.find("printed-tables", name, "t-test all methods", AVERAGE) for name in BENCHMARKS
        ]
        label = "printed tables"
    else:
        label = "tau = 1"
    fixed = _both(x, GAIN)
    words = "; ".join(f"t {c.statistic:.2f}, p {write_p(c.p)}" for c in rows if c)
    return Finding(
        f"{label}: {words} · over students: {spoken(fixed[0])}; {spoken(fixed[1])}",
        PART,
        "Math holds. In commonsense the printed t uses the best temperature per task, chosen on "
        "the test set; BoolQ and HellaSwag are not significant even so.",
    )


def _revkd_gain(x: Reexamination) -> Finding:
    gains = [x.printed[name].of(AVERAGE, "RevKD")["gain"].mean() for name in BENCHMARKS]
    return Finding(
        f"{gains[0]:.2f}; {gains[1]:.2f}",
        FAILS,
        "6.31 is the t statistic of RevKD's average in Table 1a, not a gain.",
    )


def _revkd_best(x: Reexamination) -> Finding:
    won = []
    for name in BENCHMARKS:
        rows = averages(x, name)
        best = rows.loc[rows.groupby(["teacher", "student"])["score"].idxmax()]
        won.append((int((best["method"] == "RevKD").sum()), len(best)))
    return Finding(
        f"best in {won[0][0]} of {won[0][1]}; {won[1][0]} of {won[1][1]} pairs",
        PART,
        "GKD wins both Llama pairs in math.",
    )


def _three_methods(benchmark: str, teacher: str, student: str, printed: tuple[float, ...]) -> Check:
    """RevKD, SeqKD and GKD of one pair, beside three printed averages."""

    def check(x: Reexamination) -> Finding:
        rows = averages(x, benchmark, student)
        rows = rows[rows["teacher"] == teacher].set_index("method")["score"]
        found = [float(rows[name]) for name in ("RevKD", "SeqKD", "GKD")]
        same = all(abs(a - b) < 0.006 for a, b in zip(found, printed, strict=True))
        return Finding(
            "; ".join(f"{value:.2f}" for value in found),
            HOLDS if same else FAILS,
            "As in the table; differences of about a point are within the noise of one run.",
        )

    return check


def _seven_small(x: Reexamination) -> Finding:
    row = averages(x, "math", "Qwen2.5-7B").set_index("method").loc["RevKD"]
    return Finding(
        f"{row['sft']:.2f} -> {row['score']:.2f}",
        HOLDS,
        "A fifth of a point is far inside the noise of one run, and the best of three methods.",
    )


def _llama_gkd(x: Reexamination) -> Finding:
    row = averages(x, "math", "Llama-3.2-1B").set_index("method").loc["GKD"]
    return Finding(f"{row['score']:.2f}; {row['gain']:.2f}", HOLDS, "The best of three methods.")


def _llama_rev(x: Reexamination) -> Finding:
    rows = x.printed["commonsense"].of(AVERAGE, "RevKD").set_index("student")["gain"]
    values = float(rows["Llama-3.2-1B"]), float(rows["Llama-3.2-3B"])
    return Finding(f"{values[0]:.2f}; {values[1]:.2f}", HOLDS, "As in Table 8.")


def _architecture(x: Reexamination) -> Finding:
    words = []
    for name in BENCHMARKS:
        rows = averages(x, name)
        llama = rows["student"].str.startswith("Llama")
        words.append(f"{rows[llama]['gain'].mean():.1f} against {rows[~llama]['gain'].mean():.1f}")
    return Finding(
        "Llama against Qwen: " + "; ".join(words),
        UNSUPPORTED,
        "Two Llama students of one teacher, of other sizes than Qwen's: the comparison cannot be "
        "made.",
    )


def _teachers_alike(x: Reexamination) -> Finding:
    rows = averages(x, "math", "Qwen2.5-3B")
    rows = rows[rows["method"] == "RevKD"].set_index("teacher")["score"]
    return Finding(
        f"{rows['Qwen2.5-7B']:.2f}; {rows['Qwen2.5-14B']:.2f}",
        PART,
        "The weaker teacher is ahead, by less than the noise of one run; one pair of pairs.",
    )


def _highest_tasks(benchmark: str, named: tuple[str, ...]) -> Check:
    """Do the named tasks show the highest mean gains?"""

    def check(x: Reexamination) -> Finding:
        cells = x.printed[benchmark].cells
        cells = cells[cells["task"] != AVERAGE]
        means = cells.groupby("task")["gain"].mean().sort_values(ascending=False)
        top = set(means.index[: len(named)])
        hits = len(top & set(named))
        verdict = HOLDS if hits == len(named) else PART if hits else FAILS
        order = ", ".join(f"{task} {value:.1f}" for task, value in means.items())
        leaked = [task for task in named if tasks()[task].leaked]
        note = f"{' and '.join(leaked)} stand in the training set." if leaked else ""
        return Finding(order, verdict, note)

    return check


def _structured_teachers(x: Reexamination) -> Finding:
    rows = [x.find("paper-exact", "math", "Spearman rank", task) for task in ("AddSub", "SingleEq")]
    table_2 = [
        c
        for c in x.comparisons
        if c.analysis == "paper-exact" and c.table == 2 and c.benchmark == "math"
    ]
    rows = [c for c in table_2 if c.task in ("AddSub", "SingleEq")]
    words = "; ".join(f"p {write_p(c.p)}, Holm {write_p(c.p_adjusted)}" for c in rows)
    return Finding(
        words if any(c.p is not None for c in rows) else "–",
        UNSUPPORTED,
        "Neither survives a correction for the family of tests, and both tasks stand in the "
        "training set.",
    )


GAIN_CHECKS: dict[str, Check] = {
    "up_to_ten": _up_to_ten,
    "peak_gain": _peak_gain,
    "large_models": _large_models,
    "teacher_minimal": _teacher_minimal,
    "smaller_gain_more": _smaller_gain_more,
    "methods_equal": _methods_equal,
    "always_better": _always_better,
    "t_tests": _t_tests,
    "qwen_05": _gain_of_student("Qwen2.5-0.5B", 10.4, 7.8),
    "qwen_15": _gain_of_student("Qwen2.5-1.5B", 7.5, 5.8),
    "qwen_3": _gain_of_student("Qwen2.5-3B", 5.4, 3.5),
    "qwen_7": _gain_of_student("Qwen2.5-7B", 0.2, 1.9),
    "llama_1": _gain_of_student("Llama-3.2-1B", 12.0, 12.7),
    "llama_3": _gain_of_student("Llama-3.2-3B", 3.7, 4.9),
    "llama_rev": _llama_rev,
    "revkd_gain": _revkd_gain,
    "revkd_best": _revkd_best,
    "revkd_76": _three_methods("math", "Qwen2.5-7B", "Qwen2.5-3B", (76.91, 73.96, 76.18)),
    "revkd_85": _three_methods("commonsense", "Qwen2.5-14B", "Qwen2.5-7B", (85.26, 83.55, 84.90)),
    "revkd_80": _three_methods("commonsense", "Qwen2.5-14B", "Qwen2.5-3B", (80.79, 78.77, 80.38)),
    "seven_small": _seven_small,
    "llama_gkd": _llama_gkd,
    "architecture": _architecture,
    "teachers_alike": _teachers_alike,
    "math_tasks": _highest_tasks("math", ("MultiArith", "SingleEq")),
    "cs_tasks": _highest_tasks("commonsense", ("ARC-e", "ARC-c", "PIQA")),
    "structured_teachers": _structured_teachers,
    "three_benchmarks": no_data("Neither data nor numbers of the third benchmark were released."),
}
