"""The client against the real server over HTTP: what is repeated, what ends the run, and that nothing is asked
twice."""

from __future__ import annotations

import http.server
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import batch_server
import pytest
from adder import Adder, running
from m1.client import attempt as attempts
from m1.client import scheduler
from m1.client.attempt import excerpt, retry_after
from m1.client.complete import Completion, Provider, Request, Spending, complete_all
from m1.client.completion import split_message
from m1.core.errors import UserError
from m1.core.store import Store
from m1.world.server import Errors, World
from patience import PATIENCE, REACHED
from providers import REQUESTS, SETTINGS, provider
from serving import serving

pytestmark = pytest.mark.server


class Scripted(World):
    """A world that answers some prompts otherwise: number of the request for the prompt (from 0) to status and body."""

    def __init__(self, script: Any) -> None:
        super().__init__(Adder(), Errors(0, 0, 0, 0))
        self.script = script
        self.times: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.now = self.most = 0
        self.guard = threading.Lock()

    def complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        prompt = body["messages"][0]["content"]
        with self.guard:
            number = self.times[prompt]
            self.times[prompt] += 1
            self.bodies.append(body)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.script(prompt, number) or super().complete(body)
        finally:
            with self.guard:
                self.now -= 1


def failure(world: World, folder: Path, requests: list[Request] = REQUESTS, **changes: Any) -> str:
    """The message of a run that must fail."""
    with running(world) as url, Store(folder) as store, pytest.raises(UserError) as caught:
        complete_all(requests, provider(base_url=url, **changes), store, "test")
    return str(caught.value)


def test_flaky_provider_gives_every_answer_and_a_second_run_asks_nothing(tmp_path: Path) -> None:
    world = World(Adder(), Errors(incorrect=0, empty=0, malformed=0.3, flaky=0.3))
    requests = [Request(f"What is {n} plus 1?") for n in range(120)]
    with running(world) as url:
        with Store(tmp_path) as store:
            first, spending = complete_all(requests, provider(base_url=url), store, "test")
        calls = world.calls
        assert calls > 120 + 10, "some were asked again"
        assert (spending.calls, spending.calls_made) == (120, 120)
        assert spending.dollars == spending.dollars_now > 0
        with Store(tmp_path) as store:
            second, again = complete_all(requests, provider(base_url=url, concurrency=1), store, "test")
        assert (world.calls, list(second)) == (calls, list(first))
        assert (again.calls, again.calls_made, again.dollars, again.dollars_now) == (120, 0, spending.dollars, 0)
    assert [c.key for c in first] == [request.key(provider()) for request in requests]
    for n, completion in enumerate(first):
        assert str(n + 1) in completion.answer
    assert {bool(c.thinking) for c in first} == {True, False}, "answers without thinking are answers too"


def test_equal_requests_are_one_call_and_the_seed_makes_another(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: None)
    with running(world) as url, Store(tmp_path) as store:
        complete_all(
            [REQUESTS[0], REQUESTS[0], Request(REQUESTS[0].prompt, seed=1)], provider(base_url=url), store, "test"
        )
    assert sorted(body.get("seed", 0) for body in world.bodies) == [0, 1]
    assert world.bodies[0].keys() <= {"model", "messages", "temperature", "max_tokens", "seed"}


def test_only_what_decides_the_answer_is_in_the_key() -> None:
    key = REQUESTS[0].key(provider())
    same = {
        "base_url": "http://elsewhere/v1",
        "concurrency": 1,
        "timeout": 9,
        "max_retries": 9,
        "price_prompt": 9,
        "name": "x",
        "rule": None,
        "notes": None,
    }
    assert all(REQUESTS[0].key(provider(**{name: value})) == key for name, value in same.items())
    other = {"model": "x", "temperature": None, "max_tokens": 9}
    assert len({key, *[REQUESTS[0].key(provider(**{name: value})) for name, value in other.items()]}) == 4


def test_concurrency_is_bounded(tmp_path: Path) -> None:
    five = threading.Event()

    def answer(prompt: str, number: int) -> None:
        if world.now == 5:
            five.set()
        if len(world.times) > 1:  # the first call is alone
            assert five.wait(PATIENCE)
        time.sleep(0.02)

    world = Scripted(answer)
    with running(world) as url, Store(tmp_path) as store:
        complete_all(REQUESTS, provider(base_url=url, concurrency=5), store, "test")
    assert world.most == 5


@pytest.mark.parametrize(
    "answer",
    [
        (408, {}),
        (409, {}),
        (429, {}),
        (500, {}),
        (503, "<html>"),
        (200, ""),
        (200, "<html>"),
        (200, {"error": {"message": "busy"}}),
        (200, []),
        (200, {"choices": [{"message": {"content": ["parts"]}}]}),
    ],
    ids=str,
)
def test_passing_failures_are_repeated(tmp_path: Path, answer: tuple[int, Any]) -> None:
    world = Scripted(lambda prompt, number: answer if number == 0 else None)
    with running(world) as url, Store(tmp_path) as store:
        [completion], _ = complete_all([REQUESTS[0]], provider(base_url=url), store, "test")
    assert completion.answer == "The answer is \\boxed{1}."
    assert world.times[REQUESTS[0].prompt] == 2


def test_a_call_without_answer_in_time_is_repeated(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: time.sleep(2 * REACHED) if number == 0 else None)
    with running(world) as url, Store(tmp_path) as store:
        [completion], _ = complete_all([REQUESTS[0]], provider(base_url=url, timeout=REACHED), store, "test")
    assert "boxed" in completion.answer


def test_http_500_for_ever_ends_after_the_retries(tmp_path: Path) -> None:
    message = failure(World(Adder(), Errors(), broken=True), tmp_path, max_retries=3)
    assert "/v1: a call of model adder-1 failed 4 times, the last time with: HTTP 500" in message
    assert "out of order" in message
    assert f"0 of 40 calls of this run are kept in {tmp_path}; the same command goes on" in message


def test_a_provider_that_breaks_in_the_middle_ends_the_run_and_what_is_finished_is_kept(tmp_path: Path) -> None:
    world: Scripted = Scripted(lambda prompt, number: (500, {}) if sum(world.times.values()) > 20 else time.sleep(0.02))
    message = failure(world, tmp_path, max_retries=0)
    with Store(tmp_path) as store:
        kept = [request for request in REQUESTS if request.key(provider()) in store]
    assert 18 <= len(kept) <= 22
    assert sum(world.times.values()) < len(kept) + 20, "it is not asked everything once, when it is out of order"
    assert f"{len(kept)} of 40 calls of this run are kept" in message
    world = Scripted(lambda prompt, number: None)
    with running(world) as url, Store(tmp_path) as store:
        completions, spending = complete_all(REQUESTS, provider(base_url=url), store, "test")
    assert spending.calls_made == sum(world.times.values()) == 40 - len(kept)
    assert len(completions) == 40


def test_nothing_listens(tmp_path: Path) -> None:
    with (
        Store(tmp_path) as store,
        pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1: no connection \(.*\), tried 3 times\. Check base_url"),
    ):
        complete_all(REQUESTS, provider(max_retries=9), store, "test")


def test_a_call_that_fails_to_the_end_does_not_keep_the_others_from_being_made(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: (500, {"error": "cannot"}) if prompt == REQUESTS[5].prompt else None)
    message = failure(world, tmp_path, max_retries=1)
    assert world.times[REQUESTS[5].prompt] == 2
    assert "a call of model adder-1 failed 2 times, the last time with: HTTP 500" in message
    assert "39 of 40 calls of this run are kept" in message


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "Check the key in the environment variable M1_TEST_KEY"),
        (402, "credit"),
        (403, "M1_TEST_KEY"),
        (404, "'adder-1'"),
    ],
)
def test_key_credit_and_model_end_the_run_at_once(
    tmp_path: Path, status: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M1_TEST_KEY", "sk-secret")
    world = Scripted(lambda prompt, number: (status, {"error": {"message": "no: sk-secret"}}))
    message = failure(world, tmp_path, api_key_env="M1_TEST_KEY", concurrency=64)
    assert sum(world.times.values()) == 1
    assert f"HTTP {status}" in message
    assert remedy in message
    assert "sk-secret" not in message


def test_missing_key_is_told_before_any_call_and_only_if_one_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("M1_TEST_KEY", raising=False)
    world = Scripted(lambda prompt, number: None)
    assert "environment variable M1_TEST_KEY is not set" in failure(world, tmp_path, api_key_env="M1_TEST_KEY")
    assert world.calls == 0
    with running(Scripted(lambda prompt, number: None)) as url, Store(tmp_path) as store:
        complete_all(REQUESTS, provider(base_url=url), store, "test")
        complete_all(REQUESTS, provider(api_key_env="M1_TEST_KEY"), store, "test")


def test_a_refused_call_is_kept_as_such_and_not_asked_again(tmp_path: Path) -> None:
    world = Scripted(
        lambda prompt, number: (400, {"error": {"message": "content filter"}}) if prompt == REQUESTS[3].prompt else None
    )
    with running(world) as url, Store(tmp_path) as store:
        for made in (39, 0):
            completions, spending = complete_all(REQUESTS, provider(base_url=url), store, "test")
            assert completions[3] == Completion(REQUESTS[3].key(provider()), "", "", "refused", 0, 0)
            assert (spending.calls, spending.calls_made, spending.refused) == (39, made, 1)
        assert store.get(REQUESTS[3].key(provider()))["refused"]["status"] == 400
        assert "content filter" in store.get(REQUESTS[3].key(provider()))["refused"]["message"]
    assert sum(world.times.values()) == 40


def test_many_refused_calls_are_an_error_and_none_of_them_is_kept(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: (422, {}) if prompt in {REQUESTS[n].prompt for n in (3, 9)} else None)
    message = failure(world, tmp_path)
    assert "2 calls were refused, the last one with: HTTP 422" in message
    with Store(tmp_path) as store:
        assert not [key for key in store if "refused" in store.get(key)]


def test_wrong_settings_that_the_provider_refuses_are_told_after_three_calls(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: (400, {"error": {"message": "Model Not Exist"}}))
    message = failure(world, tmp_path, [Request(str(n)) for n in range(1000)])
    assert world.calls + sum(world.times.values()) == 3
    assert "Model Not Exist" in message


@pytest.mark.parametrize(
    ("message", "thinking", "answer"),
    [
        ({"content": "A", "reasoning_content": " T "}, "T", "A"),
        ({"content": "A", "reasoning": "T"}, "T", "A"),
        ({"content": "A", "reasoning": "T", "reasoning_content": None}, "T", "A"),
        ({"content": "<think>\nT\n</think>\n\nA"}, "T", "A"),
        ({"content": "T\n</think>\nA"}, "T", "A"),
        ({"content": "<think>T without end"}, "T without end", ""),
        ({"content": "<think>T <think> more</think>A"}, "T <think> more", "A"),
        ({"content": " A "}, "", "A"),
        ({"content": None, "reasoning_content": "T"}, "T", ""),
        ({}, "", ""),
    ],
)
def test_thinking_is_found_in_every_form(message: dict[str, Any], thinking: str, answer: str) -> None:
    assert split_message(message) == (thinking, answer)


@pytest.mark.parametrize(
    ("content", "thinking", "answer"),
    [
        ("\n\n## Thinking\n\nT\n\n## Final Response\n\nA", "T", "A"),
        ("T\n## Final Response\nA", "T", "A"),
        (
            "## Thinking\nT ## Thinking ## Final Response A ## Final Response B",
            "T ## Thinking",
            "A ## Final Response B",
        ),
        ("## Final Response\nA", "", "A"),
        ("## Thinking\nT without end", "T without end", ""),
        ("A ## Thinking", "", "A ## Thinking"),
        ("<think>T</think>A", "", "<think>T</think>A"),
    ],
)
def test_thinking_is_found_by_the_marks_of_the_configuration(content: str, thinking: str, answer: str) -> None:
    marks = provider(thinking_start="## Thinking", thinking_end="## Final Response").marks
    assert split_message({"content": content}, marks) == (thinking, answer)
    assert split_message({"content": content, "reasoning_content": "R"}, marks) == ("R", content.strip())


def test_nothing_is_taken_off_where_nothing_stands_before_thinking() -> None:
    marks = provider(thinking_start=None, thinking_end="####").marks
    assert split_message({"content": "<think> 1 + 1 #### 2"}, marks) == ("<think> 1 + 1", "2")
    assert split_message({"content": "<think> 1 + 1"}, marks) == ("", "<think> 1 + 1")


def test_tokens_of_thinking_follow_the_marks(tmp_path: Path) -> None:
    said = ANSWER | {"choices": [{"message": {"content": "TTTTTT##AAA"}, "finish_reason": "stop"}]}
    with bare(lambda number: (200, {}, said)) as server, Store(tmp_path) as store:
        chosen = provider(base_url=server.url, thinking_end="##")
        _, spending = complete_all([Request("Q")], chosen, store, "test")
    assert (spending.thinking_tokens, spending.answer_tokens) == (667, 333)


@pytest.mark.parametrize("batch", [None, {"window": "24h", "size": 5, "poll_seconds": 0.01, "discount": 0.5}])
def test_a_watch_ends_the_run_and_loses_nothing(
    tmp_path: Path, batch: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live and by batches: what was answered is kept, and the next run asks for the rest alone."""
    monkeypatch.setenv("M1_TEST_KEY", batch_server.KEY)
    told: list[str] = []

    def watch(completion: Completion) -> UserError | None:
        told.append(completion.key)
        return UserError("enough") if len(told) == 7 else None

    with serving(batch_server.BatchServer()) as server, bare() as live, Store(tmp_path) as store:
        url, model = (server.url, "adder") if batch else (live.url, "adder-1")
        chosen = provider(base_url=url, model=model, batch=batch, concurrency=2, api_key_env="M1_TEST_KEY")
        with pytest.raises(UserError, match="enough"):
            complete_all(REQUESTS, chosen, store, "test", watch)
        assert 7 <= len(store) < 40
        complete_all(REQUESTS, chosen, store, "test", watch)
        assert (len(told), len(set(told)), len(store)) == (40, 40, 40)
        assert (sum(server.paid.values()) if batch else len(live.seen)) == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nane": 1}, "teacher: unknown key nane. Known are name, model"),
        ({"concurrency": 0}, "teacher.concurrency: 0; at least 1"),
        ({"concurrency": "8"}, "teacher.concurrency: '8'; int is needed"),
        ({"temperature": "hot"}, "teacher.temperature: 'hot'; float or null"),
        ({"max_tokens": True}, "teacher.max_tokens: True"),
        ({"base_url": None}, "exactly one of base_url"),
        ({"base_url": "localhost:8000/v1"}, "teacher.base_url: an address such as https://host/v1"),
        ({"base_url": "https://host:port/v1"}, "teacher.base_url"),
        ({"base_url": "https://me:sk-1@host/v1"}, "teacher.base_url: it holds a name or password"),
        ({"timeout": 0}, "teacher.timeout: 0; more than 0"),
        ({"requests_per_minute": 0.0}, "teacher.requests_per_minute: 0.0; more than 0"),
        ({"max_dollars": -1}, "teacher.max_dollars: -1; at least 0"),
        ({"max_dollars": float("nan")}, "teacher.max_dollars: nan"),
        (
            {"limit_field": "max_new_tokens"},
            "teacher.limit_field: 'max_new_tokens'; max_tokens or max_completion_tokens",
        ),
        ({"extra": {"n": 2, "stream": True}}, "teacher.extra: n, stream cannot"),
        ({"extra": None}, "teacher.extra: None; dict is needed"),
        ({"extra": "ABCDEFGH12345678"}, "teacher.extra: a text; dict is needed"),
        ({"batch": {"window": "24h"}}, "teacher.batch: no key size, poll_seconds, discount"),
        ({"batch": {"window": "24h", "size": 0, "poll_seconds": 60, "discount": 0.5}}, "teacher.batch.size: 0"),
        ({"batch": {"window": "24h", "size": 9, "poll_seconds": 60, "discount": 50}}, "teacher.batch.discount: 50"),
        ({"serve": ["m1.world.server"]}, "exactly one of base_url"),
    ],
)
def test_wrong_settings_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        provider(**changes)


def test_missing_setting_is_told() -> None:
    with pytest.raises(UserError, match="labeller: no key model, timeout"):
        Provider.from_settings(
            {name: value for name, value in SETTINGS.items() if name not in {"model", "timeout"}}, "labeller"
        )


ANSWER = {
    "model": "adder-1",
    "choices": [
        {"message": {"role": "assistant", "content": "A", "reasoning_content": "TTT"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 1000, "total_tokens": 1100},
}
Reply = tuple[int, dict[str, str], Any]
"""Status, headers, and body: JSON, or bytes as they are."""


class Bare(http.server.ThreadingHTTPServer):
    """A server that answers as a script says: number of the request (from 0) to a reply; None is :data:`ANSWER`."""

    request_queue_size = 256

    def __init__(self, script: Callable[[int], Reply | None]) -> None:
        super().__init__(("127.0.0.1", 0), _BareHandler)
        self.script, self.guard = script, threading.Lock()
        self.seen: list[tuple[float, str, dict[str, str], dict[str, Any]]] = []
        """Time, path, headers in lower case, and body of each request."""
        self.sent = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class _BareHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Bare

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            number = len(self.server.seen)
            self.server.seen.append(
                (time.monotonic(), self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            )
        status, headers, content = self.server.script(number) or (200, {}, ANSWER)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def bare(script: Callable[[int], Reply | None] = lambda number: None) -> AbstractContextManager[Bare]:
    return serving(Bare(script))


def test_what_decides_the_answer_and_where_it_stands_in_the_body() -> None:
    request = Request("Q", seed=2)
    assert request.body(provider()) == {
        "model": "adder-1",
        "messages": [{"role": "user", "content": "Q"}],
        "temperature": 0,
        "max_tokens": 8000,
        "seed": 2,
    }
    # The key of a call of the first release: stores that exist stay valid.
    assert Request("Q").key(provider()) == FIRST_KEY
    other = provider(
        limit_field="max_completion_tokens", extra={"top_p": 0.95, "temperature": None, "thinking_budget": 4096}
    )
    assert request.body(other) == {
        "model": "adder-1",
        "messages": [{"role": "user", "content": "Q"}],
        "max_completion_tokens": 8000,
        "top_p": 0.95,
        "thinking_budget": 4096,
        "seed": 2,
    }
    same = {"requests_per_minute": 9, "tokens_per_minute": 9, "deadline": 9, "max_dollars": 9, "batch": BATCH}
    assert {request.key(provider(**{name: value})) for name, value in same.items()} == {request.key(provider())}


FIRST_KEY = "f1a8b6f618cd2ca562dfb3634d696e26ac3657dfa480695b960c3a2b8d6108d1"
BATCH = {"window": "24h", "size": 10_000, "poll_seconds": 60.0, "discount": 0.5}


@pytest.mark.parametrize(
    ("changes", "path", "fields"),
    [
        (  # SiliconFlow: POST /v1/chat/completions with thinking_budget (128 to 32768) beside max_tokens
            {"model": "deepseek-ai/DeepSeek-R1", "temperature": 0.6, "extra": {"thinking_budget": 4096, "top_p": 0.95}},
            "/v1/chat/completions",
            {"temperature": 0.6, "max_tokens": 8000, "thinking_budget": 4096, "top_p": 0.95},
        ),
        (  # DeepSeek: POST /chat/completions, base_url without /v1, thinking by a field of its own; no temperature
            {
                "model": "deepseek-v4-flash",
                "temperature": None,
                "extra": {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
            },
            "/chat/completions",
            {"max_tokens": 8000, "thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        ),
    ],
    ids=["siliconflow", "deepseek"],
)
def test_requests_on_the_wire_are_what_the_provider_documents(
    tmp_path: Path, changes: dict[str, Any], path: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M1_TEST_KEY", "sk-canary")
    answer = ANSWER | {"model": changes["model"]}
    with bare(lambda number: (200, {}, answer)) as server, Store(tmp_path) as store:
        url = server.url.removesuffix("/v1") + path.removesuffix("/chat/completions")
        complete_all([Request("Q")], provider(base_url=url, api_key_env="M1_TEST_KEY", **changes), store, "test")
    [(_, asked, headers, body)] = server.seen
    assert asked == path
    assert headers["authorization"] == "Bearer sk-canary"
    assert headers["content-type"] == "application/json"
    assert body == {"model": changes["model"], "messages": [{"role": "user", "content": "Q"}], **fields}


def test_what_is_kept_and_how_its_tokens_are_shared_out(tmp_path: Path) -> None:
    with bare() as server, Store(tmp_path) as store:
        answers, spending = complete_all([Request("Q")], provider(base_url=server.url), store, "test")
        value = store.get(answers[0].key)
    assert value.keys() == {"message", "finish_reason", "usage", "seconds", "served"}
    assert (value["served"], value["usage"]) == ("adder-1", ANSWER["usage"])
    assert 0 < answers[0].seconds == value["seconds"]
    assert (answers[0].thinking_tokens, answers[0].answer_tokens) == (750, 250)
    assert (spending.thinking_tokens, spending.answer_tokens, spending.completion_tokens) == (750, 250, 1000)
    usage = {"prompt_tokens": 1, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 8}}
    assert Completion.from_value("k", value | {"usage": usage}).thinking_tokens == 8
    for odd in (None, {}, {"completion_tokens": None, "completion_tokens_details": None}, {"prompt_tokens": "7"}):
        assert Completion.from_value("k", value | {"usage": odd}).completion_tokens == 0
    old = {name: value[name] for name in ("message", "finish_reason", "usage")}
    assert Completion.from_value("k", old).seconds == 0


def test_answers_are_a_sequence_that_is_read_when_asked(tmp_path: Path) -> None:
    with running(World(Adder(), Errors(0, 0, 0, 0))) as url, Store(tmp_path) as store:
        answers, _ = complete_all([*REQUESTS, REQUESTS[0]], provider(base_url=url), store, "test")
        assert len(answers) == 41
        assert answers[40] == answers[-1] == answers[0] != answers[1]
        assert answers[3:5] == [answers[3], answers[4]]
        with pytest.raises(IndexError):
            answers[41]


def test_asked_to_slow_down_is_no_failure_and_all_wait(tmp_path: Path) -> None:
    slow_down: Reply = (429, {"Retry-After": "1"}, {})
    with bare(lambda number: slow_down if number in {0, 5, 6, 7} else None) as server, Store(tmp_path) as store:
        _, spending = complete_all(REQUESTS, provider(base_url=server.url, max_retries=0, concurrency=1), store, "test")
    assert spending.calls_made == 40
    assert spending.failures == {"429": 4}
    times = [seen[0] for seen in server.seen]
    for number in (0, 5, 6, 7):
        assert times[number + 1] - times[number] >= 1


def test_a_pause_beyond_the_deadline_ends_the_run(tmp_path: Path) -> None:
    with (
        bare(lambda number: (429, {"Retry-After": "3600"}, {}) if number == 9 else None) as server,
        Store(tmp_path) as store,
        pytest.raises(
            UserError,
            match=r"to be left alone for 3,600 s, beyond the deadline of 60 s.* of 40 calls of this run are kept",
        ),
    ):
        complete_all(REQUESTS, provider(base_url=server.url, deadline=60), store, "test")


def test_a_pause_of_days_ends_the_run_without_a_deadline(tmp_path: Path) -> None:
    days: Reply = (503, {"Retry-After": "864000"}, {})
    said = r"/v1: asks to be left alone for 864,000 s, and a run waits for 3,600 s at most\. Run again later\. 9 of 40"
    with (
        bare(lambda number: days if number == 9 else None) as server,
        Store(tmp_path) as store,
        pytest.raises(UserError, match=said),
    ):
        complete_all(REQUESTS, provider(base_url=server.url, concurrency=1), store, "test")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("first", [True, False])
def test_redirects_are_not_followed_and_their_answers_not_kept(tmp_path: Path, status: int, first: bool) -> None:
    """Neither at the beginning nor after answers; the other host would see the question."""
    with bare() as stranger, ExitStack() as stack:
        away: Reply = (status, {"Location": f"{stranger.url}/chat/completions"}, {})
        server = stack.enter_context(bare(lambda number: away if first or number == 5 else None))
        said = rf"{server.url}: HTTP {status}, a redirect to {stranger.url}/chat/completions\. It is not followed"
        with Store(tmp_path) as store, pytest.raises(UserError, match=said):
            complete_all(REQUESTS, provider(base_url=server.url, concurrency=1), store, "test")
        assert (len(stranger.seen), len(server.seen)) == (0, 1 if first else 6)
    with Store(tmp_path) as store:
        assert len(store) == (0 if first else 5)


def test_an_answer_of_another_model_is_refused_and_counts(tmp_path: Path) -> None:
    settings = {"concurrency": 1, "max_tokens": 2000}
    with bare(lambda number: (200, {}, ANSWER | {"model": "adder-2" if number == 3 else "adder-1"})) as server:
        said = r"/v1: 'adder-2' answered, and 'adder-1' was asked; the answer is not kept.*served_as of adder"
        with Store(tmp_path) as store, pytest.raises(UserError, match=said):
            complete_all(REQUESTS, provider(base_url=server.url, **settings), store, "test")
        with Store(tmp_path) as store, pytest.raises(UserError, match=r"at most \$0\.020\d more"):
            complete_all(REQUESTS, provider(base_url=server.url, max_dollars=0.06, **settings), store, "test")
    with bare(lambda number: (200, {}, ANSWER | {"model": "adder-2"})) as server, Store(tmp_path) as store:
        assert len(store) == 3
        chosen = provider(base_url=server.url, served_as=["adder-2"])
        assert complete_all(REQUESTS, chosen, store, "test")[1].calls == 40


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("gpt-4o", "gpt-4o-2024-11-20", True),
        ("gpt-4", "gpt-4-0613", True),
        ("claude-sonnet-4-latest", "claude-sonnet-4-20250514", True),
        ("gemini-1.5-pro", "models/gemini-1.5-pro-002", True),
        ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-05-20", True),
        ("deepseek/deepseek-r1", "deepseek-r1-0528", True),
        ("deepseek-ai/DeepSeek-R1", "deepseek-r1", True),
        ("Pro/deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1", True),
        ("llama3", "llama3:latest", True),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct@main", True),
        ("/models/SmolLM2", "/models/SmolLM2@refs/pr/3", True),
        ("a/m@v1", "a/m@v1", True),
        ("a/m@v1", "a/m@v2", False),
        ("a/m", "a/n@main", False),
        ("@cf/meta/llama-3", "@cf/meta/llama-3", True),
        ("llama-3", "@cf/meta/llama-3", True),
        ("llama-3", "@cf/meta/llama-2", False),
        ("m", None, True),
        ("m", "", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("gpt-4", "gpt-4o", False),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-11-20", False),
        ("gpt-4o-2024-11-20", "gpt-4o", False),
        ("deepseek-ai/DeepSeek-R1", "other/DeepSeek-R1", False),
        ("deepseek-r1", "deepseek-r1-distill-qwen-7b", False),
        ("qwen2.5-7b", "qwen2.5-72b", False),
        ("m1", "m2", False),
    ],
)
def test_names_of_one_model(asked: str, served: str | None, same: bool) -> None:
    assert provider(model=asked).is_served_by(served) == same
    assert provider(model=asked, served_as=["x", served or ""]).is_served_by(served)


def endless(stream: Callable[[], Iterator[bytes]], headers: dict[str, str], status: int = 200) -> type[_BareHandler]:
    """A handler whose body has no end; what it could send before the client hung up is in ``sent`` of its server."""

    class Endless(_BareHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                for piece in stream():
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    with self.server.guard:
                        self.server.sent += len(piece)

    return Endless


CHUNKED = {"Transfer-Encoding": "chunked"}


@pytest.mark.parametrize("kind", ["answer", "error", "redirect", "compressed"])
def test_a_body_without_end_is_not_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that unpacks to a gigabyte: 1 MB of it is one of zeros, a thousand times as long."""
    monkeypatch.setattr(scheduler, "BACKOFF", 0.01)
    status = {"error": 500, "redirect": 302}.get(kind, 200)
    headers = CHUNKED | {"redirect": {"Location": "/v2"}, "compressed": {"Content-Encoding": "gzip"}}.get(kind, {})
    zeros = b"0" * (1 << 20)

    def stream() -> Iterator[bytes]:
        packer = zlib.compressobj(9, wbits=31)
        while True:
            yield packer.compress(zeros) + packer.flush(zlib.Z_SYNC_FLUSH) if kind == "compressed" else zeros

    server = Bare(lambda number: None)
    server.RequestHandlerClass = endless(stream, headers, status)
    said = r"/v1: a call of model adder-1 failed 2 times, the last time with: a body of more than 33,554,432 bytes"
    with serving(server), Store(tmp_path) as store, pytest.raises(UserError, match=said):
        complete_all(REQUESTS, provider(base_url=server.url, max_retries=1, concurrency=1), store, "test")
    assert server.sent < 100 << 20


def test_the_deadline_ends_the_run_and_calls_in_flight_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = 0.0

    def answer(prompt: str, number: int) -> None:
        nonlocal late
        if len(world.times) == 4:
            late = 600
        time.sleep(0.3)

    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late))
    world = Scripted(answer)
    message = failure(world, tmp_path, deadline=500, concurrency=2)
    with Store(tmp_path) as store:
        assert 4 <= len(store) == sum(world.times.values()) <= 6
        assert f"the deadline of 500 s is over. Run again, or raise deadline. {len(store)} of 40 calls" in message


def test_a_content_filter_that_answers_200_or_403_refuses(tmp_path: Path) -> None:
    replies: dict[int, Reply] = {
        2: (200, {}, {"error": {"code": "content_filter", "message": "no"}, "choices": None}),
        3: (403, {}, {"error": {"message": "Input flagged by moderation"}}),
    }
    with bare(replies.get) as server, Store(tmp_path) as store:
        requests = [Request(str(n)) for n in range(300)]
        answers, spending = complete_all(requests, provider(base_url=server.url, concurrency=1), store, "test")
        assert (spending.refused, len(server.seen), answers[2].finish_reason) == (2, 300, "refused")


def test_a_key_that_goes_unencrypted_to_another_machine_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    provider(base_url="http://api.example.com/v1", api_key_env="M1_TEST_KEY")
    assert "[teacher] http://api.example.com/v1: the key goes there unencrypted" in capsys.readouterr().err
    provider(base_url="http://127.0.0.1:9/v1", api_key_env="M1_TEST_KEY")
    provider(base_url="http://api.example.com/v1")
    assert not capsys.readouterr().err


def test_a_placeholder_for_a_key_is_not_taken_out_of_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_TEST_KEY", "EMPTY")
    answer = {"choices": [{"message": {"content": "none of these; EMPTY"}, "finish_reason": "stop"}]}
    with bare(lambda number: (200, {}, answer)) as server:
        for name in (None, "M1_TEST_KEY"):
            with Store(tmp_path / str(name)) as store:
                [completion], _ = complete_all(
                    [Request("Q")], provider(base_url=server.url, api_key_env=name), store, "test"
                )
            assert completion.answer == "none of these; EMPTY"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": formatdate(1000, usegmt=True), "date": formatdate(880, usegmt=True)}, 120),
        ({"retry-after": formatdate(1000, usegmt=True)}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_what_a_server_said_can_be_printed() -> None:
    assert excerpt({"error": "half \ud800"}).encode() == b'{"error": "half ?"}'


def test_requests_per_minute_are_kept(tmp_path: Path) -> None:
    with bare() as server, Store(tmp_path) as store:
        complete_all(
            REQUESTS[:13], provider(base_url=server.url, requests_per_minute=600, concurrency=13), store, "test"
        )
    times = [seen[0] for seen in server.seen]
    assert 0.8 < times[-1] - times[0] < 10, "1.2 s, but for what the machine holds up"


def test_max_dollars_is_never_passed_and_what_was_paid_before_counts(tmp_path: Path) -> None:
    # An answer costs 100 + 10 x 1,000 millionths of a dollar: $0.0101. The worst: at most 150 + 10 x 2,000, $0.0202.
    settings = {"max_tokens": 2000, "concurrency": 8, "max_dollars": 0.2}
    with bare(lambda number: time.sleep(0.02)) as server, Store(tmp_path) as store:
        for kept, paid in ((18, "0.1818"), (18, "0.1818")):
            with pytest.raises(
                UserError, match=rf"\${paid} are paid .* may cost \$0\.020\d: max_dollars, 0\.2000, would be passed"
            ):
                complete_all(REQUESTS, provider(base_url=server.url, **settings), store, "test")
            assert len(store) == kept == len(server.seen)
        _, spending = complete_all(
            REQUESTS, provider(base_url=server.url, **settings | {"max_dollars": 0.42}), store, "test"
        )
    assert (spending.dollars, spending.dollars_now) == (0.404, 0.2222)


@pytest.mark.parametrize(
    "usage",
    [
        "absent",
        None,
        {},
        {"input_tokens": 100, "output_tokens": 1000},
        {"prompt_tokens": "100", "completion_tokens": "1000"},
        {"prompt_tokens": 100, "completion_tokens": -1000},
        {"prompt_tokens": 100, "completion_tokens": float("nan")},
        {"prompt_tokens": True, "completion_tokens": False},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 2**63, "completion_tokens": 5},
        [100, 1000],
    ],
    ids=str,
)
def test_max_dollars_holds_whatever_usage_is(tmp_path: Path, usage: Any) -> None:
    """A call may cost up to 150 + 10 x 2,000 millionths of a dollar, $0.0202: four fit."""
    answer = {name: value for name, value in ANSWER.items() if name != "usage"}
    answer |= {} if usage == "absent" else {"usage": usage}
    settings = {"max_tokens": 2000, "max_dollars": 0.09}
    with bare(lambda number: (200, {}, answer)) as server:
        for _ in range(3):
            said = rf"\$0\.0000 are paid .* at most \$0\.080\d more .* would be passed.* kept in {tmp_path}"
            with Store(tmp_path) as store, pytest.raises(UserError, match=said):
                complete_all(REQUESTS, provider(base_url=server.url, **settings), store, "test")
            assert len(server.seen) == 4
        with Store(tmp_path) as store:
            chosen = provider(base_url=server.url, **settings | {"max_dollars": 2.0})
            _, spending = complete_all(REQUESTS, chosen, store, "test")
    assert (spending.uncounted, spending.completion_tokens) == (40, 0)
    assert spending.dollars == spending.dollars_at_most == pytest.approx(40 * 0.0201, rel=0.01)
    assert "40 without countable usage ($0.80 of the sum, at most)" in str(spending)


TORN: Reply = (200, {}, b'{"choices": [{"mess')


@pytest.mark.parametrize("lost", [TORN, (200, {"Content-Length": "999"}, b"{"), (504, {}, {}), (524, {}, {})], ids=str)
def test_lost_answers_count_at_their_worst_also_for_later_runs(
    tmp_path: Path, lost: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "BACKOFF", 0.01)
    settings = {"max_tokens": 2000, "max_dollars": 0.1, "max_retries": 99, "concurrency": 1, "timeout": 1}
    with bare(lambda n: lost if n else None) as server:
        for _ in range(3):
            said = r"\$0\.0101 are paid .* at most \$0\.08\d\d more .* would be passed"
            with Store(tmp_path) as store, pytest.raises(UserError, match=said):
                complete_all(REQUESTS, provider(base_url=server.url, **settings), store, "test")
            assert len(server.seen) == 5


def test_what_costs_nothing_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of the provider, and calls that it refuses or slows down; no journal is left."""
    monkeypatch.setattr(scheduler, "BACKOFF", 0.01)
    script: dict[int, Reply] = {1: (500, {}, {}), 2: (429, {}, {}), 3: (503, {}, {}), 4: (400, {}, {})}
    settings = {"max_tokens": 2000, "max_dollars": 0.8, "concurrency": 1}
    with bare(script.get) as server, Store(tmp_path) as store:
        _, spending = complete_all(REQUESTS, provider(base_url=server.url, **settings), store, "test")
    assert (len(server.seen), spending.refused, spending.lost, spending.dollars_lost) == (43, 1, 0, 0.0)
    assert not list(tmp_path.glob("spending-*"))


def test_what_a_run_lost_is_in_its_spending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "BACKOFF", 0.01)
    with bare(lambda n: TORN if n in {3, 5} else None) as server, Store(tmp_path) as store:
        chosen = provider(base_url=server.url, concurrency=1, max_tokens=2000)
        _, spending = complete_all(REQUESTS, chosen, store, "test")
    assert (spending.lost, spending.failures) == (2, {"no completion": 2})
    assert spending.dollars_lost == pytest.approx(0.0402, rel=0.01)
    assert spending.dollars == pytest.approx(40 * 0.0101)
    assert "at most $0.04 more for 2 lost on the way" in str(spending)


def test_odd_answers_are_named_by_question_and_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {**ANSWER, "choices": [{"message": {"content": "A\ud800"}, "finish_reason": 7}]}
    requests = [Request(f"Q{n}", question=f"q{n}") for n in range(9)]
    with bare(lambda n: (200, {}, odd) if n < 7 else None) as server:
        for _ in range(2):
            with Store(tmp_path) as store:
                chosen = provider(base_url=server.url, concurrency=1)
                answers, _ = complete_all(requests, chosen, store, "test")
            assert (answers[0].answer, answers[0].finish_reason) == ("A\ufffd", "")
            said, key = capsys.readouterr().out, requests[0].key(provider())
            assert f"question q0 (key {key}): message.content holds NUL or half a character" in said
            assert (
                f"finish_reason is 7 (left out). To have it asked again: python -m m1 store forget --key {key}" in said
            )
            assert "so also in 2 further answers" in said
    assert len(server.seen) == 9


def test_answers_of_another_model_in_an_older_store_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = {"message": {"content": "A"}, "finish_reason": "stop", "usage": ANSWER["usage"], "served": "adder-9"}
    with Store(tmp_path) as store:
        store.put_many((request.key(provider()), value) for request in REQUESTS)
        complete_all(REQUESTS, provider(), store, "test")
        assert "40 answers in" in (said := capsys.readouterr().out)
        assert "are of 'adder-9', not of 'adder-1'. If they are the same, name it in served_as of adder" in said
        complete_all(REQUESTS, provider(served_as=["adder-9"]), store, "test")
        assert capsys.readouterr().out == ""


def test_a_record_that_is_no_answer_is_named(tmp_path: Path) -> None:
    request = Request("Q", question="q7")
    with Store(tmp_path) as store:
        store.put(request.key(provider()), ["no", "answer"])
        with pytest.raises(UserError, match=r"question q7 \(key \w{64}\): .*no answer.*m1 store forget --key"):
            complete_all([request], provider(), store, "test")


def test_spendings_add_up() -> None:
    one = Spending(2, 1, 10, 5, 6, 11, 0.5, 0.25, 1, 0, {"429": 2})
    both = one + Spending(1, 1, 1, 1, 1, 2, 0.5, 0.5, 0, 1, {"5xx": 1, "429": 1})
    assert both == Spending(3, 2, 11, 6, 7, 13, 1.0, 0.75, 1, 1, {"429": 3, "5xx": 1})
    assert str(both) == (
        "2 calls made, 1 from the store, 11 + 6 + 7 tokens (prompt, thinking, answer), $1.00 in "
        "all, $0.75 now, 1 refused, 1 cut"
    )


def test_batches_go_the_same_way_and_a_signal_leaves_them_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("M1_TEST_KEY", batch_server.KEY)
    server = batch_server.BatchServer(line=lambda prompt, time: "400" if prompt == REQUESTS[3].prompt else "ok")
    with serving(server), Store(tmp_path) as store:
        settings = batch_server.make_provider(server.url, batch=BATCH | {"size": 20, "poll_seconds": 0.05})
        server.at = lambda moment: signal.raise_signal(signal.SIGINT) if moment == "polled" else None
        with pytest.raises(KeyboardInterrupt):
            complete_all(REQUESTS, settings, store, "test")
        server.at = lambda moment: None
        for made in (39, 0):
            answers, spending = complete_all(REQUESTS, settings, store, "test")
            assert (spending.calls, spending.calls_made, spending.refused) == (39, made, 1)
        assert [batch_server.answer(REQUESTS[n].prompt) for n in (0, 39)] == [answers[0].answer, answers[39].answer]
        assert max(server.paid.values()) == 1


CANARY = "sk-canary-4711"


@pytest.mark.parametrize(
    "script",
    [
        lambda number: (401, {}, {"error": {"message": f"wrong key Bearer {CANARY}"}}),
        lambda number: (500, {"X-Echo": CANARY}, f"<html>{CANARY}</html>".encode()),
        lambda number: (200, {}, f"<html>Authorization: Bearer {CANARY}".encode()),
        lambda number: (400, {}, f"{CANARY}".encode()),
        lambda number: (429, {"Retry-After": CANARY}, {"error": CANARY}) if number == 0 else (402, {}, CANARY.encode()),
        lambda number: (200, {}, b"{}", {}) if number < 0 else (200, {"Content-Length": "9999"}, CANARY.encode()),
    ],
)
def test_the_key_is_in_no_message_nor_in_what_led_to_it(
    tmp_path: Path, script: Callable[[int], Reply], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("M1_TEST_KEY", CANARY)
    with bare(script) as server, Store(tmp_path) as store, pytest.raises(UserError) as caught:
        complete_all(
            REQUESTS,
            provider(base_url=server.url, api_key_env="M1_TEST_KEY", max_retries=0, timeout=REACHED),
            store,
            "test",
        )
    error: BaseException | None = caught.value
    while error:
        assert CANARY not in f"{error!s} {error!r} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert CANARY not in "".join(capfd.readouterr())
    assert all(CANARY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_an_answer_that_repeats_the_key_is_kept_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_TEST_KEY", CANARY)
    echo = {"choices": [{"message": {"content": f"your key is {CANARY}"}, "finish_reason": "stop"}]}
    with bare(lambda number: (200, {}, echo)) as server, Store(tmp_path) as store:
        [completion], _ = complete_all(
            [Request("Q")], provider(base_url=server.url, api_key_env="M1_TEST_KEY"), store, "test"
        )
    assert completion.answer == "your key is ***"


def test_a_key_with_a_line_break_is_told_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_TEST_KEY", f"{CANARY}\nX")
    with Store(tmp_path) as store, pytest.raises(UserError, match="M1_TEST_KEY is not a valid key") as caught:
        complete_all(REQUESTS, provider(api_key_env="M1_TEST_KEY"), store, "test")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_in_order_and_calls_in_flight_are_kept(tmp_path: Path, number: signal.Signals, code: int) -> None:
    program = "\n".join(
        [
            "import sys",
            "from m1.core.errors import run",
            "from m1.core.store import Store",
            "from m1.client.complete import complete_all",
            "from providers import REQUESTS, provider",
            "def main(argv):",
            "    with Store(sys.argv[2]) as store:",
            "        complete_all(REQUESTS, provider(base_url=sys.argv[1], concurrency=4), store, 'test')",
            "run(main)",
        ]
    )
    world = Scripted(lambda prompt, number: time.sleep(0.5))
    with running(world) as url:
        client = subprocess.Popen(
            [sys.executable, "-c", program, url, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        while sum(world.times.values()) < 6 and client.poll() is None:
            time.sleep(0.02)
        client.send_signal(number)
        output, _ = client.communicate(timeout=PATIENCE)
    asked = sum(world.times.values())
    with Store(tmp_path) as store:
        assert client.returncode == code
        assert 6 <= len(store) == asked < 40
    assert re.search("waiting for calls in flight, because they are paid for: [1-4]", output)
    assert f"interrupted: {asked} of 40 calls of this run are kept" in output


def test_two_machines_without_locks_use_the_answers_that_count_later(tmp_path: Path) -> None:
    program = "\n".join(
        [
            "import errno, fcntl, json, socket, sys",
            "def lockf(*_):",
            "    raise OSError(errno.ENOLCK, 'No locks available')",
            "fcntl.lockf, socket.gethostname = lockf, lambda: sys.argv[3]",
            "from m1.core.store import Store",
            "from m1.client.complete import complete_all",
            "from providers import REQUESTS, provider",
            "with Store(sys.argv[2]) as store:",
            "    store.put(sys.argv[3], {})  # its segment is made now",
            "    sys.stdin.readline()",
            "    found, _ = complete_all(REQUESTS, provider(base_url=sys.argv[1], concurrency=4), store, 'test')",
            "    print(json.dumps([one.answer for one in found]))",
        ]
    )

    def answer(prompt: str, number: int) -> tuple[int, Any]:
        time.sleep(random.uniform(0.1, 0.5))
        return 200, {"choices": [{"message": {"content": f"{prompt} {number}"}, "finish_reason": "stop"}]}

    with running(world := Scripted(answer)) as url:
        clients = []
        for name in ("a", "b"):
            clients.append(
                subprocess.Popen(
                    [sys.executable, "-c", program, url, str(tmp_path), name],
                    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            while len(list(tmp_path.glob("*.jsonl"))) < len(clients):
                time.sleep(0.01)
        for client in clients:
            print(file=client.stdin, flush=True)
        found = [json.loads(client.communicate(timeout=PATIENCE)[0].splitlines()[-1]) for client in clients]
    assert 2 in world.times.values(), "both were at work at once"
    with Store(tmp_path) as store:
        later = [store.get(request.key(provider()))["message"]["content"] for request in REQUESTS]
    assert found == [later, later]


def test_an_address_that_does_not_answer_is_told_before_the_timeout_of_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "CONNECT_SECONDS", 0.3)
    with socket.socket() as full, ExitStack() as stack:  # a queue of connections that is full: the next ones hang
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(4):
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        started = time.monotonic()
        with Store(tmp_path) as store, pytest.raises(UserError, match=r"no connection .* tried 3 times"):
            complete_all(REQUESTS, provider(base_url=f"http://127.0.0.1:{port}/v1"), store, "test")
        assert time.monotonic() - started < PATIENCE
