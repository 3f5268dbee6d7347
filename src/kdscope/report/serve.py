"""Serve a report folder to this machine's browser, and to nothing else.

Bound to 127.0.0.1 and read only. A request must name this host (so that no other site can reach it
through a rebound name) and a file inside the folder; nothing above it, no link out of it, no
listing.
"""

import threading
from functools import partial
from http import HTTPStatus
from http.server import HTTPServer, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from kdscope.errors import StoreError

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of files inside one folder."""

    server_version, sys_version = "kdscope", ""
    protocol_version = "HTTP/1.1"

    def send_head(self) -> Any:
        """Check host and path, then let the base class open the file."""
        if not self._own_host():
            self.send_error(HTTPStatus.FORBIDDEN, "this host is not served")
            return None
        if not self._inside():
            self.send_error(HTTPStatus.NOT_FOUND, "no such file")
            return None
        return super().send_head()

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


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of ``folder`` on 127.0.0.1; port 0 takes a free one. The caller runs and closes it.

    Raises:
        StoreError: the folder has no ``index.html``, or the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise StoreError(f"{folder} has no index.html to view: build it with kdscope report first.")
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Handler, directory=str(folder)))
    except OSError as error:
        raise StoreError(
            f"cannot listen on {HOST}:{port} ({error.strerror}): choose another --port."
        ) from error


def serve(folder: Path, port: int = 0, *, ready: Any = print) -> None:
    """Serve until interrupted; ``ready`` is called with the address once it answers."""
    with server(folder, port) as running:
        ready(f"http://{HOST}:{running.server_address[1]}/")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            threading.Thread(target=running.shutdown).start()
