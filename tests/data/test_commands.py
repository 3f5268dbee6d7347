import json

import pytest
from typer.testing import CliRunner

from kdscope.cli import app
from kdscope.data.tasks import TASKS, TRAIN_SETS
from kdscope.errors import DataError

RUN = CliRunner()


def test_ls_lists_every_entry(data_folder):
    rows = json.loads(RUN.invoke(app, ["data", "ls", "--json"]).stdout)
    assert [row["id"] for row in rows] == [*TASKS, *TRAIN_SETS]
    assert {"form", "count", "chance", "licence", "citation", "faults", "here"} <= set(rows[0])
    text = RUN.invoke(app, ["data", "ls"]).stdout
    assert "paper-math" in text
    assert "126 questions shared with SingleEq" in text


def test_fetch_prints_the_paths_of_what_is_here(data_folder):
    out = RUN.invoke(app, ["data", "fetch", "GSM8K", "--json"])
    assert list(json.loads(out.stdout)) == ["gsm8k"]


def test_fetch_offline_and_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("KDSCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="forbids the network"):
        RUN.invoke(app, ["data", "fetch", "math7k"], catch_exceptions=False)
    with pytest.raises(DataError, match="no data set"):
        RUN.invoke(app, ["data", "fetch", "math9k"], catch_exceptions=False)


def test_audit_for_people(data_folder):
    test = data_folder / "llm_adapters" / "test"
    out = RUN.invoke(
        app,
        [
            "data", "audit", "--train", str(data_folder / "mawps" / "mawps_train.json"),
            "--test", str(test / "AddSub.json"), "--test", str(test / "SingleEq.json"),
        ],
    )  # fmt: skip
    assert "327 (82.8%)" in out.stdout
    assert "AddSub and SingleEq: 126 questions" in out.stdout
