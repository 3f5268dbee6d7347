"""The viewer: every question with every answer, as static files that open without a server.

An index of typed arrays (nine bytes an answer) loads at once and is filtered in the browser; the
texts lie in chunks of about a megabyte that load when an item is opened. Chunks are scripts,
because a page opened from ``file://`` may load those and nothing else; all text in them is data.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kdscope import tables
from kdscope.errors import TableError
from kdscope.report import theme
from kdscope.report.frames import Column, Frame
from kdscope.report.html import asset, render, script_json, write_text
from kdscope.report.word_index import WordIndex

CHUNK_BYTES = 1_000_000
QUESTION_SHOWN = 300
_SYSTEM = ["model", "teacher", "student", "method", "seed", "settings"]
CORRECT, VALID, GRADED, TEACHER_RIGHT, TEACHER_GRADED, AGREE, COMPARED = (
    1 << bit for bit in range(7)
)
NO_FIDELITY = 255


@dataclass(frozen=True)
class Index:
    """Everything that the filters need, row by row.

    Attributes:
        systems: one dict each, in order of their first answer.
        items: task, item, question, gold, options, leaked; in the order of the tasks.
        system, item, sample, flags, fidelity: one value per answer, sorted by item and system.
        order: position of each answer in the table ``generations``.
    """

    systems: list[dict[str, Any]]
    items: Frame
    system: np.ndarray
    item: np.ndarray
    sample: np.ndarray
    flags: np.ndarray
    fidelity: np.ndarray
    order: np.ndarray


SCRIPTS = ("words.js", "search.js", "marking.js", "chunks.js", "detail.js", "viewer.js")
STYLES = ("style.css", "viewer.css")


def refresh_viewer(run: Path, name: str) -> Path | None:
    """Build a run's viewer in ``report/viewer`` unless the one there was made of the same tables.

    Returns its page, or None where the run has no answers.
    """
    folder, out = run / "tables", run / "report" / "viewer"
    answers, page = folder / "generations.parquet", out / "index.html"
    if not answers.is_file() or pq.read_metadata(answers).num_rows == 0:
        return None
    mark, state = out / "made-of.txt", _state(folder, name)
    if not (page.is_file() and mark.is_file() and mark.read_text("utf-8") == state):
        mark.unlink(missing_ok=True)
        build_viewer(folder, out, name=name)
        write_text(mark, state)
    return page


def _state(folder: Path, name: str) -> str:
    """A digest that changes whenever the viewer could: the tables that it reads, its own files."""
    parts = [name, *map(asset, (*SCRIPTS, *STYLES, "viewer.html.j2"))]
    for table in ("generations", "items", "fidelity"):
        path = folder / f"{table}.parquet"
        found = path.stat() if path.is_file() else None
        parts.append(f"{found.st_size} {found.st_mtime_ns}" if found else "absent")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def build_viewer(
    folder: Path, out: Path, *, name: str = "study", chunk_bytes: int = CHUNK_BYTES
) -> Path:
    """Write the viewer of the tables in ``folder`` to ``out`` and return its ``index.html``.

    Raises:
        TableError: there is no table of generations, or it is empty.
    """
    path = folder / "generations.parquet"
    if not path.is_file() or pq.read_metadata(path).num_rows == 0:
        raise TableError(
            f"{path} is absent or empty, so there are no answers to view: run predict first."
        )
    index = make_index(folder)
    data = out / "data"
    data.mkdir(parents=True, exist_ok=True)
    for stale in data.glob("text-*.js"):
        stale.unlink()
    places, words = np.zeros(len(index.items), dtype=np.uint16), WordIndex()
    for k, (first, last, chunk) in enumerate(chunks(index, folder, chunk_bytes)):
        places[first:last] = k
        words.add(_searched(index, first, last, chunk))
        write_text(data / f"text-{k:05d}.js", f"kdscope.chunk({k},{script_json(chunk)});\n")
    write_text(data / "words.js", f"kdscope.words({script_json(words.document())});\n")
    write_text(data / "index.js", f"kdscope.index({index_json(index, places, name)});\n")
    for script in SCRIPTS:
        write_text(out / script, asset(script))
    methods = {str(system["method"]) for system in index.systems}
    return write_text(out / "index.html", viewer_page(name, methods))


def viewer_page(name: str, methods: set[str]) -> str:
    """The viewer's page; its script and data lie beside it."""
    return render(
        "viewer.html.j2",
        theme.stylesheet(methods),
        STYLES,
        (),
        title=f"{name} · answers",
        name=name,
    )


def make_index(folder: Path) -> Index:
    """Read the columns that the filters need (never the texts)."""
    columns = [*_SYSTEM, "task", "item", "sample", "valid", "correct"]
    rows = pq.read_table(folder / "generations.parquet", columns=columns).to_pandas()
    keys = rows["model"].astype(str)
    codes, names = pd.factorize(keys)
    firsts = rows.drop_duplicates("model")[_SYSTEM].astype(object)
    systems = [
        {k: (None if pd.isna(v) else v) for k, v in row.items()}
        for row in firsts.to_dict("records")
    ]
    assert len(systems) == len(names)
    items = _items(folder, rows)
    place = pd.MultiIndex.from_frame(items[["task", "item"]])
    item = place.get_indexer(pd.MultiIndex.from_frame(rows[["task", "item"]]))
    flags = _bit(rows["correct"], CORRECT) | _bit(rows["valid"], VALID)
    flags |= rows["correct"].notna().to_numpy().astype(np.uint8) * np.uint8(GRADED)
    extra, fidelity = _fidelity(folder, rows)
    sample = rows["sample"].fillna(0).clip(0, 255).to_numpy().astype(np.uint8)
    order = np.lexsort((sample, codes, item))
    return Index(
        systems,
        items,
        codes[order].astype(np.uint16),
        item[order].astype(np.uint32),
        sample[order],
        (flags | extra)[order],
        fidelity[order],
        order,
    )


def chunks(
    index: Index, folder: Path, size: int = CHUNK_BYTES
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """First item, end item and content of each chunk of about ``size`` bytes of text."""
    texts = pq.read_table(folder / "generations.parquet", columns=["text", "answer_flexible"])
    text, answer = (texts[name].combine_chunks() for name in ("text", "answer_flexible"))
    bounds = np.searchsorted(index.item, np.arange(len(index.items) + 1))
    lengths = _lengths(text)[index.order]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    first = 0
    while first < len(index.items):
        last = first + 1
        while last < len(index.items) and ends[bounds[last + 1]] - ends[bounds[first]] <= size:
            last += 1
        yield first, last, _chunk(index, text, answer, bounds, first, last)
        first = last


def index_json(index: Index, places: np.ndarray, name: str) -> str:
    """The index as JSON; arrays are base64 of little-endian integers."""
    items, (codes, tasks) = index.items, pd.factorize(index.items["task"])
    questions = [
        str(text)[:QUESTION_SHOWN] if isinstance(text, str) else "" for text in items["question"]
    ]
    styles = theme.styles(str(system["method"]) for system in index.systems)
    document = {
        "name": name,
        "methods": list(styles),
        "systems": index.systems,
        "tasks": list(tasks),
        "items": {
            "id": [str(value) for value in items["item"]],
            "question": questions,
            "gold": [value if isinstance(value, str) else "" for value in items["gold"]],
            "task": _packed(codes.astype("<u2")),
            "leaked": _packed(items["leaked"].fillna(False).astype(bool).to_numpy().astype("u1")),
            "chunk": _packed(places.astype("<u2")),
        },
        "rows": {
            "system": _packed(index.system.astype("<u2")),
            "item": _packed(index.item.astype("<u4")),
            "sample": _packed(index.sample),
            "flags": _packed(index.flags),
            "fidelity": _packed(index.fidelity),
        },
    }
    return str(script_json(document))


def _items(folder: Path, rows: Frame) -> Frame:
    found = rows[["task", "item"]].drop_duplicates()
    path = folder / "items.parquet"
    known = tables.read("items", *([path] if path.is_file() else [])).to_pandas()
    return found.merge(
        known.drop_duplicates(["task", "item"]), on=["task", "item"], how="left"
    ).reset_index(drop=True)


def _fidelity(folder: Path, rows: Frame) -> tuple[np.ndarray, np.ndarray]:
    flags, bleu = (
        np.zeros(len(rows), dtype=np.uint8),
        np.full(len(rows), NO_FIDELITY, dtype=np.uint8),
    )
    path = folder / "fidelity.parquet"
    if not path.is_file():
        return flags, bleu
    keys = ["model", "task", "item"]
    columns = [*keys, "relation", "agree", "reference_correct", "bleu"]
    known = pq.read_table(path, columns=columns, filters=[("relation", "=", "teacher")]).to_pandas()
    known = known.drop_duplicates(keys)
    joined = rows[keys].merge(known, on=keys, how="left")
    headline = rows["sample"].fillna(0).eq(0).to_numpy()
    flags |= _bit(joined["agree"], AGREE) | _bit(joined["reference_correct"], TEACHER_RIGHT)
    flags |= joined["agree"].notna().to_numpy().astype(np.uint8) * np.uint8(COMPARED)
    flags |= joined["reference_correct"].notna().to_numpy().astype(np.uint8) * np.uint8(
        TEACHER_GRADED
    )
    values = joined["bleu"].to_numpy(dtype=float, na_value=np.nan)
    known_bleu = ~np.isnan(values)
    bleu[known_bleu] = np.clip(np.round(values[known_bleu] * 250), 0, 250).astype(np.uint8)
    return np.where(headline, flags, 0).astype(np.uint8), np.where(
        headline, bleu, NO_FIDELITY
    ).astype(np.uint8)


def _bit(column: Column, bit: int) -> np.ndarray:
    return column.eq(True).fillna(False).to_numpy().astype(np.uint8) * np.uint8(bit)


def _lengths(text: pa.Array) -> np.ndarray:
    """Bytes of each text, 0 where there is none."""
    lengths = pc.call_function("binary_length", [text])
    return np.nan_to_num(lengths.to_numpy(zero_copy_only=False).astype(float)).astype(np.int64)


def _chunk(
    index: Index, text: pa.Array, answer: pa.Array, bounds: np.ndarray, first: int, last: int
) -> dict[str, Any]:
    rows = slice(int(bounds[first]), int(bounds[last]))
    taken = pa.array(index.order[rows])
    texts, answers = text.take(taken).to_pylist(), answer.take(taken).to_pylist()
    questions = index.items["question"].iloc[first:last]
    options = index.items["options"].iloc[first:last]
    return {
        "first": first,
        "row": rows.start,
        "questions": [value if isinstance(value, str) else "" for value in questions],
        "options": [
            None if value is None or isinstance(value, float) else list(value) for value in options
        ],
        "texts": texts,
        "answers": answers,
    }


def _searched(index: Index, first: int, last: int, chunk: dict[str, Any]) -> Iterator[str | None]:
    """All texts of a chunk that a search looks into, as ``search.js`` does."""
    items = index.items.iloc[first:last]
    yield from chunk["texts"]
    yield from chunk["questions"]
    yield from items["item"].astype(str)
    yield from (value for value in items["gold"] if isinstance(value, str))
    for options in chunk["options"]:
        yield from options or ()


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
