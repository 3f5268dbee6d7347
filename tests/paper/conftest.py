"""The paper's result files and one re-examination for all tests of this room."""

from pathlib import Path

import pytest

from kdscope.paper.examination import Reexamination, examine


@pytest.fixture(scope="session")
def results(data_folder: Path) -> Path:
    return data_folder / "paper" / "results"


@pytest.fixture(scope="session")
def printed() -> Reexamination:
    return examine()
