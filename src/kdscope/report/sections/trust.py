"""What could make the numbers misleading: contamination and collapsed runs."""

from markupsafe import Markup, escape

from kdscope.report.answer import collapsed_cells
from kdscope.report.parts import Section, listing, quantity
from kdscope.report.results import Results
from kdscope.report.tabulate import Quantity, Table


def contamination(results: Results) -> Section:
    """How many test questions are in the training data, and accuracy on the clean rest."""
    rows, question = results["contamination"], "Did the training data give the answers away?"
    if rows.empty:
        return Section(
            "contamination",
            question,
            Markup("This study did not look."),
            missing=[
                "Contamination needs the data audit: kdscope data audit --train FILE --test FILE."
            ],
        )
    kinds = ["exact", "normalised", "template", "ngram"]
    cells = [
        [
            r["train"],
            r["test"],
            *(Quantity(100 * r[k] / r["n"] if r["n"] else None) for k in kinds),
            int(r["n"]),
        ]
        for r in rows.to_dict("records")
    ]
    table = Table(
        "contamination",
        "Test questions found in the training data, %",
        ["train", "test", "exact", "normalised", "same template", "n-gram", "n"],
        cells,
        "exact: same text · normalised: same but for case, blanks and punctuation · "
        "same template: same but for numbers and names · n-gram: long shared passages",
    )
    tables = [table]
    split = clean_and_leaked(results)
    if split is not None:
        tables.append(split)
    bad = rows[(rows["exact"] + rows["normalised"]) > 0]
    text = (
        f"Questions of {listing(sorted(set(bad['test'])))} stand in the training data word for "
        "word: read those accuracies with that in mind."
        if len(bad)
        else "No test question stands in the training data word for word."
    )
    return Section("contamination", question, escape(text), tables=tables)


def clean_and_leaked(results: Results) -> Table | None:
    """Accuracy on items marked as leaked and on the others, over all seeds."""
    items, answers = results["items"], results["generations"]
    if items.empty or answers.empty or not items["leaked"].fillna(False).astype(bool).any():
        return None
    joined = answers[answers["sample"] == 0].merge(
        items[["task", "item", "leaked"]], on=["task", "item"]
    )
    joined = joined[joined["correct"].notna() & joined["student"].notna()]
    joined = joined.assign(
        leaked=joined["leaked"].fillna(False).astype(bool), correct=joined["correct"].astype(float)
    )
    means = (
        joined.groupby(["student", "method", "leaked"])["correct"]
        .agg(["mean", "size"])
        .unstack("leaked")
    )
    cells, methods = [], []
    for student in results.students:
        for method in results.methods:
            if (student, method) in means.index:
                row = means.loc[(student, method)]
                cells.append(
                    [
                        student,
                        method,
                        *(Quantity(float(row[("mean", leaked)]) * 100) for leaked in (False, True)),
                        *(int(row[("size", leaked)]) for leaked in (False, True)),
                    ]
                )
                methods.append(method)
    return Table(
        "clean-and-leaked",
        "Accuracy on clean and on leaked items, %",
        ["student", "method", "clean", "leaked", "clean answers", "leaked answers"],
        cells,
        "answers of all seeds and tasks; the leaked items are few, so differences are rough",
        methods,
    )


def collapse(results: Results) -> Section:
    """Runs that ended below SFT or mostly invalid, and the rate of invalid answers."""
    gone = collapsed_cells(results)
    if gone:
        text = "Yes: " + listing(
            f"{100 * share:.0f}\u00a0% of the runs of {label} on {student}"
            for (student, label), share in gone.items()
        )
        text += (
            ". They stay in every mean; a cell is never recommended where half or more of its runs "
            "collapsed."
        )
    else:
        text = (
            "No run fell below its SFT student by more than the 95 % half-width, and none was "
            "mostly invalid."
        )
    table = _invalid(results)
    missing = [] if table else ["The rate of invalid answers needs the table generations."]
    return Section(
        "collapsed",
        "Did any training collapse?",
        escape(text),
        tables=[table] if table else [],
        missing=missing,
    )


def _invalid(results: Results) -> Table | None:
    rows = results["generations"]
    rows = rows[(rows["sample"] == 0) & rows["valid"].notna()] if not rows.empty else rows
    if rows.empty:
        return None
    keys = ["model", "teacher", "student", "method", "settings", "seed"]
    accuracy = results["comparisons"]
    accuracy = accuracy[
        (accuracy["measure"] == "accuracy") & (accuracy["task"] == "all") & accuracy["seed"].notna()
    ]
    per_seed = {(r.student, r.method, r.settings, r.seed): r for r in accuracy.itertuples()}
    unasked = int(rows["finish_reason"].eq("too_long").sum())
    note = "by the flexible extractor"
    if unasked:
        note += (
            f"; {unasked:,} of these answers were not asked for, as the prompt left no room in the "
            "model's context: they count as invalid"
        )
    cells, methods = [], []
    for values, group in rows.groupby(keys, dropna=False, sort=False):
        model, _, student, method, settings, seed = values
        found = per_seed.get((student, method, settings, seed))
        right = group["correct"].dropna().astype(float)
        shown = (
            quantity(found)
            if found is not None
            else Quantity(float(right.mean()) * 100 if len(right) else None)
        )
        ends = group["finish_reason"].ne("stop").mean()
        invalid = 1 - group["valid"].astype(bool).mean()
        cells.append(
            [
                model,
                shown,
                Quantity(float(invalid) * 100),
                Quantity(float(ends) * 100),
                len(group),
            ]
        )
        methods.append(method)
    return Table(
        "runs",
        "Every run: accuracy, invalid answers, answers that did not stop, %",
        ["run", "accuracy", "invalid", "did not stop", "n"],
        cells,
        note,
        methods,
    )
