"""Answers side by side, picked by rule: wrong with the highest fidelity, right with the lowest."""

from dataclasses import dataclass

from markupsafe import Markup

from kdscope.report.frames import Frame
from kdscope.report.markup import marked, visible
from kdscope.report.results import Results

_EACH = 6


@dataclass(frozen=True)
class Pair:
    """One question with the teacher's and one student's full answer.

    Attributes:
        rule: why it was picked.
        task, item, question, gold: the question and its id.
        options: the admissible answers, or an empty tuple.
        teacher, student: names of the systems.
        method, seed: of the student.
        teacher_text, student_text: escaped and marked.
        teacher_answer, student_answer: as the flexible extractor read them.
        teacher_right, student_right: graded.
        fidelity: sentence BLEU between the two texts, in [0, 1].
    """

    rule: str
    task: str
    item: str
    question: str
    gold: str
    options: tuple[str, ...]
    teacher: str
    student: str
    method: str
    seed: int
    teacher_text: Markup
    student_text: Markup
    teacher_answer: str
    student_answer: str
    teacher_right: bool
    student_right: bool
    fidelity: float


RULES = {
    "close": "wrong, yet close to the teacher's text",
    "far": "right, yet far from the teacher's text",
}

_FAR = 0.5  # sentence BLEU from which a text is no longer far from the teacher's


def pairs(results: Results, each: int = _EACH) -> list[Pair]:
    """``2 * each`` pairs where the study has them; an item and a system appear sparingly."""
    rows = results["fidelity"]
    rows = rows[(rows["relation"] == "teacher") & rows["bleu"].notna() & rows["correct"].notna()]
    rows = rows[rows["method"] != "base"]
    rows = results.main(rows)
    if rows.empty or results["generations"].empty:
        return []
    right, teacher_right = (
        rows["correct"].astype(bool),
        rows["reference_correct"].fillna(False).astype(bool),
    )
    close = rows[~right & teacher_right].sort_values("bleu", ascending=False, kind="stable")
    far = rows[right & teacher_right & (rows["bleu"] < _FAR)].sort_values("bleu", kind="stable")
    used: set[tuple[str, str]] = set()
    picked = [("close", row) for row in _spread(close, each, used)]
    picked += [("far", row) for row in _spread(far, each, used)]
    return [pair for rule, row in picked if (pair := _pair(results, rule, row)) is not None]


def _spread(rows: Frame, each: int, used: set[tuple[str, str]]) -> list:
    """The first rows in order, each item once, every (student, method) before any repeats."""
    found: list = []
    seen: dict[tuple[str, str], int] = {}
    limit, candidates = 1, list(rows.head(4000).itertuples())
    while len(found) < each and limit <= each:
        for row in candidates:
            item, system = (str(row.task), str(row.item)), (str(row.student), str(row.method))
            if item in used or seen.get(system, 0) >= limit or len(found) >= each:
                continue
            used.add(item)
            seen[system] = seen.get(system, 0) + 1
            found.append(row)
        limit += 1
    return found


def _pair(results: Results, rule: str, row) -> Pair | None:
    answers = results["generations"]
    own = answers[
        (answers["task"] == row.task) & (answers["item"] == row.item) & (answers["sample"] == 0)
    ]
    student, teacher = own[own["model"] == row.model], own[own["model"] == row.reference]
    items = results["items"]
    item = items[(items["task"] == row.task) & (items["item"] == row.item)]
    if student.empty or teacher.empty:
        return None
    s, t = student.iloc[0], teacher.iloc[0]
    known = not item.empty
    options = item["options"].iloc[0] if known else None
    return Pair(
        RULES[rule],
        row.task,
        str(row.item),
        visible(item["question"].iloc[0]) if known else str(row.item),
        visible(str(item["gold"].iloc[0])) if known else "–",
        tuple(options) if options is not None else (),
        str(row.reference),
        str(row.model),
        str(row.method),
        int(row.seed),
        marked(_text(t), t["answer_flexible"]),
        marked(_text(s), s["answer_flexible"], _text(t)),
        _answer(t["answer_flexible"]),
        _answer(s["answer_flexible"]),
        bool(t["correct"]),
        bool(s["correct"]),
        float(row.bleu),
    )


def _text(row) -> str:
    """A text without the blank lines around it, which templates leave there."""
    return row["text"].strip("\r\n") if isinstance(row["text"], str) else ""


def _answer(value: object) -> str:
    return visible(value) if isinstance(value, str) else "no valid answer"
