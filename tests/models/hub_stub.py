"""A hub on this machine with one open model, one gated one, and nothing else; it notes what it was asked for."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OPEN, GATED, COMMIT = "someone/open", "someone/gated", "c" * 40


@contextmanager
def hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a checkpoint folder as ``someone/open`` at revisions ``main`` and ``v1``; yields address and paths asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            asked.append(self.path)
            repository, _, rest = (
                self.path.removeprefix("/api/models").strip("/").partition("/resolve/")
            )
            if repository.startswith(GATED):
                return self._refuse(403, "GatedRepo")
            if not repository.startswith(OPEN):
                return self._refuse(404, "RepoNotFound")
            revision, _, name = rest.partition("/")
            if rest and revision not in ("main", "v1", COMMIT):
                return self._refuse(404, "RevisionNotFound")
            if not rest or not (folder / name).is_file():
                return self._refuse(404, "EntryNotFound")
            return self._send(200, (folder / name).read_bytes() if body else None, folder / name)

        def _refuse(self, status: int, code: str) -> None:
            text = json.dumps({"error": code}).encode()
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"{code} for {self.path}")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(text)

        def _send(self, status: int, content: bytes | None, path: Path) -> None:
            self.send_response(status)
            self.send_header("ETag", f'"{path.name}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            if content is not None:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
