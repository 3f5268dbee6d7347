"""A local stand-in for the hub's HTTP interface: creates repositories and takes commits."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Remembers what was asked of it."""

    def __init__(self, *, refuse: bool = False):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuse = refuse
        self.created: list[dict] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.paths: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *args) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._note()
        self._answer({"id": "me/x", "sha": "0" * 40, "private": True, "siblings": []})

    def do_POST(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.server.refuse:
            self._answer({"error": "denied to hf_secretsecret"}, 403)
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self._answer({"url": f"{self.server.address}/me/x", "name": "me/x"})
        elif "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            plain = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self._answer({"files": [{"path": f["path"], **plain} for f in asked]})
        elif "/commit/" in self.path:
            self._take(body)
            done = f"{self.server.address}/me/x/commit/1"
            self._answer({"commitUrl": done, "commitOid": "1" * 40, "success": True})
        else:
            self._answer({})

    def _take(self, body: bytes) -> None:
        for line in map(json.loads, body.decode().splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.files[line["value"]["path"]] = content

    def _note(self) -> None:
        self.server.paths.append(self.path)
        self.server.tokens.add(self.headers.get("Authorization", ""))

    def _answer(self, document: dict, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_hub(**options):
    """A stub that answers until the block ends."""
    with Hub(**options) as hub:
        thread = threading.Thread(target=hub.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
