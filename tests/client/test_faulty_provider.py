"""The fault server over real HTTP: each fault is what it says, shares are as asked, and its log tells what was asked
and paid."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from adder import PATHS
from faulty_provider import KINDS, RETRY_AFTER, Faults, main, mark, running
from m1.core.errors import UserError
from m1.core.files import digest
from patience import PATIENCE, REACHED, until

pytestmark = pytest.mark.server


class Server:
    """A fault server in a process of its own."""

    def __init__(self, url: str, log: Path) -> None:
        self.address, self.log = url.split("/")[2], log

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=PATIENCE)

    def ask(
        self, prompt: str, connection: http.client.HTTPConnection | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one call."""
        connection = connection or self.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(body(prompt)), {"Authorization": "Bearer canary"})
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read()

    def events(self, kind: str, count: int) -> list[dict[str, Any]]:
        """The log's lines of a kind, once there are as many as that."""

        def found() -> list[dict[str, Any]]:
            return [event for line in self.log.read_text().splitlines() if (event := json.loads(line))["event"] == kind]

        until(lambda: len(found()) >= count)
        assert len(found()) == count
        return found()


def body(prompt: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


@contextmanager
def faulty(folder: Path, *flags: str) -> Iterator[Server]:
    with running(folder / "log.jsonl", *flags) as url:
        yield Server(url, folder / "log.jsonl")


def test_shares_are_as_asked_repeat_and_pass() -> None:
    faults = Faults(**dict.fromkeys(KINDS, 0.05), seed=3)
    keys = [f"key {n}" for n in range(20_000)]
    first = [faults.draw(key, 0) for key in keys]
    counts = Counter(name for name, _ in first)
    assert set(counts) == {*KINDS, "correct"}
    for name in KINDS:
        assert abs(counts[name] / 20_000 - 0.05) < 5 * (0.05 / 20_000) ** 0.5
    assert abs(sum(half for _, half in first) / 20_000 - 0.5) < 0.02
    assert first == [faults.draw(key, 0) for key in keys]
    again = [faults.draw(key, 1) for key in keys]
    both = sum(a[0] == b[0] == "hang" for a, b in zip(first, again))
    assert both < 110, "the second attempt must not know of the first: 50 of 20,000 are expected to hang twice"


def test_right_answer_models_and_health(tmp_path: Path) -> None:
    with faulty(tmp_path, "--thinking", "4096") as server:
        connection = server.connect()
        status, headers, data = server.ask("What is it?", connection)
        answer = json.loads(data)
        message = answer["choices"][0]["message"]
        assert (status, headers["Content-Type"], len(answer["choices"])) == (200, "application/json", 1)
        assert len(message["reasoning_content"]) in range(4080, 4097)
        assert message["content"] == f"Prompt {mark('What is it?')} is answered by \\boxed{{A}}."
        assert answer["usage"]["prompt_tokens"] == 3
        assert (
            answer["usage"]["completion_tokens"] == answer["usage"]["completion_tokens_details"]["reasoning_tokens"] + 6
        )
        connection.request("GET", "/v1/models")
        assert json.loads(connection.getresponse().read())["data"][0]["id"] == "faulty-teacher"
        connection.request("GET", "/health")
        health = json.loads(connection.getresponse().read())
        assert {name: health[name] for name in ("calls", "paid", "open", "peak")} == {
            "calls": 1,
            "paid": 1,
            "open": 0,
            "peak": 1,
        }
        connection.request("GET", "/elsewhere")
        assert connection.getresponse().status == 404
        connection.close()
        incorrect = server.connect()
        incorrect.request("POST", "/v1/chat/completions", "no json")
        assert incorrect.getresponse().status == 400
        asked, (done, _) = server.events("in", 2)[0], server.events("out", 2)
        assert asked["key"] == done["key"] == digest(body("What is it?"))
        assert (asked["path"], asked["body"], asked["open"]) == ("/v1/chat/completions", body("What is it?"), 1)
        assert (done["outcome"], done["status"], done["paid"], done["sent"]) == ("correct", 200, True, True)
        assert asked["headers"]["authorization"] == f"sha256 {digest('Bearer canary')}"
        assert "canary" not in server.log.read_text()


@pytest.mark.parametrize(
    ("fault", "status", "paid"),
    [
        ("share429", 429, {False}),
        ("share429_after", 429, {False}),
        ("share500", 500, {False}),
        ("share502", 502, {False}),
        ("truncated", 200, {False}),
        ("empty_choices", 200, {False}),
        ("wrong_type", 200, {False, True}),
        ("no_box", 200, {True}),
        ("duplicate", 200, {True}),
    ],
)
def test_faults_that_are_answers(fault: str, status: int, paid: set[bool], tmp_path: Path) -> None:
    with faulty(tmp_path, f"--{fault}", "1") as server:
        answers = [server.ask(f"prompt {n}") for n in range(8)]
        out = server.events("out", 8)
    assert {found for found, _, _ in answers} == {event["status"] for event in out} == {status}
    assert {event["outcome"] for event in out} == {fault}
    assert {event["paid"] for event in out} == paid
    assert all(event["sent"] for event in out)
    for _, headers, data in answers:
        text = data.decode()
        if fault == "share502":
            assert headers["Content-Type"] == "text/html"
            assert text.startswith("<html>")
        elif fault == "truncated":
            with pytest.raises(json.JSONDecodeError):
                json.loads(text)
        elif fault == "empty_choices":
            assert not json.loads(text)["choices"]
        elif fault == "no_box":
            assert "boxed" not in text
        elif fault == "duplicate":
            one, two = json.loads(text)["choices"]
            assert one["message"] == two["message"]
        elif fault == "wrong_type":
            assert headers["Content-Type"] == "text/html"
        elif fault == "share429_after" and not headers["Retry-After"].isdigit():
            assert (
                RETRY_AFTER - 0.5
                <= parsedate_to_datetime(headers["Retry-After"]).timestamp() - out[0]["at"]
                <= RETRY_AFTER + 2
            )
    if fault == "share429_after":
        assert {headers["Retry-After"].isdigit() for _, headers, _ in answers} == {True, False}
    if fault == "wrong_type":
        assert {data.startswith(b"<html>") for _, _, data in answers} == {True, False}


def test_hang_ends_with_the_client(tmp_path: Path) -> None:
    with faulty(tmp_path, "--hang", "1") as server:
        connection = http.client.HTTPConnection(server.address, timeout=REACHED)
        with pytest.raises(TimeoutError):
            server.ask("anyone?", connection)
        assert '"out"' not in server.log.read_text()
        connection.close()
        assert [(event["outcome"], event["paid"], event["sent"]) for event in server.events("out", 1)] == [
            ("hang", False, False)
        ]


def test_reset_in_the_middle_of_the_body(tmp_path: Path) -> None:
    with faulty(tmp_path, "--reset", "1") as server:
        with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
            server.ask("anyone?")
        assert [(event["outcome"], event["paid"], event["sent"]) for event in server.events("out", 1)] == [
            ("reset", False, False)
        ]


def test_repeated_response_comes_twice(tmp_path: Path) -> None:
    with faulty(tmp_path, "--repeated", "1") as server:
        host, port = server.address.split(":")
        data = json.dumps(body("once")).encode()
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            received = b""
            while (
                received.count(b"HTTP/1.1 200") < 2
                or len(received) % 2
                or received[: len(received) // 2] * 2 != received
            ):
                received += connection.recv(65536)  # or a time-out
        assert sum(event["paid"] for event in server.events("out", 1)) == 1


def test_above_capacity_is_429(tmp_path: Path) -> None:
    with faulty(tmp_path, "--capacity", "2", "--latency", "5") as server:
        in_work = [server.connect() for _ in range(2)]
        for number, connection in enumerate(in_work):
            connection.request("POST", "/v1/chat/completions", json.dumps(body(f"prompt {number}")))
        server.events("in", 2)
        assert server.ask("prompt 2")[0] == 429
        assert [connection.getresponse().status for connection in in_work] == [200, 200]
        assert max(event["open"] for event in server.events("in", 3)) == 3
        assert Counter(event["outcome"] for event in server.events("out", 3)) == {"correct": 2, "full": 1}


def test_an_answer_is_paid_though_its_client_is_gone(tmp_path: Path) -> None:
    with faulty(tmp_path, "--latency", "2") as server:
        connection = server.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(body("bye")))
        server.events("in", 1)
        connection.close()
        assert [(event["paid"], event["sent"]) for event in server.events("out", 1)] == [(True, False)]


@pytest.mark.parametrize("status", [200, 401])
def test_status_for_every_call_repeats_the_key(status: int, tmp_path: Path) -> None:
    with faulty(tmp_path, "--status", str(status)) as server:
        found, headers, data = server.ask("anyone?")
        assert found == status
        assert b"Bearer canary" in data
        assert headers["X-Refused"] == "Bearer canary"
        assert not server.events("out", 1)[0]["paid"]


def test_ends_with_the_pipe_and_says_what_is_incorrect(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "faulty_provider",
        "--port-file",
        str(tmp_path / "port"),
        "--log",
        str(tmp_path / "log"),
    ]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, env={"PYTHONPATH": PATHS})
    until((tmp_path / "port").exists)
    taken = (tmp_path / "port").read_text().strip()
    second = subprocess.run([*command, "--port", taken], env={"PYTHONPATH": PATHS}, capture_output=True, text=True)
    assert second.returncode == 1
    assert f"--port {taken}" in second.stderr
    assert server.stdin
    server.stdin.close()
    assert server.wait(PATIENCE) == 0
    with pytest.raises(UserError, match="shares of faults"):
        main(["--port-file", "x", "--log", "y", "--hang", "0.6", "--reset", "0.6"])
