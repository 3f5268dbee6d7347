"""A teacher behind an OpenAI-compatible completions endpoint: its log-probabilities of given text.

The text is sent as token ids and echoed with the k most probable tokens of every position (``echo`` and
``logprobs``, as vLLM and others serve them), so that nothing is tokenised twice. Tokens must come back as
ids (``prompt_logprobs``, or strings ``token_id:7``) or as strings that belong to one token each; everything
else is refused. The key of the endpoint is read from ``KDSCOPE_SERVER_KEY`` and appears nowhere else.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests
import torch
from torch import Tensor

from kdscope.data.collation import Batch, Encoded
from kdscope.distillation.server_tokens import GarbledError, TokenReader
from kdscope.distillation.targets import TopK
from kdscope.divergences import Head
from kdscope.errors import ModelError, RemoteError

KEY = "KDSCOPE_SERVER_KEY"
TRIES = 5  # with 1, 2, 4, 8 seconds between them
SECONDS = 120.0  # that an answer may take
AT_ONCE = 8  # requests, which a server puts into one batch
_TRY_AGAIN = {408, 409, 425, 429}
_SHOWN = 300  # characters of a server's message


@dataclass(frozen=True)
class TeacherServer:
    """An endpoint.

    Attributes:
        url: up to and with ``/v1``.
        model: as the server calls it.
        reader: of its tokens; it knows how many are asked for per position.
        tries: how often a request is made before it is given up.
        seconds: that an answer may take.
        pause: called with the seconds to wait before the next try.
    """

    url: str
    model: str
    reader: TokenReader
    tries: int = TRIES
    seconds: float = SECONDS
    pause: Callable[[float], None] = time.sleep

    def read(self, example: Encoded) -> dict[str, Tensor]:
        """The k most probable tokens at the supervised positions of an example, ``ids`` and ``logprobs``.

        Raises:
            ModelError: the server refuses the request (its own words are told), or means other tokens.
            RemoteError: it stayed silent, slow or unintelligible for all tries.
        """
        body = {
            "model": self.model, "prompt": [*example.prompt, *example.response], "max_tokens": 1,
            "temperature": 0.0, "echo": True, "logprobs": self.reader.k,
            "return_tokens_as_token_ids": True,
        }  # fmt: skip
        trouble = ""
        for attempt in range(self.tries):
            if attempt:
                self.pause(2.0 ** (attempt - 1))
            try:
                return self.reader.rows(self._ask(body), example)
            except GarbledError as error:
                trouble = str(error)
        raise RemoteError(
            f"the teacher's server at {self.url} gave no usable answer in {self.tries} tries; the last: "
            f"{trouble}. Nothing incomplete was kept. Start the server, or look into its log, and run again"
        )

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        key = os.environ.get(KEY, "")
        try:
            status, text = self._post(body, key)
        except requests.RequestException as error:
            raise GarbledError(_without(key, f"{type(error).__name__}: {error}")) from None
        if status != 200:
            said = _without(key, f"HTTP {status}: {text}")
            if status >= 500 or status in _TRY_AGAIN:
                raise GarbledError(said)
            raise ModelError(
                f"the teacher's server at {self.url} refuses the request for {self.model!r} with "
                f"{self.reader.k} log-probabilities a token: {said}. Check server.model and top_k (vLLM "
                f"allows {self.reader.k} with --max-logprobs {self.reader.k}); a key is read from {KEY}"
            )
        try:
            (choice,) = json.loads(text)["choices"]
        except (ValueError, KeyError, TypeError):
            shown = _without(key, text) or "nothing"
            raise GarbledError(f"not one choice in JSON, but {shown!r}") from None
        if not isinstance(choice, dict):
            raise GarbledError("a choice that is no JSON object")
        return choice

    def _post(self, body: dict[str, Any], key: str) -> tuple[int, str]:
        """Status and text of an answer that is there in time, however slowly it trickles."""
        end = time.monotonic() + self.seconds
        with requests.post(
            f"{self.url.rstrip('/')}/completions",
            json=body,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=(min(10.0, self.seconds), self.seconds),
            allow_redirects=False,
            stream=True,
        ) as answer:
            parts = []
            for part in answer.iter_content(2**16):
                parts.append(part)
                if time.monotonic() > end:
                    raise requests.Timeout(f"no whole answer after {self.seconds:g} s")
            return answer.status_code, b"".join(parts).decode("utf-8", errors="replace")


class ServedTopK:
    """The server as what a cache is written from: every sequence is read once."""

    form = "topk"

    def __init__(self, server: TeacherServer) -> None:
        self.server = server
        self.head: Head | None = None
        self.row_bytes = 8 * server.reader.k
        self.tail, self.seen = 0.0, 0
        self._askers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="teacher-server")

    def rows(self, examples: Sequence[Encoded]) -> dict[str, Tensor]:
        """Some requests at a time, the rows in the order of the examples."""
        rows = _joined(list(self._askers.map(self.server.read, examples)))
        self.tail += float((1.0 - rows["logprobs"].exp().sum(-1)).clamp_min(0.0).sum())
        self.seen += len(rows["ids"])
        return rows

    def measures(self) -> dict[str, float]:
        """Mean probability outside of the k tokens, over what this attempt wrote."""
        return {"tail_mass": self.tail / self.seen} if self.seen else {}


class ServedTeacher:
    """The server as a live signal, for the student's own rollouts; asked ahead of the student."""

    def __init__(self, server: TeacherServer) -> None:
        self.server = server
        self._askers = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="teacher-server")
        self._ahead: dict[Encoded, Future[dict[str, Tensor]]] = {}

    def prefetch(self, batches: Sequence[Sequence[Encoded]]) -> None:
        """Ask for all of them; what an earlier window asked for and did not take is dropped."""
        wanted = {example for batch in batches for example in batch}
        for example in self._ahead.keys() - wanted:
            self._ahead.pop(example).cancel()
        for example in wanted - self._ahead.keys():
            self._ahead[example] = self._askers.submit(self.server.read, example)

    def targets(self, examples: Sequence[Encoded], batch: Batch) -> TopK:
        """The k most probable tokens of these examples, on the batch's device."""
        asked = [
            self._ahead.pop(example, None) or self._askers.submit(self.server.read, example)
            for example in examples
        ]
        rows = _joined([answer.result() for answer in asked])
        device = batch.input_ids.device
        return TopK(rows["ids"].long().to(device), rows["logprobs"].to(device))


def _joined(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([row[name] for row in rows]) for name in ("ids", "logprobs")}


def _without(key: str, text: str) -> str:
    """A text fit for a message: short, and without the key, should a server quote it."""
    return (text.replace(key, "***") if key else text)[:_SHOWN]
