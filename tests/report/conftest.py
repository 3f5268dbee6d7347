"""Fixtures of the report's tests: a synthetic study, its page, and a browser."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from synthetic_study import make_study, resolved_study

from kdscope.report.page import build
from kdscope.report.results import Results, load
from kdscope.report.viewer import build_viewer

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tables of a study whose model text is hostile."""
    return make_study(
        tmp_path_factory.mktemp("study") / "tables", items=40, hostile=True, temperatures=(2,)
    )


@pytest.fixture(scope="session")
def results(study: Path) -> Results:
    return load(study, resolved_study(), "kdscope run quickstart")


@pytest.fixture(scope="session")
def site(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built report with its viewer."""
    out = tmp_path_factory.mktemp("site")
    build_viewer(study, out / "viewer", name="quickstart", chunk_bytes=60_000)
    build(
        study,
        resolved_study(),
        out,
        command="kdscope run quickstart",
        viewer="viewer/index.html",
    )
    return out


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Chromium; skipped with a reason where it is not installed."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install -y chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield chromium
        chromium.close()
