"""A provider with an OpenAI batch endpoint, over real HTTP on the loopback, that misbehaves as it is told; and a
program that uses it.

What it was asked, and what it took money for, is in its log. Answers are made when a batch is created; its state moves
on with every poll.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from m1.client.attempt import open_client
from m1.client.batch import complete_by_batch
from m1.client.complete import CallRun, GroupWriter
from m1.client.provider import Provider, Request
from m1.core.progress import Progress
from m1.core.store import Store
from patience import PATIENCE

KEY = "sk-canary-0123456789"
STATES = ("validating", "in_progress", "finalizing")
Line = Callable[[str, int], str]


def answer(prompt: str) -> str:
    return f"The answer to {prompt}.\u2028\x85Twice."


class BatchServer(ThreadingHTTPServer):
    """The provider.

    Attributes:
        line: prompt and how often it has been submitted, to what becomes of the call: ``ok``, a status such as ``429``,
            ``expired``, ``rubbish``, ``nothing``, ``empty`` (200 without a completion).
        ends: for each batch in turn how it ends: ``completed`` (what follows the last), ``expired`` (after half of its
            lines), ``cancelled`` (the same), ``failed:<code>``.
        faults: what goes wrong with the next requests of a kind (``upload``, ``create``, ``list``, ``retrieve``,
            ``content``): a status, ``html`` or ``error`` (both with status 200), ``cut`` (half of the body), ``short``
            (half of the lines), ``drip`` (byte by byte, for ever), ``lost`` (done, but the answer does not arrive).
        usage, model: what each answer says that it used, and who made it.
        odd: what is shown of a batch that has ended in place of what it should be.
        location: where a status of 300 to 399 leads.
        at: called with the moment: ``uploaded``, ``created``, ``polled``, ``downloading``, before the answer leaves.
        log: what was asked, in turn.
        paid: custom ids that were answered.
    """

    daemon_threads = True

    def __init__(self, line: Line = lambda prompt, time: "ok", ends: Sequence[str] = (), wrapped: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.line, self.ends, self.wrapped = line, deque(ends), wrapped
        self.usage: Any = {"prompt_tokens": 2, "completion_tokens": 3}
        self.model = "adder"
        self.odd: dict[str, Any] = {}
        self.location: str | None = None
        self.faults: dict[str, deque[int | str]] = defaultdict(deque)
        self.at: Callable[[str], None] = lambda moment: None
        self.log: list[str] = []
        self.paid: Counter[str] = Counter()
        self.submitted: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.most_open = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: object) -> None:
        """Ignore the broken connection of a client that was killed."""

    def add_file(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def create(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Run a batch at once, but report its states one after another."""
        end, _, code = (self.ends.popleft() if self.ends else "completed").partition(":")
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        outcomes: dict[str, list[str]] = {"output": [], "error": []}
        for number, line in enumerate(lines if end != "failed" else []):
            assert (line["method"], line["url"]) == ("POST", asked["endpoint"])
            key, prompt = line["custom_id"], line["body"]["messages"][0]["content"]
            self.submitted[key] += 1
            over = end in {"expired", "cancelled"} and number >= len(lines) // 2
            outcome = f"batch_{end}" if over else self.line(prompt, self.submitted[key])
            if outcome in {"ok", "empty"}:
                self.paid[key] += 1
                choice = {
                    "message": {"role": "assistant", "content": answer(prompt), "reasoning_content": "Hm."},
                    "finish_reason": "stop",
                }
                body = {
                    "model": self.model,
                    "choices": [choice] if outcome == "ok" else [],
                    "usage": self.usage,
                }
                entry: dict[str, Any] = {
                    "custom_id": key,
                    "response": {"status_code": 200, "body": body},
                    "error": None,
                }
                outcomes["output"].append(json.dumps(entry, ensure_ascii=False))
            elif outcome.isdigit():
                body = {"error": {"message": f"sorry, says {outcome} to {KEY}"}}
                entry = {"custom_id": key, "response": {"status_code": int(outcome), "body": body}, "error": None}
                outcomes["error"].append(json.dumps(entry))
            elif outcome == "rubbish":
                outcomes["output"].append(f'{{"custom_id": "{key}", "respo')
            elif outcome != "nothing":
                entry = {"custom_id": key, "response": None, "error": {"code": outcome, "message": "not in time"}}
                outcomes["error"].append(json.dumps(entry))
        outcomes["output"].reverse()  # in no order that one could rely on
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "completion_window": asked["completion_window"],
            "created_at": len(self.batches),
            "input_file_id": asked["input_file_id"],
            "metadata": asked.get("metadata"),
            "status": "validating",
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "states": deque([*STATES, end] if end != "failed" else ["validating", "failed"]),
            "outcomes": outcomes,
            "code": code,
        }
        active = sum(batch["status"] in STATES for batch in self.batches.values())
        self.most_open = max(self.most_open, active)
        return self.batches[name]

    def poll(self, batch: dict[str, Any]) -> None:
        if len(batch["states"]) > 1:
            batch["states"].popleft()
        status = batch["status"] = batch["states"][0]
        outcomes = batch["outcomes"]
        if status not in STATES and "output_file_id" not in batch:
            for kind, lines in outcomes.items():
                text = "".join(f"{line}\n" for line in lines)
                batch[f"{kind}_file_id"] = self.add_file(text.encode()) if lines else None
            counts = {"completed": len(outcomes["output"]), "failed": len(outcomes["error"])}
            batch["request_counts"] |= counts
            if batch["code"]:
                batch["errors"] = {
                    "object": "list",
                    "data": [{"code": batch["code"], "message": "so it is", "line": None}],
                }

    def shown(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        shown = {name: value for name, value in batch.items() if name not in {"states", "outcomes", "code"}}
        if self.wrapped and shown.get("output_file_id"):
            shown["output_file_id"] = f"{self.url.removesuffix('/v1')}/storage/{shown['output_file_id']}"
        return {**shown, **(self.odd if shown["status"] not in STATES else {})}


class Handler(BaseHTTPRequestHandler):
    server: BatchServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Suppress the standard log, because the server has its own."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/files":
            self.serve("upload", lambda: self.upload(body), "uploaded")
        elif self.path == "/v1/batches":
            self.serve("create", lambda: self.server.shown(self.server.create(json.loads(body))), "created")
        elif self.path.endswith("/cancel"):
            self.serve("cancel", lambda: self.cancel(self.path.split("/")[3]), "")

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = path.split("/")[3] if path.count("/") > 2 else path.rsplit("/", 1)[-1]
        if path == "/v1/batches":
            self.serve("list", lambda: self.page(query), "")
        elif path.startswith("/v1/batches/"):
            self.serve("retrieve", lambda: self.retrieve(name), "polled")
        elif path.startswith("/storage/"):
            assert "Authorization" not in self.headers, "our key is shown to a stranger"
            self.download("content", self.server.files[name])
        else:
            self.download("content", self.server.files.get(name))

    def upload(self, body: bytes) -> dict[str, Any]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part
            for part in BytesParser().parsebytes(head + body).get_payload()
        }
        assert parts["purpose"].get_payload() == "batch"
        name = self.server.add_file(parts["file"].get_payload(decode=True))
        return (
            {"code": 20000, "data": {"id": name}}
            if self.server.wrapped
            else {"id": name, "object": "file", "purpose": "batch"}
        )

    def cancel(self, name: str) -> dict[str, Any]:
        batch = self.server.batches[name]
        batch["states"] = deque(["cancelling", "cancelled"])
        return self.server.shown(batch)

    def retrieve(self, name: str) -> dict[str, Any] | None:
        if name not in self.server.batches:
            return None
        self.server.poll(self.server.batches[name])
        return self.server.shown(self.server.batches[name])

    def page(self, query: str) -> dict[str, Any]:
        """List batches, newest first, at most three on a page."""
        newest = list(reversed(self.server.batches.values()))
        after = dict(part.split("=") for part in query.split("&")).get("after")
        start = next((n + 1 for n, batch in enumerate(newest) if batch["id"] == after), 0)
        shown = [self.server.shown(batch) for batch in newest[start : start + 3]]
        return {
            "object": "list",
            "data": shown,
            "has_more": start + 3 < len(newest),
            "last_id": shown[-1]["id"] if shown else None,
        }

    def serve(self, kind: str, action: Callable[[], dict[str, Any] | None], moment: str) -> None:
        with self.server.lock:
            self.server.log.append(kind)
            fault = self.server.faults[kind].popleft() if self.server.faults[kind] else None
            if self.headers["Authorization"] != f"Bearer {KEY}":
                fault = 401
            if isinstance(fault, int):
                self.reply(fault, {"error": {"message": f"fault {fault} for {self.headers['Authorization']}"}})
                return
            found = action() if fault not in {"html", "error", "drip"} else None
            self.server.at(moment)
        if fault == "drip":
            self.drip()
        elif fault == "html":
            self.send(200, b"<html>maintenance</html>", "text/html")
        elif fault == "error":
            self.reply(200, {"error": {"message": "maintenance"}})
        elif fault == "lost":
            self.close_connection = True
        else:
            self.reply(200 if found else 404, found or {"error": {"message": "no such thing"}})

    def drip(self) -> None:
        """Send a body byte by byte, without an end."""
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            while True:
                self.wfile.write(b" ")
                time.sleep(0.02)

    def download(self, kind: str, content: bytes | None) -> None:
        self.server.log.append(kind)
        fault = self.server.faults[kind].popleft() if self.server.faults[kind] else None
        if content is None or isinstance(fault, int):
            self.reply(fault if isinstance(fault, int) else 404, {"error": {"message": "no content"}})
            return
        if fault == "short":
            lines = content.splitlines(keepends=True)
            content = b"".join(lines[: len(lines) // 2])
        half = len(content) // 2
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:half])
        self.wfile.flush()
        self.server.at("downloading")
        if fault == "cut":
            self.close_connection = True
        else:
            self.wfile.write(content[half:])

    def reply(self, status: int, body: Mapping[str, Any]) -> None:
        self.send(status, json.dumps(body).encode(), "application/json")

    def send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if 300 <= status < 400:
            self.send_header("Location", self.server.location or "/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def make_provider(url: str, **changes: Any) -> Provider:
    settings: dict[str, Any] = {
        "name": "teacher",
        "model": "adder",
        "base_url": url,
        "serve": None,
        "serve_seconds": PATIENCE,
        "api_key_env": "M1_TEST_KEY",
        "temperature": None,
        "max_tokens": 100,
        "concurrency": 4,
        "timeout": PATIENCE,
        "max_retries": 3,
        "price_prompt": 1.0,
        "price_completion": 2.0,
        "rule": None,
        "notes": None,
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "deadline": None,
        "max_dollars": None,
        "extra": {},
        "limit_field": "max_tokens",
        "batch": {"window": "24h", "size": 100, "poll_seconds": 0.02, "discount": 0.5},
    }
    return Provider.from_settings(settings | changes, "teacher")


def make_requests(count: int, provider: Provider) -> dict[str, Request]:
    requests = [Request(f"What is {number} plus 1?") for number in range(count)]
    return {request.key(provider): request for request in requests}


def run(
    provider: Provider, requests: Mapping[str, Request], store: Store, key: str = KEY, room: float | None = None
) -> dict[str, Any]:
    """Make the calls that the store does not have, as the client does."""

    async def main() -> dict[str, Any]:
        missing = {key: request for key, request in requests.items() if key not in store}
        limited, url = replace(provider, max_dollars=room), provider.base_url or ""
        calls = CallRun(limited, url, key, store, "test", requests, missing)
        with Progress("test", len(missing), "calls") as calls.progress, ThreadPoolExecutor(1) as thread:
            calls.writer = GroupWriter(store.put_many, thread)
            async with open_client(limited, url, key) as client:
                await complete_by_batch(calls, client)
        return calls.failures.refused

    return asyncio.run(main())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--store", required=True, type=Path)
    parser.add_argument("--count", required=True, type=int)
    parser.add_argument("--size", required=True, type=int)
    arguments = parser.parse_args()
    batch = {"window": "24h", "size": arguments.size, "poll_seconds": 0.02, "discount": 0.5}
    chosen = make_provider(arguments.url, batch=batch)
    with Store(arguments.store) as opened:
        run(chosen, make_requests(arguments.count, chosen), opened)
