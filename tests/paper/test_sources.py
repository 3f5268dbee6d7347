import hashlib

import pytest

from kdscope.errors import DataError, TableError
from kdscope.paper import sources
from kdscope.paper.results import read_released


def test_checksums_are_those_of_the_released_files(results):
    for name, digest in sources.RESULT_FILES.items():
        assert hashlib.sha256((results / name).read_bytes()).hexdigest() == digest
    assert sources.COMMIT in sources.URL


def test_files_that_are_there_are_checked_not_fetched(results, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "URL", "http://127.0.0.1:9/")
    for name in sources.RESULT_FILES:
        (tmp_path / name).write_bytes((results / name).read_bytes())
    assert sources.fetch_paper_results(tmp_path) == tmp_path


def test_offline_says_so(tmp_path):
    with pytest.raises(DataError, match="forbids the network"):
        sources.fetch_paper_results(tmp_path, offline=True)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "URL", "http://127.0.0.1:9/")
    monkeypatch.setattr(sources, "RETRIES", 0)
    with pytest.raises(DataError, match="Check the connection"):
        sources.fetch_paper_results(tmp_path)


def test_a_folder_that_lacks_files_names_them(tmp_path):
    with pytest.raises(TableError, match=r"lacks math_results_main\.csv"):
        read_released(tmp_path)
