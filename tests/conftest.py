"""Fixtures that every room may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets; absent data are a failure, never a skip."""
    folder = Path(os.environ.get("KDSCOPE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.fail(f"no data at {folder}: set KDSCOPE_DATA to a folder with the test sets")
    os.environ["KDSCOPE_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def full(data_folder: Path):
    """The paper re-examined with its released files, once for all tests that read it."""
    from kdscope.paper.examination import examine

    return examine(data_folder / "paper" / "results")
