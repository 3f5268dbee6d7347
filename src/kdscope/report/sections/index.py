"""Where each figure and table of the paper stands in the page, or what this study lacks for it."""

from collections.abc import Iterable, Mapping, Sequence

from kdscope.report.parts import Figure, Section
from kdscope.report.tabulate import Table

_PAPER = {
    "Figure 1": ("Accuracy without and with each method", "accuracy"),
    "Figure 2": ("The teacher fine-tuned and not", "ablation-teacher-adapted"),
    "Figure 3": ("Agreement before and after, and with itself", "agreement-before-after"),
    "Figure 4": ("Reasoning fidelity before and after", "bleu-before-after"),
    "Figure 5": ("Noise on the teacher's logits", "ablation-teacher-noise"),
    "Figure 6": ("Temperature", "ablation-temperature"),
    "Figure 7": ("Accuracy for the second family of models, here with the first", "accuracy"),
    "Figure 8": ("Agreement, by student", "agreement-before-after"),
    "Figure 9": ("Fidelity, by student", "bleu-before-after"),
    "Figure 10": ("Agreement for the second family, here with the first", "agreement-before-after"),
    "Figure 11": ("Fidelity for the second family, here with the first", "bleu-before-after"),
    "Table 1": ("One-sided t and one-way ANOVA of the gains", "gain-tests"),
    "Table 2": ("Gain against the teacher's accuracy, Spearman", "teacher-test"),
    "Table 3": ("Gain against student size, Spearman", "size-test"),
    "Table 4": ("Gain against agreement, Spearman", "agreement-test"),
    "Table 5": ("Gain against fidelity, Spearman", "fidelity-test"),
    "Table 6": ("Tasks and splits", "tasks"),
    "Table 7": ("Accuracy by task, mathematics", "accuracy-by-task"),
    "Table 8": ("Accuracy by task, common sense", "accuracy-by-task"),
    "Table 9": ("Error analysis by example", "answers"),
}
_NEEDS = {
    "accuracy": "it needs accuracies in the table comparisons",
    "accuracy-by-task": "it needs accuracies by task in the table comparisons",
    "ablation-teacher-adapted": "it needs ablations: {teacher_adapted: [false]}",
    "ablation-teacher-noise": "it needs ablations: {teacher_noise: [...]}",
    "ablation-temperature": "it needs several values of temperature under a method",
    "agreement-before-after": "it needs agreement of SFT and distilled students with a teacher",
    "bleu-before-after": "it needs sentence BLEU of SFT and distilled students against a teacher",
    "gain-tests": "it needs gains over SFT of several students under several methods",
    "teacher-test": "it needs several teachers that differ in accuracy",
    "size-test": "it needs students of several sizes, distilled",
    "agreement-test": "it needs agreement with a teacher of several distilled students",
    "fidelity-test": "it needs sentence BLEU against a teacher of several distilled students",
    "tasks": "it needs the table items",
    "answers": "it needs the tables fidelity and generations of one study",
}


def table(places: Mapping[str, str]) -> Table:
    """One row for each figure and table of the paper; ``places`` are the page's by name."""
    cells = [
        [name, what, "yes" if anchor in places else f"missing: {_NEEDS[anchor]}"]
        for name, (what, anchor) in _PAPER.items()
    ]
    return Table(
        "paper-index",
        "The paper's figures and tables in this page",
        ["in the paper", "what", "here"],
        cells,
    )


def places(
    figures: Iterable[Figure], sections: Sequence[Section], *, pairs: bool, tests: Iterable[str]
) -> dict[str, str]:
    """The anchor of each figure and table of the page by its name, figures before tables.

    Args:
        figures: of the first screen.
        sections: with their own figures and tables.
        pairs: whether answers stand side by side.
        tests: which of the paper's tests the table of them has.
    """
    found = {"answers": "answers"} if pairs else {}
    found |= dict.fromkeys(tests, "t-paper-tests")
    found |= {table.name: f"t-{table.name}" for s in sections for table in s.tables}
    every = [*figures, *(figure for s in sections for figure in s.figures)]
    return found | {figure.name: f"fig-{figure.name}" for figure in every}


def links(known: Mapping[str, str]) -> dict[str, str]:
    """Where each of the paper's figures and tables that the page has stands in it."""
    return {name: known[anchor] for name, (_, anchor) in _PAPER.items() if anchor in known}
