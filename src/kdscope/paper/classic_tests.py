"""The paper's tests, exactly as its notebooks run them, on any grid.

Table 1: one-sided t of all gains and of each method's, one-way ANOVA over the methods as if they
were independent groups. Tables 2 to 5: Spearman of the gain with the teacher's score, the size of
the student, the agreement and the fidelity, over all rows (the captions say performance, the code
takes the gain).
"""

from collections.abc import Iterator

from kdscope.errors import NotEstimableError
from kdscope.paper.grid import Grid, require
from kdscope.paper.records import AVERAGE, Analysis, Comparison, Refusal, comparison
from kdscope.stats.classic import one_sided_t, one_way_anova, spearman

COVARIATES = {2: "teacher_score", 3: "size", 4: "agreement", 5: "fidelity"}


def table_1(grid: Grid, analysis: Analysis) -> Iterator[Comparison | Refusal]:
    """Does distillation help, and do the methods differ?"""
    for task in grid.tasks:
        gains = grid.of(task)["gain"]
        tests = {"t-test all methods": (one_sided_t, [gains])}
        for method in grid.methods:
            tests[f"t-test {method}"] = (one_sided_t, [grid.of(task, method)["gain"]])
        groups = [grid.of(task, method)["gain"] for method in grid.methods]
        tests["ANOVA all methods"] = (one_way_anova, groups)
        for name, (test, arguments) in tests.items():
            try:
                require(grid.of(task), "gain")
                yield comparison(analysis, 1, grid.benchmark, name, task, test(*arguments))
            except NotEstimableError as error:
                yield Refusal(name, task, str(error))


def correlations(grid: Grid, analysis: Analysis, table: int) -> Iterator[Comparison | Refusal]:
    """Spearman of the gain with one covariate over all rows (Tables 2 to 5)."""
    name = COVARIATES[table]
    for task in grid.tasks:
        if table >= 4 and task == AVERAGE:
            continue
        rows = grid.of(task)
        try:
            require(rows, "gain", name)
            yield comparison(
                analysis,
                table,
                grid.benchmark,
                "Spearman rank",
                task,
                spearman(rows["gain"], rows[name]),
            )
        except NotEstimableError as error:
            yield Refusal(f"Spearman rank of gain and {name.replace('_', ' ')}", task, str(error))


def all_tables(
    grid: Grid, analysis: Analysis, tables: tuple[int, ...] = (1, 2, 3, 4, 5)
) -> tuple[list[Comparison], list[Refusal]]:
    """Every test of the paper that the grid carries, and those that it does not carry."""
    results: list[Comparison | Refusal] = []
    for table in tables:
        results += table_1(grid, analysis) if table == 1 else correlations(grid, analysis, table)
    done = [r for r in results if isinstance(r, Comparison)]
    return done, [r for r in results if isinstance(r, Refusal)]
