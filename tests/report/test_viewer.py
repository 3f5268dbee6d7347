"""The viewer's index and chunks hold what the tables hold."""

import base64
import json
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from kdscope.errors import TableError
from kdscope.report import viewer


def script(path: Path):
    text = path.read_text(encoding="utf-8")
    assert not set("<>&") & set(text)
    return json.loads(re.fullmatch(r"kdscope\.\w+\((?:\d+,)?(.*)\);\n", text, re.DOTALL).group(1))


def test_every_answer_is_there_once(site: Path, study: Path) -> None:
    rows = pq.read_table(study / "generations.parquet").to_pandas()
    data = script(site / "viewer" / "data" / "index.js")
    system = np.frombuffer(base64.b64decode(data["rows"]["system"]), "<u2")
    item = np.frombuffer(base64.b64decode(data["rows"]["item"]), "<u4")
    assert len(system) == len(rows)
    texts, found = {}, sorted((site / "viewer" / "data").glob("text-*.js"))
    assert len(found) > 3
    for path in found:
        chunk = script(path)
        for k, text in enumerate(chunk["texts"]):
            row = chunk["row"] + k
            texts[data["systems"][system[row]]["model"], data["items"]["id"][item[row]]] = text
    expected = {(row.model, row.item): row.text for row in rows.itertuples()}
    assert texts == expected


def test_flags_and_fidelity(study: Path) -> None:
    index = viewer.make_index(study)
    rows = pq.read_table(study / "generations.parquet").to_pandas().iloc[index.order]
    assert ((index.flags & viewer.CORRECT) > 0).tolist() == rows["correct"].tolist()
    assert ((index.flags & viewer.VALID) > 0).tolist() == rows["valid"].tolist()
    known = pq.read_table(study / "fidelity.parquet").to_pandas().query("relation == 'teacher'")
    joined = rows.merge(known, on=["model", "task", "item"], how="left")
    compared = joined["agree"].notna()
    assert ((index.flags & viewer.COMPARED) > 0).tolist() == compared.tolist()
    near = np.abs(index.fidelity / 250 - joined["bleu"].to_numpy(float))
    assert np.nanmax(np.where(index.fidelity == viewer.NO_FIDELITY, np.nan, near)) <= 0.5 / 250
    assert (index.fidelity == viewer.NO_FIDELITY).tolist() == joined["bleu"].isna().tolist()


def test_chunks_cover_all_items_in_order(study: Path) -> None:
    index = viewer.make_index(study)
    parts = [(first, last) for first, last, _ in viewer.chunks(index, study, 5_000)]
    assert parts[0][0] == 0
    assert parts[-1][1] == len(index.items)
    assert all(a[1] == b[0] for a, b in pairwise(parts))


def test_a_viewer_is_built_again_only_for_other_tables(study: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert viewer.refresh_viewer(run, "x") is None
    shutil.copytree(study, run / "tables")
    page = viewer.refresh_viewer(run, "x")
    assert page == run / "report" / "viewer" / "index.html"
    before = page.stat().st_mtime_ns
    assert viewer.refresh_viewer(run, "x") == page
    assert page.stat().st_mtime_ns == before
    os.utime(run / "tables" / "items.parquet")
    viewer.refresh_viewer(run, "x")
    assert page.stat().st_mtime_ns > before


def test_no_answers_no_viewer(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no answers to view"):
        viewer.build_viewer(tmp_path, tmp_path / "out")
