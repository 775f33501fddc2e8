"""The world's HTTP server, with a teacher that adds two numbers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from adder import PATHS, Adder, running
from m1.client.serving import running_server
from m1.core.errors import UserError
from m1.world.server import Errors, World
from patience import PATIENCE, until

pytestmark = pytest.mark.server


def fetch(base_url: str, method: str, path: str, body: str | None = None) -> tuple[int, str]:
    """Status and text of one HTTP request."""
    connection = http.client.HTTPConnection(base_url.split("/")[2], timeout=PATIENCE)
    connection.request(method, path, body)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def is_open(base_url: str) -> bool:
    try:
        return fetch(base_url, "GET", "/health")[0] == 200
    except OSError:
        return False


def chat(content: str, **more: object) -> str:
    return json.dumps({"model": "adder", "messages": [{"role": "user", "content": content}], **more})


def test_answers_like_an_openai_server() -> None:
    world = World(Adder(), Errors(0, 0, 0, 0))
    with running(world) as url:
        status, text = fetch(url, "POST", "/v1/chat/completions", chat("What is 20 plus 22?"))
        body = json.loads(text)
        assert status == 200
        assert body["choices"][0]["message"] == {
            "role": "assistant",
            "reasoning_content": "Okay, 20 and 22 make 42.",
            "content": "The answer is \\boxed{42}.",
        }
        assert body["choices"][0]["finish_reason"] == "stop"
        assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15}
        assert json.loads(fetch(url, "GET", "/v1/models")[1])["data"][0]["id"] == "world-teacher"
        assert json.loads(fetch(url, "GET", "/health")[1]) == {"status": "ok", "calls": 1}
        assert fetch(url, "GET", "/elsewhere")[0] == fetch(url, "POST", "/elsewhere")[0] == 404
        for incorrect in ("no json", "[]", '{"messages": []}', '{"messages": 1}'):
            assert fetch(url, "POST", "/v1/chat/completions", incorrect)[0] == 400


@pytest.mark.parametrize(
    ("limit", "thinking", "answer", "finish"),
    [
        (3, "Okay, 20 and", "", "length"),
        (8, "Okay, 20 and 22 make 42.", "The answer", "length"),
        (10, None, None, "stop"),
    ],
)
def test_max_tokens_cuts(limit: int, thinking: str | None, answer: str | None, finish: str) -> None:
    status, body = World(Adder(), Errors(0, 0, 0, 0)).complete(
        json.loads(chat("What is 20 plus 22?", max_tokens=limit))
    )
    message = body["choices"][0]["message"]
    assert (status, body["choices"][0]["finish_reason"]) == (200, finish)
    assert body["usage"]["completion_tokens"] == limit
    if thinking is not None:
        assert (message["reasoning_content"], message["content"]) == (thinking, answer)


def test_shares_of_errors_are_as_asked_and_repeat() -> None:
    errors = Errors(incorrect=0.12, empty=0.02, malformed=0.03, seed=3)
    prompts = [f"prompt {n}" for n in range(20_000)]
    outcomes = [errors.outcome(prompt) for prompt in prompts]
    counts = Counter(outcomes)
    for kind, share in {"incorrect": 0.12, "empty": 0.02, "no box": 0.01, "no thinking": 0.01, "html": 0.01}.items():
        assert abs(counts[kind] / 20_000 - share) < 5 * (share / 20_000) ** 0.5
    assert outcomes == [errors.outcome(prompt) for prompt in prompts]
    assert outcomes != [
        Errors(incorrect=0.12, empty=0.02, malformed=0.03, seed=4).outcome(prompt) for prompt in prompts
    ]


def test_flaky_and_html_only_at_the_first_request() -> None:
    world = World(Adder(), Errors(0, 0, malformed=1, flaky=0.5))
    first, second = Counter(), Counter()
    for turn in (first, second):
        for n in range(300):
            status, answer = world.complete(json.loads(chat(f"What is {n} plus 1?")))
            turn[status if status != 200 else "html" if isinstance(answer, str) else "json"] += 1
    assert min(first[429], first[500], first["html"], first["json"]) > 20
    assert set(second) == {"json"}


def served_adder(*flags: str) -> list[str]:
    return ["adder", *flags]


def test_served_starts_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    with running_server(served_adder(), PATIENCE) as url:
        assert is_open(url)
    assert not is_open(url)
    with pytest.raises(RuntimeError, match="inside"), running_server(served_adder(), PATIENCE) as url:
        raise RuntimeError("inside")
    assert not is_open(url)


def test_a_server_that_dies_or_keeps_silent_is_shown_with_its_last_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)
    with (
        pytest.raises(UserError, match=r"(?s)ended with exit code 1.*`serve`.*error: --incorrect: 7\.0; a share"),
        running_server(served_adder("--incorrect", "7"), PATIENCE),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"(?s)does not answer after 0\.01 s.*serve_seconds"),
        running_server(served_adder(), 0.01),
    ):
        pass


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_server_ends_with_its_client(end: signal.Signals, tmp_path: Path) -> None:
    lines = [
        "import time",
        "from m1.client.serving import running_server",
        f"with running_server(['adder'], {PATIENCE}) as url:",
        "    print(url, flush=True)",
        f"    time.sleep({PATIENCE})",
    ]
    client = subprocess.Popen(
        [sys.executable, "-c", "\n".join(lines)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": PATHS, "TMPDIR": str(tmp_path)},
    )
    assert client.stdout
    url = client.stdout.readline().strip()
    assert is_open(url)
    client.send_signal(end)
    client.wait()
    client.stdout.close()
    until(lambda: not is_open(url))
    assert end == signal.SIGKILL or list(tmp_path.iterdir()) == [], "after SIGTERM nothing is left behind"
