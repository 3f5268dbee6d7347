"""Schemas, reader and writer of the result tables.

A study's results are a handful of Parquet files. Everything that is printed or drawn is a pure function
of them, so this file is the contract between the rooms: who writes a table imports its schema here, who
reads it may rely on it. Fractions are in [0, 1]; absent is null, never -1 or 0.

No column, except in ``steps``, depends on a path, a host or a clock: two runs of one study with the same
seeds have equal tables.
"""

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdscope.errors import TableError

TEXT, FLAG, WHOLE, REAL = pa.string(), pa.bool_(), pa.int64(), pa.float64()

# Who answered. `model` is the readable unique name of the evaluated system; `teacher` and `student` are the
# names in the study file; both are null where the role does not exist. `method` is `base` for an untuned
# model. `settings` is canonical JSON of everything else that tells two cells of one method apart
# (temperature, ablations), `{}` at the study's own setting.
_SYSTEM = {
    "model": TEXT,
    "teacher": TEXT,
    "student": TEXT,
    "method": TEXT,
    "seed": WHOLE,
    "settings": TEXT,
}

SCHEMAS: dict[str, dict[str, pa.DataType]] = {
    "steps": {
        "step": TEXT,  # <kind>/<readable>-<key12>
        "kind": TEXT,
        "key": TEXT,  # all 64 hex digits
        "state": TEXT,  # done | failed | skipped
        "seconds": REAL,
        "attempts": WHOLE,
        "peak_memory": WHOLE,  # bytes
        "tokens": WHOLE,  # forwarded or generated, as the kind counts them
        "predicted_seconds": REAL,
        "started": TEXT,  # ISO 8601, UTC
        "host": TEXT,
    },
    "curves": {
        **_SYSTEM,
        "optimizer_step": WHOLE,
        "epoch": REAL,
        "measure": TEXT,  # loss, grad_norm, learning_rate, teacher_entropy, student_entropy, top1_match, ...
        "value": REAL,
    },
    "items": {
        "task": TEXT,
        "item": TEXT,
        "question": TEXT,
        "gold": TEXT,
        "options": pa.list_(TEXT),
        "form": TEXT,  # number | letter | word | boolean | text | verifiable
        "leaked": FLAG,
    },
    "contamination": {
        "train": TEXT,
        "test": TEXT,
        "n": WHOLE,
        "exact": WHOLE,
        "normalised": WHOLE,
        "template": WHOLE,
        "ngram": WHOLE,
    },
    "generations": {
        **_SYSTEM,
        "task": TEXT,
        "item": TEXT,
        "sample": WHOLE,  # 0 is the headline (greedy unless the study says otherwise)
        "decoding": TEXT,  # greedy | sample(t=1.0) | ...
        "prompt_hash": TEXT,
        "text": TEXT,  # raw, never truncated
        "finish_reason": TEXT,  # stop | length | run_on | too_long (never asked)
        "tokens": WHOLE,
        "mean_logprob": REAL,  # nats per generated token
        "answer_strict": TEXT,
        "answer_flexible": TEXT,
        "answer_paper": TEXT,
        "valid": FLAG,  # by the flexible extractor
        "correct": FLAG,  # by the flexible extractor; null for tasks that are not right or wrong
        "score": REAL,  # 1.0 / 0.0 for right / wrong, ROUGE-L and the like for free text
    },
    "choices": {
        **_SYSTEM,
        "task": TEXT,
        "item": TEXT,
        "option": TEXT,
        "logprob": REAL,  # nats, summed over the option's tokens
        "logprob_per_byte": REAL,
        "gold": FLAG,
    },
    # One row per pair of models x item x sample pairing. `relation` says what the reference is to the model:
    # teacher | sft_student (self-agreement). `agree` is null where neither side gave a valid answer.
    "fidelity": {
        "reference": TEXT,
        "relation": TEXT,
        **_SYSTEM,
        "task": TEXT,
        "item": TEXT,
        "agree": FLAG,
        "reference_valid": FLAG,
        "valid": FLAG,
        "reference_correct": FLAG,
        "correct": FLAG,
        "bleu": REAL,
        "chrf": REAL,
        "rouge_l": REAL,
        "equation_f1": REAL,
        "value_f1": REAL,
        "order": REAL,
        "diverges": WHOLE,  # first step that differs, from 1; null where none does
        "valid_steps": WHOLE,  # equations of the system's text that are true, of `steps`
        "steps": WHOLE,
        "error": TEXT,  # kind of a wrong answer; null where it is right or nothing tells
        "bleu_floor": REAL,  # the reference's answer to another item
        "chrf_floor": REAL,
        "rouge_l_floor": REAL,
        "bleu_second": REAL,  # the reference's text against its own second sample
        "chrf_second": REAL,
        "rouge_l_second": REAL,
    },
    # One row per pair of models x prefix x item, lists over the response tokens. `prefix` says whose text
    # the two models read: reference | teacher | student. Divergences in nats at temperature 1.
    "distributions": {
        "reference": TEXT,
        **_SYSTEM,
        "prefix": TEXT,
        "task": TEXT,
        "item": TEXT,
        "forward_kl": pa.list_(pa.float32()),
        "reverse_kl": pa.list_(pa.float32()),
        "jsd": pa.list_(pa.float32()),
        "top1": pa.list_(pa.float32()),  # 1 where both find the same token most probable
        "topk": pa.list_(pa.float32()),  # share of the teacher's five likeliest among the student's
    },
    # One row per printed number. `measure` names it; `reference` is null for a level, the compared system
    # (or method) for a difference. `scope` says over what it was taken: run (one of
    # the cell's seeds) | cell | group (the cell's items of one kind, named in `reference`) | method | study.
    "comparisons": {
        "scope": TEXT,
        "measure": TEXT,  # accuracy, agreement, kappa, bleu, ..., difference_in_accuracy, anova, spearman
        "test": TEXT,
        "task": TEXT,  # a task, or `all` for the stratified mean over tasks
        "teacher": TEXT,
        "student": TEXT,
        "method": TEXT,
        "settings": TEXT,
        "seed": WHOLE,  # null: over all seeds
        "reference": TEXT,
        "estimate": REAL,
        "low": REAL,
        "high": REAL,
        "statistic": REAL,
        "p": REAL,
        "p_adjusted": REAL,
        "n": WHOLE,
        "seeds": WHOLE,
        "signature": TEXT,
    },
}


def schema(table: str) -> pa.Schema:
    """The Arrow schema of a result table. Raises TableError for a name that does not exist."""
    if table not in SCHEMAS:
        raise TableError(f"there is no result table {table!r}; the tables are {', '.join(SCHEMAS)}")
    return pa.schema(list(SCHEMAS[table].items()))


def from_rows(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows (dicts) as an Arrow table in schema order; missing columns are null, unknown ones an error."""
    rows, columns = list(rows), SCHEMAS[table]
    unknown = sorted({key for row in rows for key in row} - set(columns))
    if unknown:
        raise TableError(
            f"table {table!r} has no column {unknown[0]!r}; it has {', '.join(columns)}"
        )
    return pa.Table.from_pydict(
        {name: [row.get(name) for row in rows] for name in columns}, schema=schema(table)
    )


def write(table: str, rows: Any, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write an Arrow table or dicts atomically (temporary, then rename); bytes depend on content alone.

    ``metadata`` is kept with the file's schema; readers of tables ignore it.
    """
    data = rows if isinstance(rows, pa.Table) else from_rows(table, rows)
    if data.schema.names != list(SCHEMAS[table]):
        raise TableError(f"table {table!r} must have the columns {list(SCHEMAS[table])}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    typed = data.cast(schema(table)).replace_schema_metadata(dict(metadata or {}) or None)
    pq.write_table(typed, temporary, compression="zstd")
    os.replace(temporary, path)


def read(table: str, *paths: Path) -> pa.Table:
    """Read and concatenate files of one table, cast to its schema.

    Raises:
        TableError: a column is missing; the file and the column are named. Extra columns are dropped,
            so that files written by a later version can be read.
    """
    wanted = schema(table)
    parts = []
    for path in paths:
        part = pq.read_table(path)
        missing = [name for name in wanted.names if name not in part.column_names]
        if missing:
            raise TableError(f"{path}: table {table!r} lacks the column {missing[0]!r}")
        parts.append(part.select(wanted.names).cast(wanted))
    return pa.concat_tables(parts) if parts else wanted.empty_table()
