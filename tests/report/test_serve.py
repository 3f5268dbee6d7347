"""The server: this host only, this folder only."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdscope.errors import StoreError
from kdscope.report.serve import HOST, server


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "report"
    (folder / "sub").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>report</h1>")
    (folder / ".hidden").write_text("secret")
    (folder / "out").symlink_to(tmp_path / "secret.txt")
    with server(folder) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield HOST, running.server_address[1]
        running.shutdown()
        thread.join()


def ask(
    address: tuple[str, int], path: str, host: str | None = None, verb: str = "GET"
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.putrequest(verb, path, skip_host=True)
    connection.putheader("Host", host or f"{address[0]}:{address[1]}")
    connection.endheaders()
    response = connection.getresponse()
    status, body = response.status, response.read()
    connection.close()
    return status, body


def test_serves_its_folder(address) -> None:
    assert ask(address, "/") == (200, b"<h1>report</h1>")
    assert ask(address, "/index.html?x=1")[0] == 200
    assert ask(address, "/", f"localhost:{address[1]}")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/out",
        "/.hidden",
        "/sub/",
        "/%00",
        "//etc/passwd",
        "/..\\secret.txt",
        "/absent",
    ],
)
def test_refuses_everything_else(address, path: str) -> None:
    status, body = ask(address, path)
    assert status == 404
    assert b"secret" not in body.replace(b"secret.txt", b"")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", ""]
)
def test_refuses_foreign_hosts(address, host: str) -> None:
    connection_host = host or " "
    assert ask(address, "/", connection_host)[0] == 403


def test_only_reads(address) -> None:
    assert ask(address, "/", verb="POST")[0] == 501


def test_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no index\.html"):
        server(tmp_path)


def test_a_taken_port(address, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("x")
    with pytest.raises(StoreError, match="cannot listen"):
        server(tmp_path, address[1])
