"""The client against the real server over HTTP: what is repeated, what ends the run, and that nothing is asked twice."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from m1.calls.client import Completion, Provider, Request, complete_all, split_message
from m1.errors import UserError
from m1.store import Store
from m1.world.server import Errors, World
from test_distill_server import Adder, running

SETTINGS: dict[str, Any] = {
    "name": "adder",
    "model": "adder-1",
    "base_url": "http://127.0.0.1:9/v1",
    "serve": None,
    "serve_seconds": 20,
    "api_key_env": None,
    "temperature": 0,
    "max_tokens": 8000,
    "concurrency": 8,
    "timeout": 20,
    "max_retries": 2,
    "price_prompt": 1.0,
    "price_completion": 10.0,
    "rule": "released",
}
REQUESTS = [Request(f"What is {n} plus 1?") for n in range(40)]


def provider(**changes: Any) -> Provider:
    return Provider.from_settings(SETTINGS | changes, "teacher")


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
    world = World(Adder(), Errors(wrong=0, empty=0, malformed=0.3, flaky=0.3))
    requests = [Request(f"What is {n} plus 1?") for n in range(120)]
    with running(world) as url:
        with Store(tmp_path) as store:
            first, spending = complete_all(requests, provider(base_url=url), store, "test")
        calls = world.calls
        assert calls > 120 + 10, "some were asked again"
        assert (spending.calls, spending.calls_made) == (120, 120)
        assert spending.dollars == spending.dollars_now > 0
        with Store(tmp_path) as store:
            second, again = complete_all(requests, provider(base_url=url, concurrency=1, timeout=5), store, "test")
        assert (world.calls, second) == (calls, first)
        assert (again.calls, again.calls_made, again.dollars, again.dollars_now) == (120, 0, spending.dollars, 0)
    assert [c.key for c in first] == [request.key(provider()) for request in requests]
    for n, completion in enumerate(first):
        assert str(n + 1) in completion.answer
    assert {bool(c.thinking) for c in first} == {True, False}, "answers without thinking are answers too"


def test_equal_requests_are_one_call_and_the_seed_makes_another(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: None)
    with running(world) as url, Store(tmp_path) as store:
        complete_all([REQUESTS[0], REQUESTS[0], Request(REQUESTS[0].prompt, seed=1)], provider(base_url=url), store, "test")
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
    }
    assert all(REQUESTS[0].key(provider(**{name: value})) == key for name, value in same.items())
    other = {"model": "x", "temperature": None, "max_tokens": 9}
    assert len({key, *[REQUESTS[0].key(provider(**{name: value})) for name, value in other.items()]}) == 4


def test_concurrency_is_bounded(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: time.sleep(0.02))
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
    world = Scripted(lambda prompt, number: time.sleep(1) if number == 0 else None)
    with running(world) as url, Store(tmp_path) as store:
        [completion], _ = complete_all([REQUESTS[0]], provider(base_url=url, timeout=0.2), store, "test")
    assert "boxed" in completion.answer


def test_http_500_for_ever_ends_soon_and_clearly(tmp_path: Path) -> None:
    started = time.monotonic()
    message = failure(World(Adder(), Errors(), broken=True), tmp_path, max_retries=3)
    assert time.monotonic() - started < 15
    assert "/v1: a call of model adder-1 failed 4 times, the last time with: HTTP 500" in message
    assert "out of order" in message
    assert f"0 of 40 calls of this run are kept in {tmp_path}; the same command goes on" in message


def test_finished_calls_are_kept_when_the_run_ends(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: (500, {}) if prompt == REQUESTS[30].prompt else time.sleep(0.02))
    message = failure(world, tmp_path, max_retries=0)
    with Store(tmp_path) as store:
        kept = [request for request in REQUESTS if request.key(provider()) in store]
    assert 20 <= len(kept) < 40
    assert sum(world.times.values()) == len(kept) + 1, "what was in flight was waited for and kept"
    assert f"{len(kept)} of 40 calls of this run are kept" in message
    world = Scripted(lambda prompt, number: None)
    with running(world) as url, Store(tmp_path) as store:
        completions, spending = complete_all(REQUESTS, provider(base_url=url), store, "test")
    assert spending.calls_made == sum(world.times.values()) == 40 - len(kept)
    assert len(completions) == 40


def test_nothing_listens(tmp_path: Path) -> None:
    with Store(tmp_path) as store, pytest.raises(UserError, match=r"failed 1 times, the last time with: no connection"):
        complete_all(REQUESTS, provider(max_retries=0), store, "test")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(401, "Check the key in the environment variable M1_TEST_KEY"), (402, "credit"), (403, "M1_TEST_KEY"), (404, "'adder-1'")],
)
def test_key_credit_and_model_end_the_run_at_once(tmp_path: Path, status: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("M1_TEST_KEY", "sk-secret")
    world = Scripted(lambda prompt, number: (status, {"error": {"message": "no: sk-secret"}}))
    message = failure(world, tmp_path, api_key_env="M1_TEST_KEY", concurrency=1)
    assert sum(world.times.values()) == 1
    assert f"HTTP {status}" in message
    assert remedy in message
    assert "sk-secret" not in message


def test_missing_key_is_told_before_any_call_and_only_if_one_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("M1_TEST_KEY", raising=False)
    world = Scripted(lambda prompt, number: None)
    assert "environment variable M1_TEST_KEY is not set" in failure(world, tmp_path, api_key_env="M1_TEST_KEY")
    assert world.calls == 0
    with running(Scripted(lambda prompt, number: None)) as url, Store(tmp_path) as store:
        complete_all(REQUESTS, provider(base_url=url), store, "test")
        complete_all(REQUESTS, provider(api_key_env="M1_TEST_KEY"), store, "test")


def test_one_refused_call_is_left_out_and_many_are_an_error(tmp_path: Path) -> None:
    world = Scripted(lambda prompt, number: (400, {"error": {"message": "content filter"}}) if prompt == REQUESTS[3].prompt else None)
    with running(world) as url, Store(tmp_path / "one") as store:
        completions, spending = complete_all(REQUESTS, provider(base_url=url), store, "test")
        assert len(store) == 39
    assert completions[3] == Completion(REQUESTS[3].key(provider()), "", "", "refused", 0, 0)
    assert (spending.calls, spending.calls_made, spending.refused) == (39, 39, 1)
    message = failure(Scripted(lambda prompt, number: (400, {"error": {"message": "bad temperature"}})), tmp_path / "all", concurrency=1)
    assert "2 calls were refused, the last one with: HTTP 400" in message
    assert "bad temperature" in message


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
    ("changes", "message"),
    [
        ({"nane": 1}, "teacher: unknown key nane. Known are name, model"),
        ({"concurrency": 0}, "teacher.concurrency: 0; at least 1"),
        ({"concurrency": "8"}, "teacher.concurrency: '8'; int is needed"),
        ({"temperature": "hot"}, "teacher.temperature: 'hot'; float or null"),
        ({"max_tokens": True}, "teacher.max_tokens: True"),
        ({"base_url": None}, "exactly one of base_url"),
        ({"serve": ["m1.world.server"]}, "exactly one of base_url"),
    ],
)
def test_wrong_settings_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        provider(**changes)


def test_missing_setting_is_told() -> None:
    with pytest.raises(UserError, match="labeller: no key model, timeout"):
        Provider.from_settings({name: value for name, value in SETTINGS.items() if name not in {"model", "timeout"}}, "labeller")
