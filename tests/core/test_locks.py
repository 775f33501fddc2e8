"""Locks between real processes: who has one is said, the dead are taken over from, and two never have it at once."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import m1
import pytest
from m1.core.locks import Holder, Lock, begun
from m1.core.store import Store
from patience import PATIENCE

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(m1.__file__).parents[1])}
NO_LOCKS = """
import errno, fcntl
def lockf(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.lockf = lockf
"""
HOLDER = """
import sys
from pathlib import Path
from m1.core.locks import Lock
print(Lock(Path(sys.argv[1])).take(), flush=True)
sys.stdin.readline()
"""


def start(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], env=ENVIRONMENT, **pipes)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.fixture(params=["kernel", "no locks"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is put before a program; the file system has the kernel's locks, or none."""

    def lockf(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if request.param == "kernel":
        return ""
    monkeypatch.setattr(fcntl, "lockf", lockf)
    return NO_LOCKS


def test_the_holder_is_named_and_taken_over_from_when_it_is_dead(tmp_path: Path, locks: str) -> None:
    path = tmp_path / "scratch" / "lock"
    with start(locks + HOLDER, path) as process:
        assert line(process) == "None"
        lock = Lock(path)
        holder = lock.take()
        assert holder is not None
        assert (holder.process, holder.host, holder.alive) == (process.pid, socket.gethostname(), True)
        assert str(holder).startswith(f"process {process.pid} on {socket.gethostname()} since 20")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder.alive is False
        assert lock.take() is None
    lock.release()
    assert not path.exists()


def test_waiting_ends_with_the_holder(tmp_path: Path, locks: str) -> None:
    said: list[Holder] = []
    with start(locks + HOLDER, tmp_path / "lock") as process:
        line(process)
        lock = Lock(tmp_path / "lock")

        def end(holder: Holder) -> None:
            said.append(holder)
            process.kill()
            process.wait()

        assert lock.wait(end)
        lock.release()
    assert [holder.process for holder in said] == [process.pid]


def test_a_number_that_another_process_has_now_is_no_holder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "lockf", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no")))
    with start("input()") as process:
        boot = begun(process.pid).rpartition("/")[0]
        earlier = Holder(process.pid, socket.gethostname(), "2026-01-01 00:00:00 UTC", f"{boot}/1")
        assert earlier.alive is False
        (tmp_path / "lock").write_bytes(earlier.record)
        lock = Lock(tmp_path / "lock")
        assert lock.take() is None
        lock.release()
        process.kill()


def test_without_locks_nobody_knows_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Holder(12, "another", "2026-01-01 00:00:00 UTC", "0123/pid/1")
    (tmp_path / "lock").write_bytes(elsewhere.record)
    lock = Lock(tmp_path / "lock")
    assert lock.take() is None, "the kernel tells"
    lock.release()
    (tmp_path / "lock").write_bytes(elsewhere.record)
    monkeypatch.setattr(fcntl, "lockf", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "no")))
    assert lock.take() == elsewhere
    assert elsewhere.alive is None
    assert not lock.wait(lambda holder: pytest.fail("it waits"))


COUNTER = """
import sys, time
from pathlib import Path
from m1.core.locks import Lock
path = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    lock = Lock(path / "lock")
    lock.wait(lambda holder: None)
    number = int((path / "number").read_text())
    time.sleep(0.002)
    (path / "number").write_text(str(number + 1))
    lock.release()
"""


@pytest.mark.parametrize(("begin", "times"), [("", 40), pytest.param(NO_LOCKS, 2, marks=pytest.mark.slow)])
def test_never_two_at_once_though_the_file_is_removed(tmp_path: Path, begin: str, times: int) -> None:
    (tmp_path / "number").write_text("0")
    faster = "import m1.core.locks\nm1.core.locks.POLL = 0.001\n"
    started = [start(begin + faster + COUNTER, tmp_path, str(times)) for _ in range(4)]
    assert [process.wait(timeout=PATIENCE) for process in started] == [0] * 4
    assert (tmp_path / "number").read_text() == str(4 * times)


TWO_MACHINES = (
    NO_LOCKS
    + """
import json, random, socket, sys, time
from pathlib import Path
folder, name = Path(sys.argv[1]), sys.argv[2]
socket.gethostname = lambda: name
from m1.core.store import Store
with Store(folder / "store") as store:
    store.put(name, {})  # its segment is made now
    (folder / name).touch()
    while not (folder / "a").exists() or not (folder / "b").exists():
        time.sleep(0.001)
    chance, keys = random.Random(name), [f"{number:03}" for number in range(60)]
    with store.lock():
        for key in chance.sample(keys, len(keys)):
            if key not in store:
                time.sleep(chance.uniform(0, 0.08))  # the call
                store.put(key, {"from": name})
        store.settle()
    print(json.dumps([store.get(key) for key in keys]), flush=True)
"""
)


def test_without_locks_two_machines_use_the_record_that_counts_later(tmp_path: Path) -> None:
    started = [start(TWO_MACHINES, tmp_path, name) for name in ("a", "b")]
    read = [json.loads(process.communicate(timeout=PATIENCE)[0].splitlines()[-1]) for process in started]
    with Store(tmp_path / "store") as store:
        later = [store.get(f"{number:03}") for number in range(60)]
    assert read == [later, later]
    assert {value["from"] for value in later} == {"a", "b"}, "both were at work at once"
