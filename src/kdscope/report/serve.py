"""Serve a report folder to this machine's browser, and to nothing else.

While a run is going on, its place is taken by a page that says where it stands: it asks for
``live.json`` every two seconds and leads to the report when that is there.

Bound to 127.0.0.1 and read only. A request must name this host (so that no other site can reach it
through a rebound name) and a file inside the folder; nothing above it, no link out of it, no
listing.
"""

import io
import json
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from kdscope.errors import StoreError
from kdscope.report.html import render

HOST = "127.0.0.1"
Live = Callable[[], dict[str, Any]]


class _Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of files inside one folder."""

    server_version, sys_version = "kdscope", ""
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, live: Live | None = None, **kwargs: Any):
        self.live = live
        super().__init__(*args, **kwargs)

    def send_head(self) -> Any:
        """Check host and path, then let the base class open the file."""
        if not self._own_host():
            self.send_error(HTTPStatus.FORBIDDEN, "this host is not served")
            return None
        if not self._inside():
            self.send_error(HTTPStatus.NOT_FOUND, "no such file")
            return None
        made = self._made() if self.live else None
        return super().send_head() if made is None else self._send_text(*made)

    def _made(self) -> tuple[str, str] | None:
        """Text and type of what is no file: the state of the run, and the page that shows it."""
        assert self.live is not None
        path = urlsplit(self.path).path
        if path == "/live.json":
            return json.dumps(self.live()), "application/json"
        if path == "/live.html":
            return live_page(), "text/html"
        if path != "/" or (self._has_page() and not self.live()["active"]):
            return None
        return live_page(), "text/html"

    def _send_text(self, text: str, kind: str) -> io.BytesIO:
        content = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

    def _has_page(self) -> bool:
        return (Path(self.directory) / "index.html").is_file()

    def list_directory(self, path: Any) -> None:
        """Folders are not listed."""
        del path
        self.send_error(HTTPStatus.NOT_FOUND, "no such file")

    def end_headers(self) -> None:
        """Add the headers that keep the pages to themselves."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests are not interesting."""

    def _own_host(self) -> bool:
        port = cast(HTTPServer, self.server).server_port
        return self.headers.get("Host", "") in {f"{HOST}:{port}", f"localhost:{port}"}

    def _inside(self) -> bool:
        path = unquote(urlsplit(self.path).path)
        if "\x00" in path or "\\" in path or any(part.startswith(".") for part in path.split("/")):
            return False
        root = Path(self.directory).resolve()
        wanted = (root / path.lstrip("/")).resolve()
        return wanted == root or root in wanted.parents


def live_page() -> str:
    """The page that shows where a run stands."""
    return render("live.html.j2", "", ("style.css", "live.css"), ("live.js",), title="kdscope")


def server(folder: Path, port: int = 0, live: Live | None = None) -> ThreadingHTTPServer:
    """A server of ``folder`` on 127.0.0.1; port 0 takes a free one. The caller runs and closes it.

    Args:
        folder: of the report.
        port: to listen on.
        live: says where the run stands, in the words of ``kdscope status --json``; while it is
            active, or has no report yet, the first page shows that.

    Raises:
        StoreError: the folder has no ``index.html`` and there is no run, or the port is taken.
    """
    if live is None and not (folder / "index.html").is_file():
        raise StoreError(f"{folder} has no index.html to view: build it with kdscope report first.")
    try:
        handler = partial(_Handler, directory=str(folder), live=live)
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise StoreError(
            f"cannot listen on {HOST}:{port} ({error.strerror}): choose another --port."
        ) from error


def serve(folder: Path, port: int = 0, *, live: Live | None = None, ready: Any = print) -> None:
    """Serve until interrupted; ``ready`` is called with the address once it answers."""
    with server(folder, port, live) as running:
        ready(f"http://{HOST}:{running.server_address[1]}/")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            threading.Thread(target=running.shutdown).start()
