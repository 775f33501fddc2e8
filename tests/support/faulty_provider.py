"""Serve an OpenAI-compatible provider at its worst, over real HTTP on 127.0.0.1: it makes faults in known shares, and
logs what was asked and paid (``python -m faulty_provider``).

It answers POST /v1/chat/completions, GET /v1/models and GET /health. A hash of seed, request and number of the attempt
(counted from the server's start) decides what happens to an attempt. So a fault passes when the call is repeated, and
every run sees the same faults. The server uses asyncio and the standard library, so even 256 calls at a time leave most
of a core to the client.

The log has JSON lines. {"event": "in", …} is written when a request arrives: its number, the time in seconds, the key
(digest of the body, which is the client's own key of the call), the attempt, method, path, headers (credentials as
hashes), body, and the number of open requests. {"event": "out", …} is written when it has been dealt with: the outcome
(a field of Faults, "correct", "full" or "status"), the HTTP status, and whether it was paid and sent.

"paid" is what a provider bills: every answer that was generated to its end, whether or not it arrived. The faults are
the provider's own, and it bills nothing for them. Whether a real provider bills an answer that broke off on the way
(reset, truncated) cannot be seen from the outside, so tests count those separately.

If standard input is a pipe, the server ends when the pipe is closed, as m1.world.server does.
"""

import argparse
import asyncio
import hashlib
import json
import os
import socket
import stat
import struct
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from email.utils import formatdate
from itertools import accumulate
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch
from urllib.parse import urlsplit

from m1.client.serving import running_server
from m1.core.errors import UserError, run
from m1.core.files import digest, write_text
from m1.world.server import chat_completion
from patience import PATIENCE

RETRY_AFTER = 1  # seconds that a 429 with Retry-After asks for
_SECRET = {"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"}
_JSON, _HTML = "application/json", "text/html"


@dataclass(frozen=True)
class Faults:
    """Shares of attempts that meet each fault, each from 0 to 1 and together at most 1; all others are answered."""

    share429: float = 0.0  # HTTP 429 at once, without Retry-After
    share429_after: float = 0.0  # HTTP 429 at once with Retry-After, half as seconds and half as an HTTP date
    share500: float = 0.0
    share502: float = 0.0  # HTTP 502 with a page of HTML
    hang: float = 0.0  # no answer until the client closes the connection
    reset: float = 0.0  # connection reset in the middle of the body
    truncated: float = 0.0  # HTTP 200, half the JSON, and a Content-Length that fits the half
    empty_choices: float = 0.0  # HTTP 200 without a choice: half with an empty list, half with an error instead
    wrong_type: float = 0.0  # HTTP 200 as text/html: half are a page, and half are an answer, which is paid
    no_box: float = 0.0  # an answer without \boxed{}; paid
    duplicate: float = 0.0  # the same answer twice in the choices; paid once
    repeated: float = 0.0  # the same response twice, bytes and all, on the connection that is kept alive; paid once
    seed: int = 0

    def draw(self, key: str, attempt: int) -> tuple[str, bool]:
        """Draw what happens to an attempt (a field's name or ``correct``), and which half of a fault with two forms."""
        hashed = hashlib.sha256(f"{self.seed}\0{key}\0{attempt}".encode()).digest()
        place = int.from_bytes(hashed[:6], "big") / 2**48
        limits = accumulate(getattr(self, name) for name in KINDS)
        return next((name for name, limit in zip(KINDS, limits) if place < limit), "correct"), hashed[6] < 128


KINDS = tuple(field.name for field in fields(Faults) if field.name != "seed")
BROKEN = ("reset", "truncated")  # faults that break off an answer on its way


def mark(prompt: str) -> str:
    """A text that the thinking and the answer to a prompt both contain, so that tests notice swapped answers."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def completion(body: dict[str, Any], number: int, thinking: int, boxed: bool = True) -> dict[str, Any]:
    """Make a chat completion; a token is a word between spaces.

    Args:
        body: of the request.
        number: of the request; it is part of the id, so that no two completions are equal.
        thinking: length of the thinking, in characters.
        boxed: whether the answer's letter A is in a box.
    """
    prompt = str(body["messages"][-1]["content"])
    start = f"Prompt {mark(prompt)} is asked. "
    thought = (start + "Let me weigh the findings again. " * (thinking // 33 + 1))[: max(len(start), thinking)].rstrip()
    answer = f"Prompt {mark(prompt)} is answered by " + ("\\boxed{A}." if boxed else "A.")
    asked, used = len(prompt.split()), len(thought.split())
    total = used + len(answer.split())
    made = chat_completion(str(number), body["model"], thought, answer, "stop", asked, total)
    made["usage"]["completion_tokens_details"] = {"reasoning_tokens": used}
    return made


@dataclass(frozen=True)
class _Arrival:
    number: int
    key: str
    attempt: int
    authorization: str
    body: Any
    reader: StreamReader


class Provider:
    """The server; its arguments are the flags of the command line.

    If ``status`` is set, every call gets this HTTP status at once, with a body, a reason and a header that repeat the
    Authorization header. With 200, the body is a page of HTML, as a captive portal would send.
    """

    def __init__(
        self, faults: Faults, log: TextIO, latency: float, capacity: int, thinking: int = 200, status: int | None = None
    ) -> None:
        self.faults, self.log, self.latency, self.capacity = faults, log, latency, capacity
        self.thinking, self.status = thinking, status
        self.calls = self.paid = self.open = self.peak = 0
        self._attempts: Counter[str] = Counter()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of a connection until one side closes it."""
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                parts = (line.partition(":") for line in lines[1:] if line)
                headers = {name.strip().lower(): value.strip() for name, _, value in parts}
                data = await reader.readexactly(int(headers.get("content-length", 0)))
                path = urlsplit(target).path  # a proxy is asked for the whole URL
                if method == "POST" and path == "/v1/chat/completions":
                    await self._call(target, headers, data, reader, writer)
                else:
                    await self._get(path, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass  # closed by either side, or not HTTP
        finally:
            writer.close()

    async def _get(self, path: str, writer: StreamWriter) -> None:
        if path == "/health":
            counts = {name: getattr(self, name) for name in ("calls", "paid", "open", "peak")}
            response = _response(200, {"status": "ok", **counts, "cpu_seconds": round(time.process_time(), 2)})
        elif path == "/v1/models":
            model = {"id": "faulty-teacher", "object": "model", "owned_by": "m1"}
            response = _response(200, {"object": "list", "data": [model]})
        else:
            response = _response(404, _error(f"no {path} here"))
        writer.write(response)
        await writer.drain()

    async def _call(
        self, target: str, headers: dict[str, str], data: bytes, reader: StreamReader, writer: StreamWriter
    ) -> None:
        """Log a request, handle it, and log the outcome."""
        try:
            body = json.loads(data)
        except ValueError:
            body = data.decode("utf-8", "replace")
        key = digest(body)
        received = _Arrival(self.calls, key, self._attempts[key], headers.get("authorization", ""), body, reader)
        self._attempts[key] += 1
        self.calls += 1
        self.open += 1
        self.peak = max(self.peak, self.open)
        shown = {name: f"sha256 {digest(value)}" if name in _SECRET else value for name, value in headers.items()}
        self._note("in", received, method="POST", path=target, headers=shown, body=body, open=self.open)
        outcome, status, paid, sent = "correct", 0, False, False
        try:
            outcome, status, response, paid = await self._decide(received)
            self.paid += paid
            sent = bool(response) and not reader.at_eof()
            if outcome == "reset":
                writer.write(response[: len(response) // 2])
                await writer.drain()
                # Closing a socket with a linger time of 0 sends RST instead of FIN.
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                sent = False
            elif response:
                writer.write(response)
                await writer.drain()
        except ConnectionError:
            sent = False
        finally:
            self.open -= 1
            self._note("out", received, outcome=outcome, status=status, paid=paid, sent=sent)

    async def _decide(self, received: _Arrival) -> tuple[str, int, bytes, bool]:
        """The outcome, the HTTP status, the bytes to send, and whether the call is billed."""
        if self.status is not None:
            said = f"refused: {received.authorization}"
            content = f"<html>{said}</html>" if self.status == 200 else _error(said)
            return _unpaid("status", self.status, content, said, **{"X-Refused": received.authorization})
        if self.open > self.capacity:
            return _unpaid("full", 429, _error("too many calls at once"))
        outcome, half = self.faults.draw(received.key, received.attempt)
        if outcome == "share429":
            return _unpaid(outcome, 429, _error("too many requests"))
        if outcome == "share429_after":
            # An HTTP date has whole seconds, so the next second after the wanted time is given.
            after = str(RETRY_AFTER) if half else formatdate(int(time.time()) + RETRY_AFTER + 1, usegmt=True)
            return _unpaid(outcome, 429, _error("too many requests"), **{"Retry-After": after})
        if outcome == "hang":
            await received.reader.read()
            return outcome, 0, b"", False
        await asyncio.sleep(self.latency)
        if outcome == "share500":
            return _unpaid(outcome, 500, _error("the provider failed"))
        if outcome == "share502":
            return _unpaid(outcome, 502, "<html><body>502 Bad Gateway</body></html>")
        if outcome == "empty_choices":
            empty = {"choices": []} if half else _error("the model failed") | {"choices": None}
            return _unpaid(outcome, 200, empty)
        if outcome == "wrong_type" and half:
            return _unpaid(outcome, 200, "<html><body>Please sign in to this network</body></html>")
        try:
            answer = completion(received.body, received.number, self.thinking, boxed=outcome != "no_box")
        except (KeyError, IndexError, TypeError) as error:
            return _unpaid("status", 400, _error(f"not a request for a chat completion: {error!r}"))
        if outcome == "truncated":
            text = json.dumps(answer)
            return _unpaid(outcome, 200, text[: len(text) // 2], kind=_JSON)
        if outcome == "duplicate":
            answer["choices"].append(answer["choices"][0] | {"index": 1})
        response = _response(200, answer, kind=_HTML if outcome == "wrong_type" else _JSON)
        return outcome, 200, response * 2 if outcome == "repeated" else response, outcome != "reset"

    def _note(self, event: str, received: _Arrival, **more: Any) -> None:
        line = {"event": event, "at": round(time.time(), 4)}
        line |= {name: getattr(received, name) for name in ("number", "key", "attempt")}
        self.log.write(json.dumps(line | more) + "\n")


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "fault", "code": None}}


def _response(status: int, content: Any, reason: str = "As Told", kind: str = "", **headers: str) -> bytes:
    """An HTTP/1.1 response. A ``str`` is sent as HTML unless ``kind`` says otherwise, and anything else as JSON."""
    data = (content if isinstance(content, str) else json.dumps(content)).encode()
    kind = kind or (_HTML if isinstance(content, str) else _JSON)
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + data


def _unpaid(outcome: str, status: int, content: Any, *form: str, **headers: str) -> tuple[str, int, bytes, bool]:
    return outcome, status, _response(status, content, *form, **headers), False


async def serve(provider: Provider, port: int, port_file: Path) -> None:
    """Serve until the process ends, or until the pipe on standard input is closed."""
    ended = asyncio.Event()
    if sys.stdin is not None and stat.S_ISFIFO(os.fstat(0).st_mode):
        asyncio.get_running_loop().add_reader(0, ended.set)
    try:
        server = await asyncio.start_server(provider.converse, "127.0.0.1", port, backlog=1024)
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}. Choose another, or none for a free one.") from error
    write_text(port_file, f"{server.sockets[0].getsockname()[1]}\n")
    await ended.wait()


@contextmanager
def running(log: Path, *flags: str) -> Iterator[str]:
    """Run the server in a process of its own, with its log in a file; yields its base URL."""
    with (
        patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)),
        running_server([Path(__file__).stem, "--log", str(log), *flags], PATIENCE) as url,
    ):
        yield url


def main(argv: Sequence[str] | None = None) -> None:
    """Run the server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port-file", required=True, type=Path, help="file to write the port to")
    parser.add_argument("--port", type=int, default=0, help="port to serve on (default: a free one)")
    parser.add_argument("--log", required=True, type=Path, help="file to append the lines of the log to")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that an answer takes (default 0)")
    most = "requests in work at once; above it, 429 (default 256)"
    parser.add_argument("--capacity", type=int, default=256, help=most)
    parser.add_argument("--thinking", type=int, default=200, help="characters of thinking in an answer (default 200)")
    refusal = "give every call this HTTP status, and repeat its Authorization header"
    parser.add_argument("--status", type=int, help=refusal)
    for name in KINDS:
        parser.add_argument(f"--{name}", type=float, default=0.0, help="share of attempts, 0 to 1 (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="seed that decides which attempts fail (default 0)")
    arguments = parser.parse_args(argv)
    shares = {name: getattr(arguments, name) for name in KINDS}
    if min(shares.values()) < 0 or sum(shares.values()) > 1:
        raise UserError(f"shares of faults: {shares}; none below 0, and at most 1 together, is needed")
    faults = Faults(**shares, seed=arguments.seed)
    # The log is line-buffered, so that each line is in the file at once.
    with open(arguments.log, "a", encoding="utf-8", buffering=1) as log, suppress(KeyboardInterrupt):
        provider = Provider(faults, log, arguments.latency, arguments.capacity, arguments.thinking, arguments.status)
        asyncio.run(serve(provider, arguments.port, arguments.port_file))


if __name__ == "__main__":
    run(main)
