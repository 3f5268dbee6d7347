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


@pytest.mark.parametrize(
    ("name", "row", "words"),
    [
        ("EM1.csv", "Qwen2.5-14B,Qwen2.5-0.5B", "EM1.csv: column"),
        ("EM1_cs.csv", "Llama-3.1-8B,Llama-3.2-1B", "EM1_cs.csv: column"),
        ("math_results_main.csv", "Qwen2.5-7B,Qwen2.5-3B,student_KD_temp_5", "temperature 5"),
        ("cs_results_main.csv", "Qwen2.5-7B,Qwen2.5-3B,student_KD_base", "untuned teacher"),
        ("llama_cs_results.csv", "Llama-3.1-8B,Llama-3.2-1B,student_GKD", "no row is GKD"),
    ],
)
def test_files_that_lack_a_run_of_the_paper_are_refused(results, tmp_path, name, row, words):
    for file in sources.RESULT_FILES:
        text = (results / file).read_text(encoding="utf-8")
        if file == name:
            kept = [line for line in text.splitlines() if not line.startswith(row)]
            assert len(kept) < len(text.splitlines())
            text = "\n".join(kept) + "\n"
        (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=words):
        read_released(tmp_path)
