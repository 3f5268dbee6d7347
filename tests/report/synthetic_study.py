"""A study that never ran: realistic result tables for the tests of the report.

The shape of the quickstart: one teacher, two students, five methods, three seeds, three tasks, the
untuned students beside them. Items have a difficulty, systems an ability; a distilled student
repeats some of the teacher's mistakes. ``python tests/report/synthetic_study.py OUT`` writes the
tables of such a study."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from kdscope import tables

TASKS = ("tiny-math", "tiny-long", "tiny-choice")
STUDENTS = {"tiny-student": 0.35, "tiny-student-small": -0.25}
LIFT = {"base": -2.2, "sft": 0.0, "seqkd": 0.35, "fkl": 0.85, "revkd": 0.75, "gkd": 1.05}
COPY = {"base": 0.02, "sft": 0.12, "seqkd": 0.2, "fkl": 0.33, "revkd": 0.38, "gkd": 0.42}
TEACHER = "tiny-teacher"
NAMES = ("Mira", "Tom", "Ada", "Jun", "Lea", "Omar")
THINGS = ("apples", "stamps", "marbles", "books", "coins")
HOSTILE = (
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg/onload=window.pwned=1>',
    "{{ 7*7 }} ${7*7} javascript:alert(1)",
    '=HYPERLINK("https://example.org","x")',
    "\u202eright to left \x07 bell \\input{/etc/passwd} & % # _ ^ ~",
)


def resolved_study() -> dict:
    """The resolved study that belongs to the tables."""
    return {
        "name": "quickstart",
        "seeds": [0, 1, 2],
        "teachers": [TEACHER],
        "students": list(STUDENTS),
        "train": {
            "data": "tiny-train",
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 3e-4,
            "max_length": 256,
            "lora": {"r": 8, "alpha": 16},
        },
        "methods": {
            "sft": {},
            "seqkd": {},
            "fkl": {},
            "revkd": {},
            "gkd": {"on_policy": 0.5, "beta": 0.5},
        },
        "evaluate": {"tasks": list(TASKS), "decoding": "greedy", "samples": 1},
        "include_base": True,
    }


ABLATIONS = ({"teacher_noise": 2}, {"teacher_adapted": False})


def systems(temperatures: tuple[int, ...] = (), ablations: tuple[dict, ...] = ()) -> list[dict]:
    """Every evaluated system: teacher, untuned students, and each cell of the grid."""
    found = [_system(TEACHER, None, "sft", 0, model=f"{TEACHER}-sft")]
    found += [_system(None, student, "base", 0, model=student) for student in STUDENTS]
    for student in STUDENTS:
        for method in list(LIFT)[1:]:
            for seed in (0, 1, 2):
                found.append(_system(None if method == "sft" else TEACHER, student, method, seed))
                if method in {"fkl", "revkd"}:
                    found += [
                        _system(TEACHER, student, method, seed, settings=settings)
                        for settings in (*({"temperature": t} for t in temperatures), *ablations)
                    ]
    return found


def _system(teacher, student, method, seed, *, settings=None, model=None) -> dict:
    text = json.dumps(settings or {}, sort_keys=True, separators=(",", ":"))
    name = model or f"{student}-{method}-s{seed}" + (f"-{text}" if settings else "")
    return {
        "model": name,
        "teacher": teacher,
        "student": student,
        "method": method,
        "seed": seed,
        "settings": text,
    }


def make_study(
    out: Path,
    *,
    items: int = 250,
    hostile: bool = False,
    temperatures: tuple[int, ...] = (),
    ablations: tuple[dict, ...] = (),
    seed: int = 7,
) -> Path:
    """Write all result tables of the synthetic study to ``out`` and return it."""
    rng = np.random.default_rng(seed)
    found = systems(temperatures, ablations)
    questions = _questions(items, rng, hostile)
    answered = [_answers(system, questions, rng, hostile) for system in found]
    generations = pd.concat(answered, ignore_index=True)
    fidelity = _fidelity(generations, rng)
    _write("items", questions.drop(columns=["difficulty", "teacher", "wrong"]), out)
    _write("generations", generations, out)
    _write("fidelity", fidelity, out)
    _write("curves", _curves(found, rng), out)
    _write("steps", _steps(found, rng), out)
    _write("contamination", _contamination(items), out)
    _write("choices", _choices(generations, questions), out)
    _write("comparisons", comparisons(generations, fidelity, rng), out)
    return out


def _write(name: str, frame: pd.DataFrame, out: Path) -> None:
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    tables.write(name, rows, out / f"{name}.parquet")


def _questions(items: int, rng: np.random.Generator, hostile: bool) -> pd.DataFrame:
    rows = []
    for task in TASKS:
        for i in range(items):
            a, b, c = (int(v) for v in rng.integers(3, 90, 3))
            who, thing = rng.choice(NAMES), rng.choice(THINGS)
            text = f"{who} has {a} {thing} and buys {b} more. Then {who} gives away {c}. "
            text += "How many are left?"
            if task == "tiny-long":
                text += f" On the way home it rained for {c} minutes, and the shop had {a + c} "
                text += f"other {thing}."
            if hostile and i < len(HOSTILE):
                text += " " + HOSTILE[i]
            gold, wrong = str(a + b - c), str(a + b + c)
            if task == "tiny-choice":
                gold, wrong = "ABCD"[i % 4], "ABCD"[(i + 1) % 4]
            rows.append(
                {
                    "task": task,
                    "item": f"{task}/{i}",
                    "question": text,
                    "gold": gold,
                    "options": ["12", "25", "31", "48"] if task == "tiny-choice" else None,
                    "form": "letter" if task == "tiny-choice" else "number",
                    "leaked": bool(rng.random() < 0.03),
                    "difficulty": rng.normal(
                        {"tiny-math": -0.5, "tiny-long": 0.5, "tiny-choice": 0.0}[task], 1.0
                    ),
                    "wrong": wrong,
                }
            )
    frame = pd.DataFrame(rows)
    frame["teacher"] = rng.random(len(frame)) < _sigmoid(1.9 - frame["difficulty"])
    return frame


def _sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, dtype=float)))


def _answers(
    system: dict, questions: pd.DataFrame, rng: np.random.Generator, hostile: bool
) -> pd.DataFrame:
    n, method = len(questions), system["method"]
    temperature = json.loads(system["settings"]).get("temperature", 1)
    if system["student"] is None:
        right = questions["teacher"].to_numpy()
    else:
        ability = (
            STUDENTS[system["student"]]
            + LIFT[method]
            + 0.1 * (temperature > 1)
            + rng.normal(0, 0.12)
        )
        if method == "revkd" and system["student"] == "tiny-student-small" and system["seed"] == 2:
            ability = -3.2  # a run that collapsed
        right = rng.random(n) < _sigmoid(ability - questions["difficulty"])
    copies = rng.random(n) < COPY[method]
    valid = (rng.random(n) > (0.3 if method == "base" else 0.02)) | right
    answers, texts = [], []
    for k, (row, ok, fine) in enumerate(zip(questions.itertuples(), right, valid, strict=True)):
        same = copies[k] or system["student"] is None
        other = "ABCD"[k % 3] if row.form == "letter" else str(int(rng.integers(5, 150)))
        answer = row.gold if ok else (row.wrong if same else other)
        answers.append(answer if fine else None)
        text = _solution(row.question, answer if fine else "", method, k)
        if hostile and k % 250 < len(HOSTILE):
            text += "\n" + HOSTILE[k % 250]
        texts.append(text)
    frame = questions[["task", "item"]].copy().assign(**system)
    return frame.assign(
        sample=0,
        decoding="greedy",
        prompt_hash="0f3a",
        text=texts,
        finish_reason="stop",
        tokens=[len(text.split()) for text in texts],
        mean_logprob=-rng.gamma(2.0, 0.08, n),
        answer_strict=answers,
        answer_flexible=answers,
        answer_paper=answers,
        valid=valid,
        correct=right & valid,
        score=(right & valid).astype(float),
    )


def _solution(question: str, answer: str, method: str, k: int) -> str:
    numbers = [word for word in question.split() if word.isdigit()][:3]
    a, b, c = (int(v) for v in [*numbers, "1", "2", "3"][:3])
    opening = ("First add what was bought.", "Let us go step by step.", "We know the start.")[k % 3]
    if method == "base":
        return f"{opening} {a} {b} {a} {answer} {answer}"
    return (
        f"{opening}\n{a} + {b} = {a + b}\nThen take away what was given.\n"
        f"{a + b} - {c} = {answer}\nThe answer is {answer}."
    )


def _fidelity(generations: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    by_model = dict(tuple(generations.groupby("model", sort=False)))
    teacher, parts = by_model[f"{TEACHER}-sft"], []
    for model, own in by_model.items():
        if own["student"].iloc[0] is None:
            continue
        parts.append(_pair(teacher, own, "teacher", rng))
        sft = f"{own['student'].iloc[0]}-sft-s{own['seed'].iloc[0]}"
        if own["method"].iloc[0] not in {"base", "sft"}:
            parts.append(_pair(by_model[sft], own, "sft_student", rng))
        assert model
    return pd.concat(parts, ignore_index=True)


def _pair(reference: pd.DataFrame, own: pd.DataFrame, relation: str, rng: np.random.Generator):
    same = reference["answer_flexible"].to_numpy() == own["answer_flexible"].to_numpy()
    both = reference["valid"].to_numpy() | own["valid"].to_numpy()
    level = 0.22 + 0.5 * COPY[own["method"].iloc[0]] + 0.15 * same
    bleu = np.clip(rng.normal(level, 0.13), 0.01, 1)
    floor = np.clip(rng.normal(0.17, 0.06, len(own)), 0, 1)
    kept = own[["model", "teacher", "student", "method", "seed", "settings", "task", "item"]]
    return kept.assign(
        reference=reference["model"].iloc[0],
        relation=relation,
        agree=np.where(both, same, None),
        reference_valid=reference["valid"].to_numpy(),
        valid=own["valid"].to_numpy(),
        reference_correct=reference["correct"].to_numpy(),
        correct=own["correct"].to_numpy(),
        bleu=bleu,
        chrf=np.clip(bleu + 0.15, 0, 1),
        rouge_l=np.clip(bleu + 0.1, 0, 1),
        equation_f1=np.clip(rng.normal(0.45 + 0.45 * same, 0.25), 0, 1),
        bleu_floor=floor,
        chrf_floor=floor + 0.1,
        rouge_l_floor=floor + 0.08,
    )


def _choices(generations: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Scored options of the choice task: a system that answered right is surer, and often right."""
    rng = np.random.default_rng(11)
    own = generations[generations["task"] == "tiny-choice"]
    gold = questions.set_index("item")["gold"]
    parts = []
    for option in "ABCD":
        right = (own["item"].map(gold) == option).to_numpy()
        lift = np.where(own["correct"], 1.6, -0.3) * right
        scores = lift + rng.normal(0, 0.8, len(own)) - 3
        rows = own[["model", "teacher", "student", "method", "seed", "settings", "task", "item"]]
        parts.append(
            rows.assign(option=option, logprob=scores, logprob_per_byte=scores, gold=right)
        )
    return pd.concat(parts, ignore_index=True)


def _curves(found: list[dict], rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for system in found:
        if system["method"] == "base":
            continue
        start, end = rng.uniform(1.6, 2.1), rng.uniform(0.35, 0.6)
        for step in range(10, 310, 10):
            value = end + (start - end) * np.exp(-step / 80) + rng.normal(0, 0.02)
            rows.append(
                {
                    **system,
                    "optimizer_step": step,
                    "epoch": step / 100,
                    "measure": "loss",
                    "value": value,
                }
            )
            if system["teacher"] and system["student"]:
                rows.append(
                    {
                        **system,
                        "optimizer_step": step,
                        "epoch": step / 100,
                        "measure": "top1_match",
                        "value": 0.9 - 0.4 * np.exp(-step / 70) + rng.normal(0, 0.01),
                    }
                )
    return pd.DataFrame(rows)


def _steps(found: list[dict], rng: np.random.Generator) -> pd.DataFrame:
    rows, kinds = [], {"sft": 14.0, "seqkd": 15.0, "fkl": 17.0, "revkd": 17.5, "gkd": 31.0}
    for system in found:
        names = [("predict", 4.0)]
        if system["method"] != "base":
            own = "sft" if system["method"] == "sft" else "distill"
            names.append((own, kinds[system["method"]]))
        for kind, seconds in names:
            key = f"{abs(hash((kind, system['model']))):064x}"[-64:]
            rows.append(
                {
                    "step": f"{kind}/{system['model']}-{key[:12]}",
                    "kind": kind,
                    "key": key,
                    "state": "done",
                    "seconds": seconds * rng.uniform(0.9, 1.1),
                    "attempts": 1,
                    "peak_memory": int(rng.uniform(0.6, 0.9) * 2**30),
                    "tokens": int(rng.uniform(1, 3) * 1e5),
                    "predicted_seconds": seconds,
                    "started": "2026-01-01T00:00:00Z",
                    "host": "laptop",
                }
            )
    return pd.DataFrame(rows)


def _contamination(items: int) -> pd.DataFrame:
    rows = [("tiny-math", 0, 1, 9, 3), ("tiny-long", 0, 0, 2, 0), ("tiny-choice", 0, 0, 0, 0)]
    return pd.DataFrame(
        [
            {
                "train": "tiny-train",
                "test": task,
                "n": items,
                "exact": e,
                "normalised": m,
                "template": t,
                "ngram": g,
            }
            for task, e, m, t, g in rows
        ]
    )


def comparisons(
    generations: pd.DataFrame, fidelity: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    """The printed numbers, by a small bootstrap over items."""
    rows: list[dict] = []
    cells = ["teacher", "student", "method", "settings"]
    levels = {"accuracy": _matrix(generations, "correct")}
    to_teacher = fidelity[fidelity["relation"] == "teacher"]
    levels["agreement"] = _matrix(to_teacher, "agree")
    levels["agreement_when_teacher_right"] = _matrix(
        to_teacher[to_teacher["reference_correct"]], "agree"
    )
    levels["agreement_when_teacher_wrong"] = _matrix(
        to_teacher[~to_teacher["reference_correct"]], "agree"
    )
    levels["self_agreement"] = _matrix(fidelity[fidelity["relation"] == "sft_student"], "agree")
    levels["bleu"], levels["bleu_floor"] = (
        _matrix(to_teacher, "bleu"),
        _matrix(to_teacher, "bleu_floor"),
    )
    for measure, matrix in levels.items():
        for cell, group in matrix.groupby(cells, dropna=False, sort=False):
            key = dict(zip(cells, (None if pd.isna(v) else v for v in cell), strict=True))
            rows += _rows(measure, key, group, rng)
            if measure == "agreement":
                rows += [
                    {
                        **r,
                        "measure": "kappa",
                        **{k: max(r[k] - 0.25, 0) for k in ("estimate", "low", "high")},
                    }
                    for r in _rows(measure, key, group, rng)
                ]
    rows += _likeness(rows)
    rows += _differences("difference_in_accuracy", levels["accuracy"], rng)
    rows += _differences("gain_in_agreement", levels["agreement"], rng)
    rows += _tests(rows)
    collapsed = {
        "scope": "cell",
        "measure": "collapsed",
        "test": None,
        "task": "all",
        "teacher": TEACHER,
        "student": "tiny-student-small",
        "method": "revkd",
        "settings": "{}",
        "seed": 2,
        "estimate": 1.0,
        "n": 750,
        "signature": "below sft by more than its 95 % half-width",
    }
    return pd.DataFrame([*rows, collapsed], columns=list(tables.SCHEMAS["comparisons"]))


def _matrix(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.assign(value=frame[column].astype(float))


def _rows(measure: str, key: dict, group: pd.DataFrame, rng: np.random.Generator) -> list[dict]:
    found, seeds = [], int(group["seed"].nunique())
    by_item = group.groupby(["task", "item"], sort=False)["value"].mean().dropna()
    for task in ("all", *TASKS):
        values = by_item if task == "all" else by_item[by_item.index.get_level_values(0) == task]
        if values.empty:
            continue
        draws = rng.choice(values.to_numpy(), (200, len(values))).mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        found.append(
            {
                "scope": "cell",
                "measure": measure,
                "task": task,
                **key,
                "estimate": values.mean(),
                "low": low,
                "high": high,
                "n": len(values),
                "seeds": seeds,
                "signature": "bootstrap:items|R:200|seed:0|ci:percentile95",
            }
        )
    return found


LIKENESS = {
    "equation_f1": 0.8,
    "value_f1": 0.9,
    "order": 0.7,
    "diverges_at_first_step": 0.3,
    "arithmetic_validity": 0.95,
    "same_reasoning_same_answer": 0.5,
    "same_reasoning_other_answer": 0.1,
    "other_reasoning_same_answer": 0.2,
    "other_reasoning_other_answer": 0.2,
    "answer_given_same_steps": 0.8,
    "steps_given_same_answer": 0.7,
    "error_arithmetic_slip": 0.2,
    "error_wrong_quantity": 0.5,
    "forward_kl_on_reference": 0.8,
    "forward_kl_on_teacher": 0.9,
    "forward_kl_on_student": 1.2,
    "top1_on_student": 0.7,
    "exposure_bias": 0.4,
    "agreement_over_samples": 0.6,
    "self_agreement_reference": 0.7,
    "agreement_normalised": 0.9,
    "ece": 0.1,
    "brier": 0.3,
    "capa": 0.4,
}


def _likeness(rows: list[dict]) -> list[dict]:
    """Steps, distributions, samples and options: every cell's agreement times a number."""
    return [
        {**row, "measure": name, **{k: row[k] * factor for k in ("estimate", "low", "high")}}
        for name, factor in LIKENESS.items()
        for row in rows
        if row["measure"] == "agreement"
    ]


def _differences(measure: str, matrix: pd.DataFrame, rng: np.random.Generator) -> list[dict]:
    found = []
    for student in STUDENTS:
        own = matrix[matrix["student"] == student]
        sft = own[own["method"] == "sft"].groupby(["task", "item"])["value"].mean()
        kept = own[~own["method"].isin(["sft", "base"])]
        for (method, settings), group in kept.groupby(["method", "settings"], sort=False):
            delta = (group.groupby(["task", "item"])["value"].mean() - sft).dropna().rename("value")
            key = {"teacher": TEACHER, "student": student, "method": method, "settings": settings}
            frame = delta.reset_index().assign(seed=0)
            for row in _rows(measure, key, frame, rng):
                p = float(min(1.0, np.exp(-40 * abs(row["estimate"]))))
                found.append(
                    {
                        **row,
                        "test": "paired_bootstrap",
                        "reference": "sft",
                        "p": p,
                        "seeds": 3,
                        "p_adjusted": min(1.0, 4 * p),
                        "signature": "bootstrap:paired|R:200|cluster:item|seed:0|ci:percentile95",
                    }
                )
    return found


CORRELATED = {"teacher_accuracy": -0.1, "student_size": -0.4, "agreement": 0.62, "bleu": 0.3}


def _tests(rows: list[dict]) -> list[dict]:
    gains = [
        r["estimate"]
        for r in rows
        if r["measure"] == "difference_in_accuracy" and r["task"] == "all"
    ]
    common = {"scope": "study", "task": "all", "n": len(gains), "seeds": 3}
    return [
        {
            **common,
            "measure": "difference_in_accuracy",
            "test": "one_sided_t",
            "estimate": float(np.mean(gains)),
            "statistic": 6.41,
            "p": 0.0002,
            "signature": "t:one-sided|df:7",
        },
        {
            **common,
            "measure": "difference_in_accuracy",
            "test": "one_way_anova",
            "statistic": 3.9,
            "p": 0.11,
            "estimate": 3.9,
            "signature": "F:one-way|df:3,4",
        },
        *(
            {
                **common,
                "measure": "difference_in_accuracy",
                "test": "spearman",
                "reference": reference,
                "estimate": rho,
                "statistic": rho,
                "p": 0.1,
                "signature": "spearman:two-sided",
            }
            for reference, rho in CORRELATED.items()
        ),
    ]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make_study(
        target / "tables",
        hostile="--hostile" in sys.argv,
        temperatures=(2,) if "--temperature" in sys.argv else (),
    )
    (target / "resolved.json").write_text(json.dumps(resolved_study()))
