"""The viewer on half a million long answers: building, opening, filtering, searching, in a real browser.

python bench/viewer.py build FOLDER     # tables of 45 systems x 11,250 questions, and their viewer
python bench/viewer.py browse FOLDER    # Chromium opens it from file:// (Playwright, the test set-up)
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdscope import tables
from kdscope.report.viewer import build_viewer

SYSTEMS, ITEMS = 45, 11_250
WORDS = 8_000  # of an invented vocabulary, as frequent as words are (Zipf)
SENTENCES = 40_000  # that answers are put together from
RARE = "quillwort"  # in the answers to three questions alone
SEARCHES = {
    "in every file": "therefore",
    "in one answer of a thousand": "zanthoxyl",
    "in three questions": RARE,
    "nowhere": "absquatulate",
    "a number": "73914",
    "two words": f"{RARE} therefore",
}


def invented_words(rng: np.random.Generator) -> list[str]:
    """Words of one to four syllables, each once."""
    starts, ends = list("bcdfghjklmnprstvw"), ["a", "e", "i", "o", "u", "an", "er", "in", "or"]
    found: dict[str, None] = {}
    while len(found) < WORDS:
        count = rng.integers(1, 5)
        found["".join(rng.choice(starts) + rng.choice(ends) for _ in range(count))] = None
    return list(found)


def sentences(rng: np.random.Generator) -> list[str]:
    """Sentences of 5 to 20 words, every second one with an equation."""
    words = np.array(invented_words(rng))
    weight = 1.0 / np.arange(1, WORDS + 1)
    made = []
    for i in range(SENTENCES):
        text = " ".join(rng.choice(words, rng.integers(5, 21), p=weight / weight.sum()))
        if i % 2:
            a, b = rng.integers(2, 5_000, 2)
            text += f" {a} + {b} = {a + b}"
        made.append(text.capitalize() + ".")
    return made


def answers(rng: np.random.Generator) -> pa.Table:
    """Rows of ``generations``: 3 to 9 sentences each, a word in all files, a rare one, an answer."""
    pool = sentences(rng)
    rows, right = SYSTEMS * ITEMS, rng.random((SYSTEMS, ITEMS)) < 0.5
    texts: list[str] = []
    for system in range(SYSTEMS):
        for item in range(ITEMS):
            parts = [pool[i] for i in rng.integers(0, SENTENCES, rng.integers(3, 10))]
            if rng.random() < 0.2:
                parts.append("Therefore we are done.")
            if rng.random() < 0.001:
                parts.append("As in zanthoxyl.")
            if item in (17, 5_000, 11_000):
                parts.append(f"The {RARE} says so.")
            texts.append(
                " ".join([*parts, f"The answer is {item % 97 if right[system, item] else 98}."])
            )
    names = np.repeat([f"student-{s % 5}/m{s // 5}/teacher/s0" for s in range(SYSTEMS)], ITEMS)
    columns: dict[str, Any] = {
        "model": names, "teacher": np.repeat("teacher", rows),
        "student": np.repeat([f"student-{s % 5}" for s in range(SYSTEMS)], ITEMS),
        "method": np.repeat([f"m{s // 5}" for s in range(SYSTEMS)], ITEMS),
        "seed": np.zeros(rows, np.int64), "settings": np.repeat("{}", rows),
        "task": np.tile([f"task-{i % 5}" for i in range(ITEMS)], SYSTEMS),
        "item": np.tile([str(i) for i in range(ITEMS)], SYSTEMS),
        "sample": np.zeros(rows, np.int64), "text": texts,
        "answer_flexible": [text.split()[-1].rstrip(".") for text in texts],
        "valid": np.ones(rows, bool), "correct": right.ravel(),
    }  # fmt: skip
    schema = tables.schema("generations")
    absent = {
        name: pa.nulls(rows, schema.field(name).type)
        for name in schema.names
        if name not in columns
    }
    given = {name: pa.array(value, schema.field(name).type) for name, value in columns.items()}
    return pa.table({name: (given | absent)[name] for name in schema.names}, schema=schema)


def build(folder: Path) -> dict[str, Any]:
    """Write the tables if they are not there, then build the viewer."""
    rng = np.random.default_rng(0)
    if not (folder / "tables" / "generations.parquet").is_file():
        (folder / "tables").mkdir(parents=True)
        questions = [
            {"task": f"task-{i % 5}", "item": str(i), "gold": str(i % 97), "form": "number",
             "question": f"Question {i}: how many are {i % 97} and nothing?", "leaked": False}
            for i in range(ITEMS)
        ]  # fmt: skip
        tables.write("items", questions, folder / "tables" / "items.parquet")
        pq.write_table(answers(rng), folder / "tables" / "generations.parquet")
        print("tables written; run again to build", file=sys.stderr)
        return {"written": True}
    clock, cpu = time.perf_counter(), time.process_time()
    build_viewer(folder / "tables", folder / "viewer", name="bench")
    data = folder / "viewer" / "data"
    sizes = {path.name: path.stat().st_size for path in data.iterdir()}
    return {
        "wall_seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "text_files": sum(name.startswith("text-") for name in sizes),
        "text_bytes": sum(n for name, n in sizes.items() if name.startswith("text-")),
        "other_bytes": {n: s for n, s in sizes.items() if not n.startswith("text-")},
    }


def browse(folder: Path) -> dict[str, Any]:
    """Open, filter, order and search; seconds, and bytes of the JavaScript heap after each search."""
    from playwright.sync_api import sync_playwright

    found: dict[str, Any] = {"searches": {}}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("KDSCOPE_CHROMIUM", "/usr/bin/chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--enable-precise-memory-info",
                "--js-flags=--expose-gc",
            ],
        )
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        clock = time.perf_counter()
        page.goto((folder / "viewer" / "index.html").absolute().as_uri())
        page.wait_for_selector("#list .row")
        found["open_seconds"] = time.perf_counter() - clock
        found["filter_ms"] = _filters(page)
        page.select_option("select[name=in]", "answers")
        for name, query in SEARCHES.items():
            found["searches"][name] = _search(page, query)
        browser.close()
    return found


def _filters(page: Any) -> dict[str, float]:
    taken = {}
    for name, value in (
        ("method", "m3"), ("student", "student-2"), ("task", "task-4"), ("state", "wrong"),
        ("student", ""), ("method", ""), ("task", ""), ("order", "low"), ("order", ""), ("state", ""),
    ):  # fmt: skip
        page.select_option(f"select[name={name}]", value)
        page.wait_for_timeout(150)
        spent = page.evaluate("Number(document.querySelector('#count').dataset.milliseconds)")
        taken[f"{name}={value}"] = spent
    return taken


_WATCH = """(query) => new Promise((done) => {
  const field = document.querySelector('input[name=q]'), count = document.querySelector('#count');
  const began = performance.now(); let first = null, longest = 0, last = began, started = false;
  new MutationObserver(() => { started = true; }).observe(count, { attributes: true });
  const beat = setInterval(() => {
    const now = performance.now(); longest = Math.max(longest, now - last - 5); last = now;
    const text = count.textContent, hits = Number(text.split(' of ')[0].replaceAll(',', ''));
    const over = started && count.dataset.state === "done";
    if (first === null && (over || /searched/.test(text)) && hits > 0) first = now - began;
    if (over) {
      clearInterval(beat);
      done({ first, end: now - began, hits, blocked: longest });
    }
  }, 5);
  field.value = query; field.dispatchEvent(new Event('input', { bubbles: true }));
})"""


def _search(page: Any, query: str) -> dict[str, float]:
    """Milliseconds from the last key to the first finds and to the end (the pause for typing included)."""
    told = page.evaluate(_WATCH, query)
    heap = page.evaluate("(gc(), performance.memory.usedJSHeapSize)")
    return {**told, "heap_bytes": heap}


if __name__ == "__main__":
    verb = {"build": build, "browse": browse}[sys.argv[1]]
    print(json.dumps({**verb(Path(sys.argv[2])), "load": os.getloadavg()[0]}, indent=1))
