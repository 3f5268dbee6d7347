"""A real HTTP server that answers as vLLM does, with the log-probabilities of a very small teacher."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

from tests.tiny import random_model, tokenizer


class Teacher:
    """A served teacher; how it writes tokens, and what is wrong with it, can be changed between requests.

    Attributes:
        style: ``ids``, ``marks``, ``entries`` or ``decoded``.
        troubles: what the next requests get instead of an answer, in this order.
        requests: bodies and headers that were seen.
    """

    def __init__(self):
        self.model = random_model(seed=7, width=48)
        self.style, self.troubles, self.requests = "ids", [], []
        self.url = ""
        self.lock = threading.Lock()  # one model, several threads

    def logprobs(self, ids):
        """Log-probabilities ``[T, V]`` of all positions; the head's padded rows included."""
        with self.lock, torch.no_grad():
            return self.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)

    def can_spell(self, token):
        """Whether the token has a text of its own; parts of a character are all decoded alike."""
        return token < len(tokenizer()) and not (
            self.style == "decoded" and "\ufffd" in tokenizer().decode([token])
        )

    def answer(self, body):
        ids, k = body["prompt"], body["logprobs"]
        assert body["echo"]
        assert body["max_tokens"] == 1
        values, tokens = self.logprobs(ids)[:-1].topk(k)
        rows = [
            dict(zip(t, v, strict=True))
            for t, v in zip(tokens.tolist(), values.tolist(), strict=True)
        ]
        every = self.logprobs(ids)
        for i, row in enumerate(rows):
            row.setdefault(ids[i + 1], float(every[i, ids[i + 1]]))
        if self.style == "ids":
            named = [{str(t): {"logprob": v, "rank": 1} for t, v in row.items()} for row in rows]
            return {"choices": [{"index": 0, "text": "", "prompt_logprobs": [None, *named]}]}
        name = {
            "marks": lambda token: f"token_id:{token}",
            "entries": lambda token: tokenizer().convert_ids_to_tokens(token),
            "decoded": lambda token: tokenizer().decode([token]),
        }[self.style]
        spelled = [{name(t): v for t, v in row.items() if self.can_spell(t)} for row in rows]
        found = {"tokens": [name(t) for t in [*ids, 0]], "top_logprobs": [None, *spelled, None]}
        return {"choices": [{"index": 0, "text": "", "logprobs": found}]}


def _handler(teacher):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            teacher.requests.append((self.path, body, dict(self.headers)))
            trouble = teacher.troubles.pop(0) if teacher.troubles else None
            status, text = 200, None
            if callable(trouble):
                text = trouble(teacher.answer(body))
            elif isinstance(trouble, tuple):
                status, text = trouble
            elif isinstance(trouble, float):
                time.sleep(trouble)
            if text is None:
                text = json.dumps(teacher.answer(body))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it did not wait
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    return Handler


@contextlib.contextmanager
def serving():
    """A teacher that is served on a free port until the block ends."""
    teacher = Teacher()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(teacher))
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    teacher.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
