"""A small study with a known truth, as rows of the result tables."""

import numpy as np

TASKS = {"tiny-math": None, "tiny-long": None, "tiny-choice": 4}


def system(model, teacher, student, method, seed, settings="{}"):
    return {"model": model, "teacher": teacher, "student": student, "method": method, "seed": seed,
            "settings": settings}  # fmt: skip


def items(count, repeated=0):
    """Rows of ``items``; the last ``repeated`` questions of a task repeat its first ones."""
    rows = []
    for task, options in TASKS.items():
        for i in range(count):
            own = i - (count - repeated) if i >= count - repeated else i
            rows.append({
                "task": task, "item": str(i), "question": f"{task}? {own}", "gold": "ABCD"[own % 4] if options else str(own),
                "options": list("ABCD") if options else None, "form": "letter" if options else "number", "leaked": False,
            })  # fmt: skip
    return rows


def answers(rng, questions, accuracy, copied=None, share=0.0):
    """Right with a probability; otherwise wrong, or copied from another system."""
    found = []
    for place, row in enumerate(questions):
        wrong = (
            rng.choice([x for x in "ABCD" if x != row["gold"]])
            if row["options"]
            else str(1000 + rng.integers(50))
        )
        answer = row["gold"] if rng.random() < accuracy else str(wrong)
        if copied is not None and rng.random() < share:
            answer = copied[place]
        found.append(answer)
    return found


def generations(who, questions, given, invalid=0.0, rng=None):
    rows = []
    for row, answer in zip(questions, given, strict=True):
        valid = not (invalid and rng.random() < invalid)
        right = valid and answer == row["gold"]
        rows.append({
            **who, "task": row["task"], "item": row["item"], "sample": 0, "decoding": "greedy", "text": f"So the answer is {answer}.",
            "answer_flexible": answer if valid else None, "answer_strict": answer if valid else None,
            "valid": valid, "correct": right, "score": float(right),
        })  # fmt: skip
    return rows


def study(count=60, seeds=(0, 1, 2), methods=("fkl", "revkd", "gkd", "seqkd"), students=2):
    """Generations by model, and who is compared with whom.

    ``revkd`` copies a third of the teacher's answers; ``gkd`` of the second student collapses with seed 2.
    """
    rng, questions = np.random.default_rng(0), items(count, repeated=5)
    teacher = system("teacher", "teacher-3B", None, "sft", 0)
    given = answers(rng, questions, 0.8)
    systems = {"teacher": generations(teacher, questions, given)}
    links = []
    for s in range(students):
        student = f"student-{s + 1}B"
        for seed in seeds:
            base = f"{student}/sft/{seed}"
            who = system(base, None, student, "sft", seed)
            systems[base] = generations(who, questions, answers(rng, questions, 0.5 + 0.1 * s))
            links.append((base, "teacher", "teacher"))
            for method in methods:
                name = f"{student}/{method}/{seed}"
                who = system(name, "teacher-3B", student, method, seed)
                share = 0.35 if method == "revkd" else 0.1
                bad = 0.9 if (method, s, seed) == ("gkd", 1, 2) else 0.0
                own = answers(rng, questions, 0.55 + 0.1 * s, given, share)
                systems[name] = generations(who, questions, own, bad, rng)
                links += [(name, "teacher", "teacher"), (name, base, "sft_student")]
    return questions, systems, links
