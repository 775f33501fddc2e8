"""Serve the embedded world's teacher: an OpenAI-compatible server that makes errors, as real providers do, in known
shares.

It answers POST /v1/chat/completions, GET /v1/models and GET /health on a free port of 127.0.0.1, and writes the port to
--port-file. A hash of seed and prompt decides what happens to a prompt, so every run sees the same. A token is a word
between spaces here.

If standard input is a pipe, the server ends when the pipe is closed. The process that started it holds the other end,
and the kernel closes that however the process dies, even by SIGKILL. The server is that of the standard library, which
starts in 0.1 s, where fastapi and uvicorn take 0.6 s.
"""

import argparse
import hashlib
import json
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

from m1.core.errors import UserError, run
from m1.core.files import write_text

RUBRICS = "\n\n## Classification rubrics\n"  # between the question and the qualifiers of a labelling call
NO_CODE = 0.03  # share of questions for whose domain the first answer names no code


class Teacher(Protocol):
    """Answers prompts, as :class:`m1.world.teacher.RuleTeacher` does."""

    def think(self, user_text: str, incorrect: bool) -> tuple[str, str] | None:
        """Thinking and answer with its box; None if the question cannot be read."""


@dataclass(frozen=True)
class Errors:
    """Shares of prompts, each from 0 to 1, that do not get a correct answer."""

    incorrect: float = 0.12  # an incorrect answer
    empty: float = 0.02  # neither thinking nor answer
    malformed: float = 0.03  # in equal parts: no box; no thinking; HTML instead of JSON at the first request
    flaky: float = 0.05  # HTTP 500 or 429 at the first request; independent of the others
    seed: int = 0

    def share(self, kind: str, prompt: str) -> float:
        """A number in [0, 1) for this prompt; equal for equal seeds."""
        hashed = hashlib.sha256(f"{self.seed}\0{kind}\0{prompt}".encode()).digest()
        return int.from_bytes(hashed[:6], "big") / 2**48

    def outcome(self, prompt: str) -> str:
        """The kind of answer: ``correct``, ``incorrect``, ``empty``, ``no box``, ``no thinking`` or ``html``."""
        shares = [self.incorrect, self.empty, *[self.malformed / 3] * 3]
        names = ["incorrect", "empty", "no box", "no thinking", "html"]
        place = self.share("outcome", prompt)
        return next((name for name, limit in zip(names, accumulate(shares)) if place < limit), "correct")


_SHARES = ("incorrect", "empty", "malformed", "flaky")


class World(ThreadingHTTPServer):
    """The server; if it is ``broken``, it answers everything but ``/health`` and ``/v1/models`` with HTTP 500."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, teacher: Teacher, errors: Errors, broken: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.teacher, self.errors, self.broken = teacher, errors, broken
        self.calls = 0  # requests for a completion so far, failed ones included
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        """The HTTP status and body for a request's body; a ``str`` is sent as HTML."""
        prompt = str(body["messages"][-1]["content"])
        with self._lock:
            self.calls += 1
            new = prompt not in self._seen
            self._seen.add(prompt)
        if self.broken:
            return 500, _error("out of order, as --fail always asks")
        outcome = self.errors.outcome(prompt)
        flaky = self.errors.share("flaky", prompt)
        if new and flaky < self.errors.flaky:
            return (500, _error("overloaded")) if flaky < self.errors.flaky / 2 else (429, _error("too many requests"))
        if RUBRICS in prompt:
            return 200, _completion(body, "", self._label(prompt, body.get("seed") or 0))
        if new and outcome == "html":
            return 200, "<html><body>502 Bad Gateway</body></html>"
        told = self.teacher.think(prompt, incorrect=outcome == "incorrect")
        thinking, answer = told or ("", "I cannot read this question.")
        if outcome == "empty":
            thinking, answer = "", ""
        elif outcome == "no box":
            answer = "Taken together: " + re.sub(r"\\boxed\{(.*?)\}", r"\1", answer)
        elif outcome == "no thinking":
            thinking = ""
        return 200, _completion(body, thinking, answer)

    def _label(self, prompt: str, attempt: int) -> str:
        """An answer with a qualifier that has nothing to do with medicine.

        A hash of the question picks the code from a Zipf distribution, which is as uneven as Table 4.
        """
        question, _, rubrics = prompt.rpartition(RUBRICS)
        if attempt == 0 and self.errors.share("label", question) < NO_CODE:
            return "This question belongs to more than one qualifier."
        codes = re.findall(r"^\* Code: (\d\d)$", rubrics, re.MULTILINE)
        codes.sort(key=lambda code: self.errors.share("code", code))
        weights = list(accumulate(1 / rank for rank in range(1, len(codes) + 1)))
        place = self.errors.share("domain", question) * weights[-1]
        code = next(code for code, limit in zip(codes, weights) if place < limit)
        return f"By the rule of the embedded world, the question asks for this qualifier.\n{code}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: World

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(200, {"status": "ok", "calls": self.server.calls})
        elif self.path == "/v1/models":
            model = {"id": "world-teacher", "object": "model", "created": 0, "owned_by": "m1"}
            self._send(200, {"object": "list", "data": [model]})
        else:
            self._send(404, _error(f"no {self.path} here"))

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/v1/chat/completions":
            self._send(404, _error(f"no {self.path} here"))
            return
        try:
            status, answer = self.server.complete(json.loads(data))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            status, answer = 400, _error(f"not a request for a chat completion: {error!r}")
        self._send(status, answer)

    def _send(self, status: int, answer: Any) -> None:
        html = isinstance(answer, str)
        data = answer.encode() if html else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing, because there would be thousands of equal lines."""


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "world", "code": None}}


def _completion(body: dict[str, Any], thinking: str, answer: str) -> dict[str, Any]:
    """Make a chat completion, cut after ``max_tokens`` words as a real one is."""
    limit = body.get("max_tokens") or sys.maxsize
    thought, said = thinking.split(), answer.split()
    count = len(thought) + len(said)
    if count > limit:
        thinking, answer = " ".join(thought[:limit]), " ".join(said[: max(0, limit - len(thought))])
    asked = sum(len(str(message["content"]).split()) for message in body["messages"])
    finish, model = "length" if count > limit else "stop", body.get("model", "world-teacher")
    return chat_completion("world", model, thinking, answer, finish, asked, min(count, limit))


def chat_completion(
    name: str, model: str, thinking: str, answer: str, finish: str, asked: int, used: int
) -> dict[str, Any]:
    """The body of a chat completion; ``asked`` are the tokens of the prompt, ``used`` those of thinking and answer."""
    message = {"role": "assistant", "content": answer, "reasoning_content": thinking}
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": asked, "completion_tokens": used, "total_tokens": asked + used},
    }


def serve(world: World, port_file: str | Path) -> None:
    """Serve until the process ends, or until the pipe on standard input is closed."""
    if sys.stdin is not None and stat.S_ISFIFO(os.fstat(0).st_mode):

        def end_with_starter() -> None:
            os.read(0, 1)
            os._exit(0)

        threading.Thread(target=end_with_starter, daemon=True).start()
    write_text(port_file, f"{world.server_address[1]}\n")
    world.serve_forever()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that do not depend on the teacher."""
    parser.add_argument("--port-file", required=True, type=Path, help="file to write the port to")
    for name in _SHARES:
        share = getattr(Errors, name)
        parser.add_argument(f"--{name}", type=float, default=share, help=f"share of prompts, 0 to 1 (default {share})")
    parser.add_argument("--seed", type=int, default=0, help="seed that decides which prompts get a fault (default 0)")
    parser.add_argument("--fail", choices=["always"], help="answer every call with HTTP 500")


def make_world(teacher: Teacher, arguments: argparse.Namespace) -> World:
    """Make the server that the flags of :func:`add_arguments` describe."""
    shares = {name: getattr(arguments, name) for name in _SHARES}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UserError(f"--{name}: {share}; a share from 0 to 1 is needed")
    return World(teacher, Errors(**shares, seed=arguments.seed), broken=arguments.fail == "always")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the server with the rule teacher."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", required=True, help="the world's facts.json")
    key = "Parquet of questions from outside the world; they are answered by their own key"
    parser.add_argument("--answers", help=key)
    add_arguments(parser)
    arguments = parser.parse_args(argv)

    from m1.world.teacher import RuleTeacher

    answers = None
    if arguments.answers:
        from m1.core import records
        from m1.core.prompts import question_text

        answers = {question_text(question): question for question in records.read(arguments.answers, records.Question)}
    teacher = RuleTeacher(arguments.facts, answers, arguments.seed)
    serve(make_world(teacher, arguments), arguments.port_file)


if __name__ == "__main__":
    run(main)
