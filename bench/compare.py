"""How fast prediction files are compared: answers of many systems, and texts of one.

python bench/compare.py answers     # 50 students x 20,000 items, 10,000 resamples
python bench/compare.py texts       # BLEU, chrF++ and ROUGE-L on GSM8K rationales (KDSCOPE_DATA)
"""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from kdscope import tables
from kdscope.data import load_items
from kdscope.fidelity.overlap import partners
from kdscope.report.compare.texts import Texts, measure_texts

STUDENTS, ITEMS, RESAMPLES = 50, 20_000, 10_000
REPEATS = 10  # GSM8K's test rationales, as that many students' answers


def answers() -> dict[str, float]:
    """All answer measures of 50 students against one teacher, from reading the files on."""
    # Imported here: the processes that `texts` starts import this file again.
    from kdscope.report.compare import compare_files

    rng = np.random.default_rng(0)
    gold = rng.integers(0, 1000, ITEMS)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for system in range(STUDENTS + 1):
            right = rng.random(ITEMS) < (0.7 if system == 0 else 0.5)
            given = np.where(right, gold, rng.integers(2000, 2020, ITEMS))
            paths.append(Path(folder) / f"system{system}.parquet")
            rows = [
                {
                    "model": f"system{system}", "settings": "{}", "task": f"task{i % 5}", "item": str(i),
                    "sample": 0, "text": None, "answer_flexible": str(answer), "valid": True,
                    "correct": bool(ok), "score": float(ok),
                }
                for i, (answer, ok) in enumerate(zip(given, right, strict=True))
            ]  # fmt: skip
            tables.write("generations", rows, paths[-1])
        before = time.process_time(), time.perf_counter()
        compare_files(paths, resamples=RESAMPLES, text_rows=0)
        cpu, wall = time.process_time() - before[0], time.perf_counter() - before[1]
    return {"rows": STUDENTS * ITEMS, "wall_seconds": wall, "cpu_seconds": cpu}


def texts() -> dict[str, float]:
    """Overlaps and steps with floors, the reference prepared once per item."""
    items = load_items("gsm8k")
    items = [item for item in items if item.reference]
    reference: list[str | None] = [item.reference or "" for item in items]
    rng = np.random.default_rng(0)
    students: list[list[str | None]] = [
        [_reworded(text or "", rng) for text in reference] for _ in range(REPEATS)
    ]
    partner = partners(["gsm8k"] * len(items), [item.item for item in items])
    before = time.perf_counter()
    measure_texts(Texts(reference, students, partner), lambda done, total: None)
    wall, rows = time.perf_counter() - before, REPEATS * len(items)
    return {"rows": rows, "wall_seconds": wall, "rows_per_second": rows / wall}


def _reworded(text: str, rng: np.random.Generator) -> str:
    """The rationale with a tenth of its words left out."""
    words = text.split(" ")
    return " ".join(word for word in words if rng.random() > 0.1)


if __name__ == "__main__":
    found = {"answers": answers, "texts": texts}[sys.argv[1]]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found["cpu_seconds"] = found.get("cpu_seconds", sum(u.ru_utime + u.ru_stime for u in used))
    cores = len(os.sched_getaffinity(0))
    print(json.dumps({**found, "peak_bytes": peak, "cores": cores, "load": os.getloadavg()[0]}))
