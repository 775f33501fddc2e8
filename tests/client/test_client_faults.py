"""Paid calls against a provider at its worst, in processes of their own: kills, keys that must not show, what cannot
work, a full disk."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from benchmark_scripts import load
from faulty_provider import running
from m1.core.files import digest
from m1.core.store import Store
from patience import PATIENCE, until

pytestmark = pytest.mark.server

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "calls.py"
KEY = "sk-canary-8c1f5e0b7d"
PASSWORD = "canary-of-the-proxy"


@pytest.fixture(scope="module")
def calls() -> ModuleType:
    """``benchmarks/calls.py``, as a module."""
    return load("calls")


def faulty(folder: Path, *flags: str) -> AbstractContextManager[str]:
    return running(folder / "server.jsonl", *flags)


def asked(folder: Path) -> list[dict[str, Any]]:
    return [
        event
        for line in (folder / "server.jsonl").read_text().splitlines()
        if (event := json.loads(line))["event"] == "in"
    ]


def shown(process: subprocess.Popen[str], folder: Path) -> str:
    """All that a run wrote for somebody to read: stdout, and its stderr in the log."""
    printed = process.communicate(timeout=PATIENCE)[0]
    return printed + (folder / "log.txt").read_text()


def store_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "store").glob("*.jsonl")}


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


# The fault run, and that it would notice


@pytest.mark.slow
def test_nothing_is_lost_or_paid_twice_through_faults_and_kills() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "faults", "--questions", "300", "--kills", "3"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(re.findall(r"^\| (.*?) \| ([\d,]+) \| yes \|$", done.stdout, re.MULTILINE))
    assert (rows["questions"], rows["answered once in the store"], rows["lost"], rows["SIGKILLs of the client"]) == (
        "300",
        "300",
        "0",
        "3",
    )


def event(kind: str, number: int, at: float, key: str = "k", outcome: str = "correct") -> dict[str, Any]:
    more = {"outcome": outcome, "paid": outcome == "correct"} if kind == "out" else {}
    return {"event": kind, "number": number, "at": at, "key": key, **more}


def test_the_audit_tells_kills_from_carelessness(calls: ModuleType) -> None:
    first = [event("in", 0, 1), event("out", 0, 2)]
    second = [event("in", 1, 6), event("out", 1, 7)]
    lost, kept = calls.Life(0, 5, frozenset()), calls.Life(0, 5, frozenset({"k"}))
    assert calls.payments(first + second, [lost]) == (1, 0, 1)
    assert calls.payments(first + second, [kept]) == (1, 1, 0), "it was in the store, and paid again all the same"
    assert calls.payments(first + second, []) == (1, 1, 0), "nobody was killed"
    within = [event("in", 1, 3), event("out", 1, 4)]
    third = [event("in", 2, 6), event("out", 2, 7)]
    assert calls.payments(first + within + third, [lost]) == (2, 1, 1), "twice in one life"
    assert calls.payments([*first, event("in", 3, 1, "l"), event("out", 3, 6, "l")], [lost])[2] == 2, (
        "the most at one kill"
    )


def test_the_audit_sees_who_does_not_wait(calls: ModuleType) -> None:
    told = [event("in", 0, 1), event("out", 0, 1.1, outcome="share429_after")]
    assert calls.too_early([*told, event("in", 1, 1.5)], []) == 1
    assert calls.too_early([*told, event("in", 1, 1.5)], [calls.Life(0, 1.2, frozenset())]) == 0, (
        "it was killed, and could not know"
    )
    assert calls.too_early([*told, event("in", 1, 2.2), event("in", 2, 2.3)], []) == 0


# Money


def test_max_dollars_holds_through_sigkills_between_request_and_answer(calls: ModuleType, tmp_path: Path) -> None:
    """A call may cost $0.0804, and nobody knows what those cost that were killed: three fit below $0.25."""
    with faulty(tmp_path, "--hang", "1") as url:
        run = calls.Run(tmp_path, 50, url, max_dollars=0.25, timeout=PATIENCE)
        for number in range(1, 4):
            process = run.start()
            until(lambda number=number, process=process: run.health()["calls"] >= number or process.poll() is not None)
            process.kill()
            process.wait()
            assert len(asked(tmp_path)) == number
        process = run.start()
        text = shown(process, tmp_path)
    assert process.returncode == 1
    assert "at most $0.24" in text
    assert "max_dollars, 0.2500, would be passed" in text
    assert len(asked(tmp_path)) == 3


# What cannot work


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "M1_TEST_KEY"), (404, "faulty-teacher"), (400, "HTTP 400")],
)
def test_wrong_key_or_model_ends_after_few_calls(
    status: int, said: str, calls: ModuleType, tmp_path: Path, monkeypatch: Any
) -> None:
    """The answer of before stays, a handful of calls is made at most, and the key shows nowhere, though the provider
    repeats it."""
    monkeypatch.setenv("M1_TEST_KEY", KEY)
    with faulty(tmp_path, "--status", str(status)) as url:
        run = calls.Run(tmp_path, 200, url, api_key_env="M1_TEST_KEY")
        with Store(run.store) as store:
            store.put("before", {"message": {"content": "kept"}, "finish_reason": "stop", "usage": None})
        before = store_bytes(tmp_path)
        process = run.traces()
        text = shown(process, tmp_path)
    assert process.returncode == 1
    assert said in text
    assert "Traceback" not in text
    assert {name: content for name, content in store_bytes(tmp_path).items() if content} == before
    assert len(asked(tmp_path)) <= 16
    assert_key_is_secret(tmp_path, text)


def test_no_network_ends_after_three_attempts(calls: ModuleType, tmp_path: Path) -> None:
    """Nobody listens there, and nobody knows the name."""
    hosts = ("127.0.0.1", "no-such-provider.invalid")
    for host in hosts:
        (tmp_path / host).mkdir()
    processes = [calls.Run(tmp_path / host, 50, f"http://{host}:{unused_port()}/v1").traces() for host in hosts]
    for host, process in zip(hosts, processes):
        text = shown(process, tmp_path / host)
        assert process.returncode == 1
        assert f"http://{host}" in text
        assert re.search(r"no connection \(.*\), tried 3 times", text)
        assert "Traceback" not in text
        assert not any(store_bytes(tmp_path / host).values())


# Keys that must not show


def assert_key_is_secret(folder: Path, text: str) -> None:
    """The server was sent the key, and neither what was printed nor any file that the run left has it."""
    assert {request["headers"]["authorization"] for request in asked(folder)} == {f"sha256 {digest(f'Bearer {KEY}')}"}
    for secret in (KEY, PASSWORD):
        assert secret not in text
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert len(files) >= 3
        assert [path.name for path in files if secret.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ("--status 500", 1),
        ("--status 429", 1),
        ("--status 200", 1),
        ("--reset 1", 1),
        ("--empty_choices 0.1 --share502 0.1 --wrong_type 0.1 --truncated 0.1", 0),
    ],
)
def test_the_key_shows_nowhere(flags: str, code: int, calls: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    """Not even where the openai package is told to log all it does."""
    monkeypatch.setenv("M1_TEST_KEY", KEY)
    monkeypatch.setenv("OPENAI_LOG", "debug")
    with faulty(tmp_path, *flags.split()) as url:
        settings = {"max_retries": 1, "deadline": 5} if code else {}
        run = calls.Run(tmp_path, 12, url, api_key_env="M1_TEST_KEY", **settings)
        process = run.traces()
        text = shown(process, tmp_path)
    assert process.returncode == code, text
    assert (tmp_path / "manifest.json").exists() == (code == 0)
    assert_key_is_secret(tmp_path, text)


def test_keys_show_nowhere_behind_a_proxy(calls: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    """The proxy refuses and repeats the key, and then it is gone; its own password is a secret, too."""
    monkeypatch.setenv("M1_TEST_KEY", KEY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    run = calls.Run(tmp_path, 5, "http://provider.invalid/v1", api_key_env="M1_TEST_KEY", max_retries=1)
    texts = []
    for status in (407, None):
        with faulty(tmp_path, "--status", str(status or 500)) as url:
            address = url.split("/")[2] if status else f"127.0.0.1:{unused_port()}"
            for name in ("http_proxy", "HTTP_PROXY"):
                monkeypatch.setenv(name, f"http://user:{PASSWORD}@{address}")
            process = run.traces()
            texts.append(shown(process, tmp_path))
        assert process.returncode == 1
    assert {request["path"] for request in asked(tmp_path)} == {"http://provider.invalid/v1/chat/completions"}
    assert all("proxy-authorization" in request["headers"] for request in asked(tmp_path))
    assert_key_is_secret(tmp_path, "".join(texts))


# A full disk


SMALL = 128 << 10


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of :data:`SMALL` bytes at a folder; the test is skipped where none can be mounted."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here; the limit on the size of a file is tested in its place")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("kind", ["file system", "limit of a file"])
def test_a_full_disk_ends_cleanly_and_the_run_goes_on_after(kind: str, calls: ModuleType, tmp_path: Path) -> None:
    disk = small_disk(tmp_path / "small") if kind == "file system" else nullcontext()
    options = (
        {}
        if kind == "file system"
        else {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))}
    )
    with faulty(tmp_path, "--thinking", "4096", "--latency", "0.02") as url, disk:
        run = calls.Run(tmp_path, 100, url, concurrency=8)
        run.store = tmp_path / "small" / "store"
        process = run.start(**options)
        text = shown(process, tmp_path)
        assert process.returncode == 1
        assert "the store cannot be written" in text
        assert "Traceback" not in text
        acknowledged = run.acknowledged.read_text().split()
        kept = run.stored()
        assert 10 < len(acknowledged) < 60
        assert set(acknowledged) <= set(kept)

        made = len(asked(tmp_path))
        assert made <= len(kept) + 2 * 8, "nothing is asked any more once the disk is full"
        # Room again: the folder as it is, elsewhere.
        subprocess.run(["cp", "-r", run.store, tmp_path / "store"], check=True)
        run.store = tmp_path / "store"
        run.finish(run.start())
        assert len(run.stored()) == 100
        assert len(asked(tmp_path)) == made + 100 - len(kept)
        assert {key: value for key, value in run.stored().items() if key in kept} == kept


# Ending on request


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_ending_on_request_keeps_what_is_in_flight(end: signal.Signals, calls: ModuleType, tmp_path: Path) -> None:
    with faulty(tmp_path, "--latency", "0.4") as url:
        run = calls.Run(tmp_path, 400, url, concurrency=16)
        process = run.start()
        until(lambda: run.health()["paid"] >= 30)
        process.send_signal(end)
        text = shown(process, tmp_path)
        health = run.health()
    assert process.returncode != 0
    assert "Traceback" not in text
    assert health["open"] == 0
    assert len(run.stored()) == health["paid"] == health["calls"] < 400, "every answer that was paid for is kept"
