"""Downloads against a local server that delivers good, truncated and tampered files."""

import contextlib
import hashlib
import json
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kdscope.data import downloads
from kdscope.data.catalogue import catalogue, fetch_all, resolve
from kdscope.data.checksums import git_blob_id
from kdscope.data.downloads import fetch
from kdscope.data.pins import Pin, hub_pin
from kdscope.errors import DataError, MissingExtraError, RemoteError

CONTENT = b"".join(b"line %d of a data set\n" % number for number in range(20_000))


class Server(ThreadingHTTPServer):
    """Serves CONTENT; ``faults`` holds what to do wrong at each request, in order."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.ranges, self.content, self.resumable = [], [], CONTENT, True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/data.jsonl"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        fault = server.faults.pop(0) if server.faults else ""
        asked = self.headers.get("Range")
        server.ranges.append(asked)
        if fault in {"404", "500"}:
            self.send_error(int(fault))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.resumable else 0
        if asked and start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(ConnectionError, ValueError):
            super().handle()

    def finish(self):
        with contextlib.suppress(ConnectionError, ValueError):
            super().finish()


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("KDSCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KDSCOPE_DATA", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(downloads, "PAUSE", 0.001)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def pin(server):
    return Pin("set/data.jsonl", server.url, "data.jsonl", git_blob_id(CONTENT), len(CONTENT))


def test_blob_id_is_gits():
    assert git_blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_good_file_is_fetched_once_and_recorded(server, pin, tmp_path):
    seen = []
    path = fetch(pin, lambda done, total: seen.append((done, total)))
    assert path == tmp_path / "cache" / "set" / "data.jsonl"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    note = json.loads((path.parent / "data.jsonl.source.json").read_text())
    assert note == {
        "url": server.url, "sha256": hashlib.sha256(CONTENT).hexdigest(), "bytes": len(CONTENT),
    }  # fmt: skip
    assert fetch(pin) == path
    assert len(server.ranges) == 1, "the second fetch asked for nothing"
    assert sorted(p.name for p in path.parent.iterdir()) == ["data.jsonl", "data.jsonl.source.json"]


def test_a_truncated_transfer_goes_on_where_it_stopped(server, pin):
    server.faults = ["cut", "cut"]
    assert fetch(pin).read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in server.ranges[1:]]
    assert server.ranges[0] is None
    assert 0 < starts[0] < starts[1] < len(CONTENT)


def test_a_killed_download_resumes_at_the_next_call(server, pin):
    server.faults = ["cut"] * downloads.ATTEMPTS
    with pytest.raises(RemoteError, match=r"could not be downloaded in 5 attempts.*bytes are kept"):
        fetch(pin)
    asked = len(server.ranges)
    assert fetch(pin).read_bytes() == CONTENT
    assert server.ranges[asked] is not None, "it did not begin again"


def test_a_server_without_ranges_starts_over(server, pin):
    server.faults, server.resumable = ["cut"], False
    assert fetch(pin).read_bytes() == CONTENT


def test_a_tampered_file_is_refused_and_not_kept(server, pin, tmp_path):
    server.content = CONTENT.replace(b"line 7 ", b"line 8 ")
    with pytest.raises(DataError, match=f"checksum is .* the pinned one {pin.git_blob}"):
        fetch(pin)
    assert list((tmp_path / "cache" / "set").iterdir()) == []
    server.content = CONTENT
    assert fetch(pin).read_bytes() == CONTENT


def test_a_part_of_another_file_does_not_survive(server, pin, tmp_path):
    part = tmp_path / "cache" / "set" / "data.jsonl.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    assert fetch(pin).read_bytes() == CONTENT
    part.write_bytes(b"x" * 100)
    (part.parent / "data.jsonl").unlink()
    with pytest.raises(DataError, match="checksum"):
        fetch(pin)
    assert fetch(pin).read_bytes() == CONTENT


def test_a_file_changed_in_the_cache_is_refused(pin):
    path = fetch(pin)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="changed or damaged"):
        fetch(pin)


def test_without_a_pinned_checksum_the_first_download_counts(server):
    pin = Pin("set/data.jsonl", server.url, "data.jsonl")
    path = fetch(pin)
    assert fetch(pin) == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=hashlib.sha256(CONTENT).hexdigest()):
        fetch(pin)


def test_server_errors(server, pin):
    server.faults = ["500", "500"]
    assert fetch(pin).read_bytes() == CONTENT
    missing = Pin("set/other.jsonl", server.url, "other.jsonl")
    server.faults = ["404"]
    with pytest.raises(RemoteError, match="answered 404"):
        fetch(missing)
    assert len(server.ranges) == 4, "a 404 is not retried"


def test_no_network_is_a_clear_message(server, tmp_path):
    pin = Pin("set/none.jsonl", "http://127.0.0.1:9/none.jsonl", "none.jsonl")
    with pytest.raises(RemoteError, match=r"Check the network, or set KDSCOPE_DATA"):
        fetch(pin)


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "KDSCOPE_OFFLINE"])
def test_offline_asks_for_nothing(server, pin, monkeypatch, name):
    path = fetch(pin)
    monkeypatch.setenv(name, "1")
    assert fetch(pin) == path, "what is here works"
    for absent in (Pin("set/b.jsonl", server.url), hub_pin("owner/name", "b.jsonl")):
        with pytest.raises(DataError, match="forbids the network"):
            fetch(absent)
    assert len(server.ranges) == 1


class Hub:
    """Stands for huggingface_hub: one file, and the revision that `main` is at."""

    def __init__(self, folder):
        self.file, self.asked = folder / "blob", []
        self.file.write_bytes(CONTENT)

    def install(self, monkeypatch):
        hub = types.SimpleNamespace(HfApi=lambda: self, hf_hub_download=self.download)
        monkeypatch.setitem(sys.modules, "huggingface_hub", hub)

    def dataset_info(self, name):
        assert name == "owner/name"
        return types.SimpleNamespace(sha="f" * 40)

    def download(self, name, file, *, repo_type, revision):
        self.asked.append((name, file, repo_type, revision))
        return str(self.file)


def test_hub_files_record_the_revision_that_was_resolved(server, monkeypatch, tmp_path):
    hub = Hub(tmp_path)
    hub.install(monkeypatch)
    path = fetch(hub_pin("owner/name", "valid.jsonl"))
    assert path.read_bytes() == CONTENT
    assert hub.asked == [("owner/name", "valid.jsonl", "dataset", "f" * 40)]
    note = json.loads((path.parent / "valid.jsonl.source.json").read_text())
    assert (note["hub"], note["revision"]) == ("owner/name", "f" * 40)
    fetch(hub_pin("owner/name", "valid.jsonl"))
    assert len(hub.asked) == 1
    fetch(hub_pin("owner/name", "other.jsonl", "a" * 40))
    assert hub.asked[-1][-1] == "a" * 40


def test_a_hub_that_does_not_answer(server, monkeypatch, tmp_path):
    hub = Hub(tmp_path)
    hub.install(monkeypatch)
    monkeypatch.setattr(
        hub, "dataset_info", lambda name: (_ for _ in ()).throw(OSError("no route"))
    )
    with pytest.raises(RemoteError, match=r"no route.*hub/owner/name/valid\.jsonl"):
        fetch(hub_pin("owner/name", "valid.jsonl"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"\.\[train\]"):
        fetch(hub_pin("owner/name", "valid.jsonl"))


def test_fetch_all_takes_what_is_here(data_folder):
    paths = fetch_all(["clean-math", "gsm8k-train"])
    assert list(paths) == ["gsm8k", "svamp", "aqua", "gsm8k-train"]
    assert all(path.is_file() for found in paths.values() for path in found)
    assert fetch_all(["tiny"]) == {"tiny-math": [], "tiny-long": [], "tiny-choice": []}
    with pytest.raises(DataError, match="no data set 'math9k'"):
        resolve("math9k")


def test_the_catalogue_says_what_is_here(data_folder):
    rows = {row["id"]: row for row in catalogue()}
    assert rows["gsm8k"]["here"]
    assert rows["gsm8k"]["suites"] == ["paper-math", "clean-math"]
    assert rows["tiny-train"]["here"]
    assert rows["multiarith"]["faults"].startswith("97.5 % stand in MAWPS")
    json.dumps(list(rows.values()))
