"""The store of calls: what was acknowledged is there, whatever happens to the writer or the files."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import m1
import m1.core.segments
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.__main__ import dispatch as command
from m1.client.ledger import Beside, CallTotals, SpendingJournal
from m1.core.errors import UserError
from m1.core.files import digest, write_text
from m1.core.store import Store
from patience import PATIENCE, until

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(m1.__file__).parents[1])}
WRITER = """
import sys
from m1.core.files import digest
from m1.core.store import Store

folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store(folder) as store:
    for number in range(count):
        store.put(digest([name, number]), {"name": name, "number": number, "text": "x" * 500})
        print(number, flush=True)
"""


@pytest.fixture(autouse=True, scope="module")
def _no_pause() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(m1.core.segments, "UNFINISHED_SECONDS", 0.0)
        yield


def run_python(program: str, *arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, **more
    )


def start_writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def test_keeps_json_objects_and_first_values(tmp_path: Path) -> None:
    value = {"token_ids": [1, 2, 3], "finish_reason": "stop", "text": 'a "quoted" line\nand ünïcödé \udcff'}
    with Store(tmp_path / "new" / "folder") as store:
        assert store.get(digest(1)) is None
        store.put_many([(digest(1), value), (digest(2), {}), (digest(2), {"later": 1})])
        store.put(digest(1), {"other": True})
        assert store.get(digest(1)) == value
    with Store(tmp_path / "new" / "folder") as store:
        assert (len(store), digest(2) in store, digest(3) in store) == (2, True, False)
        assert store.get(digest(1)) == value
        assert store.get(digest(2)) == {}


def test_readers_leave_no_files(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many([])
    assert list(tmp_path.iterdir()) == []


def test_key_that_is_no_digest_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store, pytest.raises(ValueError, match="digest"):
        store.put('a "key"', {})


def test_torn_record_is_dropped_said_and_asked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path) as store:
        store.put(digest(1), {"n": 1})
        store.put(digest(2), {"n": 2})
    [segment] = tmp_path.glob("*.jsonl")
    segment.write_bytes(segment.read_bytes()[:-5])
    with Store(tmp_path) as store:
        assert "1 damaged or unfinished record left out" in capsys.readouterr().err
        assert store.get(digest(1)) == {"n": 1}
        assert store.get(digest(2)) is None
        store.put(digest(2), {"n": 2})
    with Store(tmp_path) as store:
        assert store.get(digest(2)) == {"n": 2}
        assert capsys.readouterr().err == "", "a record that was asked again is not reported any more"


def test_corrupt_record_in_the_middle_costs_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path) as store:
        store.put_many((digest(n), {"n": n}) for n in range(100))
    [segment] = tmp_path.glob("*.jsonl")
    data = segment.read_bytes()
    place = data.index(b'"n":50')
    segment.write_bytes(data[:place] + b'"n":51' + data[place + 6 :])
    with Store(tmp_path) as store:
        assert "1 damaged" in capsys.readouterr().err
        assert [n for n in range(100) if store.get(digest(n)) != {"n": n}] == [50]
        assert digest(50) not in store


@settings(max_examples=150)
@given(st.data())
def test_no_damage_makes_it_raise_or_lie(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        values = {digest(n): {"n": n, "text": "é" * n} for n in range(4)}
        with Store(folder) as store:
            store.put_many(values.items())
        [segment] = Path(folder).glob("*.jsonl")
        content = bytearray(segment.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(content)))
            content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3) | st.just(b"\n"))
        segment.write_bytes(content)
        with Store(folder) as store:
            for key, value in values.items():
                assert store.get(key) in (None, value)


def test_change_under_an_open_store_is_an_error_not_a_wrong_value(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put(digest(1), {"n": 1})
        [segment] = tmp_path.glob("*.jsonl")
        segment.write_bytes(segment.read_bytes().replace(b'"n":1', b'"n":2'))
        with pytest.raises(UserError, match=r"changed while the store was in use\. Run again"):
            store.get(digest(1))


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    writers = [start_writer(tmp_path, name, 150) for name in ("a", "b")]
    assert [writer.communicate()[0].split()[-1] for writer in writers] == ["149", "149"]
    with Store(tmp_path) as store:
        assert len(store) == 300
        assert all(store.get(digest([name, n]))["number"] == n for name in ("a", "b") for n in range(150))
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_sigkill_of_a_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(0)
    for turn in range(6):
        writer = start_writer(tmp_path, f"turn {turn}", 1_000_000)
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.1))
        writer.kill()
        acknowledged = 1 + len(writer.stdout.readlines())
        writer.wait()
        with Store(tmp_path) as store:
            for earlier in range(turn):
                assert digest([f"turn {earlier}", 0]) in store
            assert all(store.get(digest([f"turn {turn}", n])) is not None for n in range(acknowledged - 1))


def test_full_disk_is_one_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    # The limit on a file's size stands for the full disk: write() comes short and then fails in the same way.
    program = """
import resource, sys
from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.store import Store

resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
store = Store(sys.argv[1])
try:
    for number in range(100):
        store.put(digest(number), {"text": "x" * 400})
except UserError as error:
    print(number, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.put(digest("after"), {"ok": True})
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    number, message = done.stdout.split(maxsplit=1)
    assert f"The {number} records before are kept. Free space" in message
    with Store(tmp_path) as store:
        assert all(digest(n) in store for n in range(int(number)))
        assert store.get(digest("after")) == {"ok": True}


def test_full_file_system_is_one_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.store import Store

folder = Path(sys.argv[1])
store = Store(folder / "store")
try:
    for number in range(1000):
        store.put(digest(number), {"text": "x" * 3000})
except UserError as error:
    print(number, error)
(folder / "ballast").unlink()
store.put(digest("after"), {"ok": True})
with Store(folder / "store") as again:
    assert all(digest(one) in again for one in [*range(number), "after"])
"""
    shell = 'mount -t tmpfs -o size=256k none "$1" && head -c 100000 /dev/zero > "$1/ballast" && exec "$2" -c "$3" "$1"'
    unshare = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    if (
        not shutil.which("unshare")
        or subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    done = subprocess.run(
        [*unshare, "sh", "-c", shell, "sh", str(tmp_path), sys.executable, program],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr
    assert "No space left on device. The" in done.stdout
    assert int(done.stdout.split()[0]) > 20


def test_cut_at_any_byte_keeps_what_is_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path) as store:
        store.put_many((digest(n), {"n": n}) for n in range(3))
    [segment] = tmp_path.glob("*.jsonl")
    content = segment.read_bytes()
    ends = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content)):
        segment.write_bytes(content[:cut])
        with Store(tmp_path) as store:
            assert len(store) == sum(end <= cut for end in ends)
        whole = cut == 0 or cut in ends
        assert ("1 damaged or unfinished record left out" in capsys.readouterr().err) is not whole, cut


def test_damage_is_said_with_file_and_byte_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path) as store:
        store.put_many((digest(n), {"n": n}) for n in range(2))
    [segment] = tmp_path.glob("*.jsonl")
    offset = segment.read_bytes().index(b"\n") + 1
    segment.write_bytes(segment.read_bytes()[:-5])
    with Store(tmp_path) as store:
        assert f"({segment.name} byte {offset:,})" in capsys.readouterr().err
        store.refresh()
        assert capsys.readouterr().err == ""


def test_empty_segments_and_other_files_are_no_matter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "00000000000000000001-host-1-aaaa.jsonl").touch()
    (tmp_path / "notes.txt").write_text("mine")
    with Store(tmp_path) as store:
        assert len(store) == 0
        store.refresh()
    assert capsys.readouterr().err == ""


def test_values_of_a_megabyte(tmp_path: Path) -> None:
    values = {digest(n): {"text": chr(65 + n) * 1_000_000 + "é\n"} for n in range(3)}
    with Store(tmp_path) as store:
        store.put_many(values.items())
    with Store(tmp_path) as store:
        assert all(store.get(key) == value for key, value in values.items())


def test_refresh_sees_what_other_processes_add(tmp_path: Path) -> None:
    with Store(tmp_path) as reader, Store(tmp_path) as writer:
        writer.put(digest(1), {"n": 1})
        assert digest(1) not in reader
        reader.refresh()
        assert reader.get(digest(1)) == {"n": 1}
        writer.put(digest(2), {"n": 2})  # the segment that is known grows
        reader.put(digest(3), {"n": 3})
        reader.refresh()
        writer.refresh()
        assert reader.get(digest(2)) == {"n": 2}
        assert writer.get(digest(3)) == {"n": 3}
        reader.put(digest(2), {"n": "other"})
        assert reader.get(digest(2)) == {"n": 2}


def test_line_in_the_writing_is_no_damage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(m1.core.segments, "UNFINISHED_SECONDS", 0.5)
    with Store(tmp_path) as store:
        store.put_many((digest(n), {"n": n}) for n in range(3))
    [segment] = tmp_path.glob("*.jsonl")
    content = segment.read_bytes()
    cut = content.index(b"\n") + 120
    segment.write_bytes(content[:cut])

    def finish() -> None:
        with open(segment, "ab") as stream:
            stream.write(content[cut:])

    threading.Timer(0.1, finish).start()
    with Store(tmp_path) as store:
        assert [digest(n) in store for n in range(3)] == [True, True, True]
    assert capsys.readouterr().err == ""


def test_torn_line_that_grows_late_is_read(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put(digest(1), {"n": 1})
    [segment] = tmp_path.glob("*.jsonl")
    content = segment.read_bytes()
    segment.write_bytes(content[:-5])
    with Store(tmp_path) as store:
        assert digest(1) not in store
        segment.write_bytes(content)
        store.refresh()
        assert store.get(digest(1)) == {"n": 1}


def test_two_processes_write_one_key(tmp_path: Path) -> None:
    with Store(tmp_path) as first, Store(tmp_path) as second:
        first.put(digest(1), {"from": "first"})
        second.put(digest(1), {"from": "second"})
        assert second.get(digest(1)) == {"from": "second"}
    values = []
    for _ in range(2):
        with Store(tmp_path) as store:
            assert len(store) == 1
            values.append(store.get(digest(1)))
    assert values == [{"from": "first"}] * 2, "the same one each time"


@pytest.mark.parametrize("change", ["gone", "shorter"])
def test_segment_that_goes_while_open_is_a_clear_error(tmp_path: Path, change: str) -> None:
    with Store(tmp_path) as store:
        store.put(digest(1), {"n": 1})
    with Store(tmp_path) as store:
        [segment] = tmp_path.glob("*.jsonl")
        if change == "gone":
            segment.unlink()
        else:
            segment.write_bytes(b"")
        with pytest.raises(
            UserError, match=rf"{segment.name}: (the store cannot be read|the record at byte 0 was changed)"
        ):
            store.get(digest(1))
        with pytest.raises(
            UserError, match=rf"{segment.name}: (this segment of the store is gone|0 bytes, but it had)"
        ):
            store.refresh()


def test_folder_that_may_only_be_read(tmp_path: Path) -> None:
    program = """
import os, sys
from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.store import Store

os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
with Store(".") as store:
    assert store.get(digest(1)) == {"n": 1}
    store.refresh()
    for work in (lambda: store.put(digest(2), {}), lambda: store.lock().__enter__()):
        try:
            work()
        except UserError as error:
            print(error)
"""
    with Store(tmp_path) as store:
        store.put(digest(1), {"n": 1})
    tmp_path.chmod(0o555)
    try:
        done = run_python(program, tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the store cannot be written: Permission denied.") == 2, done.stdout


HOLDER = """
import sys, time
from m1.core.files import digest
from m1.core.store import Store

with Store(sys.argv[1]) as store, store.lock():
    print("locked", flush=True)
    sys.stdin.readline()
    store.put(digest("held"), {"n": 1})
"""


@pytest.mark.parametrize("end", ["leaves", "is killed"])
def test_lock_waits_for_the_other_process_and_sees_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert holder.stdin
    assert holder.stdout
    assert holder.stdout.readline() == "locked\n"
    ending = [holder.kill] if end == "is killed" else [lambda: holder.stdin.write("\n"), lambda: holder.stdin.flush()]  # type: ignore[union-attr, list-item]
    started = time.monotonic()
    threading.Timer(1, lambda: [step() for step in ending]).start()
    with Store(tmp_path) as store:
        with store.lock():
            assert time.monotonic() - started >= 1
            assert (digest("held") in store) is (end == "leaves")
        with store.lock():
            pass
    holder.communicate()
    assert f"process {holder.pid} on " in (said := capsys.readouterr().err)
    assert said.count("waiting for it") == 1


def test_lock_twice_in_one_process_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as one, Store(tmp_path) as other, one.lock():
        with pytest.raises(RuntimeError, match="has the lock already"), other.lock():
            pass
        assert run_python(
            "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)", tmp_path / "lock"
        ).stderr.count("BlockingIOError"), "the first lock is still had"


def test_without_locks_it_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lockf(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with Store(tmp_path) as store:
        for number in range(2):
            with store.lock():
                store.put(digest(number), {})
    assert capsys.readouterr().err.count("this file system has no locks") == 1


def test_forgotten_is_asked_again_whatever_the_order_of_segments(tmp_path: Path) -> None:
    value = {"refused": {"status": 400, "message": "no"}}
    with Store(tmp_path) as store:
        store.put_many([(digest(1), value), (digest(2), {"n": 2})])
        [first] = tmp_path.glob("*.jsonl")
    with Store(tmp_path) as store:
        store.forget([digest(1), digest("unknown")])
        assert digest(1) not in store
        [second] = set(tmp_path.glob("*.jsonl")) - {first}
    for name in ("0-before.jsonl", "9-after.jsonl"):
        second = second.rename(tmp_path / name)
        with Store(tmp_path) as store:
            assert list(store) == [digest(2)]
    with Store(tmp_path) as store:
        store.put(digest(1), value)  # refused again, to the letter
        assert digest(1) in store
    with Store(tmp_path) as store:
        assert store.get(digest(1)) == value
        assert len(store) == 2


def test_another_process_value_comes_forward_when_the_first_is_forgotten(tmp_path: Path) -> None:
    with Store(tmp_path) as first, Store(tmp_path) as second:
        first.put(digest(1), {"refused": {}})
        first.forget([digest(1)])
        second.put(digest(1), {"n": 1})
        first.refresh()
        second.refresh()
        assert first.get(digest(1)) == second.get(digest(1)) == {"n": 1}


# --- losses that nothing in the files shows
# ----------------------------------------------------------------------------------------------------------


def put(folder: Path, *numbers: int) -> Path:
    """A segment of such records."""
    before = set(folder.glob("*.jsonl"))
    with Store(folder) as store:
        store.put_many((digest(n), {"n": n}) for n in numbers)
    [segment] = set(folder.glob("*.jsonl")) - before
    return segment


def without_lists(folder: Path) -> None:
    """Make a store as versions before wrote it: lines without numbers, and no lists."""
    for path in folder.glob("*.jsonl"):
        path.write_bytes(b"".join(map(m1.core.segments.without_number, path.read_bytes().splitlines(keepends=True))))
    for path in folder.glob(".*"):
        path.unlink()


def drop_lines(path: Path, *numbers: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for number, line in enumerate(lines) if number not in numbers))


LOSSES: dict[str, tuple[Callable[[Path, Path], object], int]] = {
    "cut at a line end": (lambda first, _: drop_lines(first, 7, 8, 9), 3),
    "cut to nothing": (lambda first, _: first.write_bytes(b""), 10),
    "cut within a line": (lambda first, _: first.write_bytes(first.read_bytes()[:-250]), 3),
    "lines in the middle": (lambda first, _: drop_lines(first, 3, 4, 6), 3),
    "the first line": (lambda first, _: drop_lines(first, 0), 1),
    "two lines become one": (lambda first, _: first.write_bytes(first.read_bytes().replace(b"\n", b" ", 1)), 2),
    "a line becomes two": (lambda first, _: first.write_bytes(first.read_bytes().replace(b'"value', b'"v\nlue', 1)), 1),
    "a segment": (lambda first, _: first.unlink(), 10),
    "the last segment": (lambda _, last: last.unlink(), 5),
    "all segments": (lambda first, last: (first.unlink(), last.unlink()), 15),
    "a segment and its list": (lambda first, _: (first.unlink(), (first.parent / f".{first.name}.count").unlink()), 10),
}


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("age", ["new", "listed since by a newer version"])
def test_every_loss_is_counted_when_opened_and_by_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str, age: str
) -> None:
    first = put(tmp_path, *range(10))
    if age != "new":
        without_lists(tmp_path)
    last = put(tmp_path, *range(10, 15))
    if age != "new" and case in {"a segment and its list", "a line becomes two"}:
        pytest.skip("it has no list of its own, and no numbers that tell how many two damaged lines were")
    command(["store", "verify", str(tmp_path)])
    lose, count = LOSSES[case]
    lose(first, last)
    capsys.readouterr()
    Store(tmp_path).close()
    said = [line for line in capsys.readouterr().err.splitlines() if "store verify" in line or "left out" in line]
    assert said, "it is announced when a job opens the store"
    if "line" not in case:
        assert said[0].startswith(f"[store] {tmp_path}: {count} records lost since written ("), said
    with pytest.raises(UserError, match=rf"^{count} records? lost\."):
        command(["store", "verify", str(tmp_path)])
    command(["store", "forget", "--lost", str(tmp_path)])
    command(["store", "verify", str(tmp_path)])
    capsys.readouterr()
    Store(tmp_path).close()
    assert "lost since written" not in capsys.readouterr().err, "what is accepted is not reported"


def test_what_was_written_before_lines_had_numbers_is_read_and_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, *range(10))
    without_lists(tmp_path)
    with Store(tmp_path) as store:
        assert [store.get(digest(n)) for n in range(10)] == [{"n": n} for n in range(10)]
        store.forget([digest(3)])
    with Store(tmp_path) as store:
        assert len(store) == 9
    command(["store", "verify", str(tmp_path)])
    said = capsys.readouterr()
    assert "10 sound records (9 in force), 1 taken back\n" in said.out
    assert said.err == ""


ENDS = {"nothing": b"", "zeros": bytes(5000), "a torn line and zeros": b'{"crc":"01234567","key":"0' + bytes(3000)}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("age", ["new", "old"])
def test_no_alarm_for_what_a_crash_leaves_or_for_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str, age: str
) -> None:
    first = put(tmp_path, *range(10))
    if age == "old":
        without_lists(tmp_path)
    first.write_bytes(first.read_bytes() + ENDS[end])
    (tmp_path / "notes.jsonl").write_text('{"mine": 1}\nnonsense\n{"mine')
    (tmp_path / "._copy.jsonl").write_bytes(b"\0\1\2\n\3")
    (tmp_path / ".notes.count").write_text("12\n")
    with Store(tmp_path) as store:
        assert len(store) == 10
        store.refresh()
        store.put(digest("later"), {})
    assert capsys.readouterr().err == ""
    command(["store", "verify", str(tmp_path)])
    said = capsys.readouterr().out
    assert f"{tmp_path}: 11 sound records (11 in force)\n" in said
    assert "notes.jsonl: no segment of a store; passed over" in said


def test_what_is_no_regular_file_is_passed_over(tmp_path: Path) -> None:
    program = """
import os, socket, sys
from pathlib import Path
from m1.__main__ import dispatch
from m1.core.store import Store

folder = Path(sys.argv[1])
os.chdir(folder)
os.mkfifo("0-pipe.jsonl")
os.mkfifo(".0.count")
os.mkdir("1-folder.jsonl")
socket.socket(socket.AF_UNIX).bind("2-socket.jsonl")
os.symlink("/dev/zero", "3-device.jsonl")
os.symlink("nowhere", "4-dangling.jsonl")
os.symlink("5-circle.jsonl", "5-circle.jsonl")
with Store(folder) as store:
    print(len(store))
    store.refresh()
for action in (["verify"], ["stats"], ["forget", "--refused"], ["export"]):
    dispatch(["store", *action, str(folder), *(["e.jsonl"] if action == ["export"] else [])])
"""
    with Store(tmp_path / "store") as store:
        store.put_many((digest(n), {"token_ids": [n], "finish_reason": "stop"}) for n in range(3))
    [segment] = (tmp_path / "store").glob("*.jsonl")
    segment.rename(tmp_path / segment.name)
    (tmp_path / "store" / segment.name).symlink_to(tmp_path / segment.name)
    done = run_python(program, tmp_path / "store", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3\n"), "a link to a segment is one"
    assert done.stdout.count("no segment of a store; passed over") == 6


def test_an_export_has_no_numbers_and_counts_as_a_segment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "one", *range(10))
    put(tmp_path / "one", *range(10, 20))
    with Store(tmp_path / "one") as store:
        store.forget([digest(4)])
    command(["store", "export", str(tmp_path / "one"), str(tmp_path / "e.jsonl")])
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "e.jsonl", tmp_path / "two")
    segments = sorted((tmp_path / "one").glob("*.jsonl"))
    (tmp_path / "two" / "joined.jsonl").write_bytes(b"".join(path.read_bytes() for path in segments))
    command(["store", "verify", str(tmp_path / "two")])
    with Store(tmp_path / "two") as store:
        assert len(store) == 20
    assert "lost" not in capsys.readouterr().err


def test_a_copied_segment_without_its_list_is_clean_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segment = put(tmp_path / "one", *range(3))
    (tmp_path / "two").mkdir()
    shutil.copy(segment, tmp_path / "two")
    command(["store", "verify", str(tmp_path / "two")])
    said = capsys.readouterr()
    assert f"two/{segment.name}: not listed (.{segment.name}.count is missing)" in said.out
    put(tmp_path / "two", 4)  # its list names the other segment from now on
    command(["store", "verify", str(tmp_path / "two")])
    assert "not listed" not in capsys.readouterr().out
    drop_lines(tmp_path / "two" / segment.name, 2)
    with pytest.raises(UserError, match=r"^1 record lost\."):
        command(["store", "verify", str(tmp_path / "two")])


def test_a_record_that_moved_to_the_place_of_a_forgotten_one_stays(tmp_path: Path) -> None:
    segment = put(tmp_path, *range(5))
    with Store(tmp_path) as store:
        store.forget([digest(2)])
    [forgetting] = set(tmp_path.glob("*.jsonl")) - {segment}
    forgetting.rename(tmp_path / "0.jsonl")  # it is read first
    drop_lines(segment, 1)  # now the third record is where the second one was
    with Store(tmp_path) as store:
        assert digest(3) in store


def test_a_kill_at_any_moment_loses_nothing_and_raises_no_alarm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chance, acknowledged = random.Random(1), set()
    with Store(tmp_path) as store:  # else the first writer may be killed before there is a store to verify
        store.put(digest(["before"]), {"a": 1})
    for turn in range(20):
        writer = start_writer(tmp_path, f"turn {turn}", 1_000_000)
        assert writer.stdout
        if turn % 2:
            writer.stdout.readline()
            acknowledged.add((f"turn {turn}", 0))
            time.sleep(chance.uniform(0.0, 0.1))
        else:  # while it starts
            until(lambda writer=writer: list(tmp_path.glob(f".*-{writer.pid}-*")), every=0.0005)
            time.sleep(chance.uniform(0.0, 0.003))
        writer.kill()
        acknowledged |= {(f"turn {turn}", int(line)) for line in writer.stdout.read().split("\n")[:-1]}
        writer.wait()
        command(["store", "verify", str(tmp_path)])
        assert capsys.readouterr().err == ""
    with Store(tmp_path) as store:
        assert [one for one in acknowledged if store.get(digest([*one])) is None] == []
    assert capsys.readouterr().err == ""
    assert len(acknowledged) >= 10


def test_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: the store cannot be read"):
        Store(tmp_path / "file")


def test_a_hundred_thousand_records_take_little_memory(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many((digest(n), {"token_ids": list(range(30)), "finish_reason": "stop"}) for n in range(100_000))
    program = """
import resource, sys
from m1.core.store import Store
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = Store(sys.argv[1])
print(len(store), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = run_python(program, tmp_path)
    records, mebibytes = map(float, done.stdout.split())
    assert records == 100_000
    assert mebibytes < 50


# --- the command `m1 store`
# ----------------------------------------------------------------------------------------------------------


def answer(text: str, served: str | None = "big", reason: str = "stop", thinking: str = "so") -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 40}}
    message = {"role": "assistant", "content": text, "reasoning_content": thinking}
    return {"message": message, "finish_reason": reason, "usage": usage, "seconds": 1.5, "served": served}


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with Store(tmp_path / "store" / "teacher") as store:
        store.put_many((digest(n), answer(str(n))) for n in range(8))
        store.put_many(
            [(digest(8), answer("8", "small", "length")), (digest(9), {"refused": {"status": 400, "message": "no"}})]
        )
    with Store(tmp_path / "store" / "infer-m1") as store:
        store.put(digest(0), {"token_ids": [1, 2, 3], "finish_reason": "stop"})
    return tmp_path / "store"


def test_stats_counts_by_model(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(["store", "stats", str(filled), "--price", "big=1,10", "--json"])
    found = json.loads(capsys.readouterr().out)
    rows = {(row["store"], row["model"]): row for row in found["models"]}
    assert set(rows) == {("teacher", "big"), ("teacher", "small"), ("teacher", ""), ("infer-m1", "")}
    big = rows["teacher", "big"]
    assert (big["records"], big["prompt_tokens"], big["thinking_tokens"], big["answer_tokens"]) == (8, 800, 320, 80)
    assert big["dollars"] == pytest.approx(8 * (100 * 1 + 50 * 10) / 1e6)
    assert rows["teacher", "small"]["finish"] == {"length": 1}
    assert rows["teacher", "small"]["dollars"] is None
    assert rows["teacher", ""]["refused"] == 1
    assert rows["infer-m1", ""]["generated_tokens"] == 3
    assert found["stores"][str(filled / "teacher")]["segments"] == 1

    (filled / "teacher" / "9-torn.jsonl").write_bytes(b'{"crc":"00')
    command(["store", "stats", str(filled), "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["models"] == [row | {"dollars": None} for row in found["models"]]
    assert "9-torn.jsonl byte 0" in said.err
    command(["store", "stats", str(filled / "teacher"), "--configfile"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split()[:4] == ["sum", "-", "10", "1"]
    assert "length 1, stop 8" in lines[-2]


def test_export_and_import_move_a_store(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, made = filled / "teacher", tmp_path / "made"
    command(["store", "export", str(source), str(tmp_path / "all.jsonl.gz")])
    command(["store", "export", str(source), str(tmp_path / "again.jsonl.gz")])
    assert (tmp_path / "all.jsonl.gz").read_bytes() == (tmp_path / "again.jsonl.gz").read_bytes()
    with Store(made) as store:
        store.put(digest(0), answer("mine"))
    capsys.readouterr()
    command(["store", "import", str(made), str(tmp_path / "all.jsonl.gz")])
    assert "9 records taken over, 1 were there already, 0 refused" in capsys.readouterr().out
    with Store(source) as old, Store(made) as new:
        assert new.get(digest(0)) == answer("mine")
        assert all(new.get(digest(n)) == old.get(digest(n)) for n in range(1, 10))
    command(["store", "export", str(source), str(tmp_path / "folder"), "--model", "big", "--skip-refused"])
    with Store(tmp_path / "folder") as store:
        assert set(store) == {digest(n) for n in range(8)}
    command(["store", "import", str(tmp_path / "third"), str(source), *map(str, made.glob("*.jsonl"))])
    with Store(tmp_path / "third") as store:
        assert len(store) == 10
    with pytest.raises(UserError, match="exists already"):
        command(["store", "export", str(source), str(tmp_path / "all.jsonl.gz")])


def test_import_refuses_damaged_lines_by_number(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = tmp_path / "all.jsonl.gz"
    command(["store", "export", str(filled / "teacher"), str(export)])
    lines = gzip.decompress(export.read_bytes()).splitlines(keepends=True)
    lines[3] = lines[3].replace(b"100", b"101")
    lines[5] = b"nonsense\n"
    export.write_bytes(gzip.compress(b"".join(lines)))
    capsys.readouterr()
    with pytest.raises(UserError, match="2 lines refused"):
        command(["store", "import", str(tmp_path / "new"), str(export)])
    said = capsys.readouterr().out
    assert f"{export}: line 4: damaged (key {digest(3)}); refused" in said
    assert f"{export}: line 6: no record; refused" in said
    with Store(tmp_path / "new") as store:
        assert set(store) == {digest(n) for n in range(10) if n not in (3, 5)}
    export.write_bytes(gzip.compress(b"".join(lines[:3]))[:-20])
    with pytest.raises(UserError, match="refused"):
        command(["store", "import", str(tmp_path / "new"), str(export)])
    assert "damaged or cut here" in capsys.readouterr().out


def test_verify_names_file_byte_and_key(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(["store", "verify", str(filled)])
    assert "teacher: 10 sound records (10 in force)" in capsys.readouterr().out
    [segment] = (filled / "teacher").glob("*.jsonl")
    content = segment.read_bytes()
    offset = content.index(digest(4).encode()) - len('{"crc":"01234567","key":"')
    segment.write_bytes(content[: offset + 120] + b"#" + content[offset + 121 :])
    done = run_python(
        "import sys; from m1.__main__ import main; sys.argv[1:] = sys.argv[1:]; main()",
        "store",
        "verify",
        filled / "teacher",
    )
    assert done.returncode == 1
    assert f"{segment}: byte {offset}, key {digest(4)}: damaged; it is asked again when needed" in done.stdout
    assert "error: 1 record lost" in done.stderr
    with Store(filled / "teacher") as store:
        store.put(digest(4), answer("4"))
    capsys.readouterr()
    command(["store", "verify", str(filled / "teacher")])
    assert "damaged; asked again since" in capsys.readouterr().out


def test_forget_refused(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(["store", "forget", "--refused", str(filled)])
    assert "teacher: 1 refused calls taken back" in capsys.readouterr().out
    with Store(filled / "teacher") as store:
        assert set(store) == {digest(n) for n in range(9)}
    command(["store", "verify", str(filled / "teacher")])
    assert "10 sound records (9 in force), 1 taken back" in capsys.readouterr().out
    command(["store", "export", str(filled / "teacher"), str(tmp_path / "e.jsonl")])
    assert len((tmp_path / "e.jsonl").read_bytes().splitlines()) == 9


ODD = [
    {"finish_reason": 7},
    {"finish_reason": ["stop"]},
    {"served": 5},
    {"usage": {"prompt_tokens": 2**63, "completion_tokens": 5}},
    {"usage": {"prompt_tokens": True, "completion_tokens": True}},
    {"usage": {"prompt_tokens": 1, "completion_tokens": float("nan")}},
    {"usage": 5},
    {"message": {"content": "\ud800"}, "served": "b\ud800"},
]


def test_stats_counts_what_older_releases_kept_as_it_came(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(filled / "teacher") as store:
        store.put_many((digest(100 + n), answer("odd") | odd) for n, odd in enumerate(ODD))
        store.put(digest(200), ["no", "answer"])
    command(["store", "stats", str(filled), "--price", "big=1,10", "--json"])
    found = json.loads(capsys.readouterr().out)["models"]
    rows = {row["model"]: row for row in found if row["store"] == "teacher"}
    assert rows["big"]["records"] == 8 + 6
    assert (rows["big"]["uncounted"], rows["big"]["prompt_tokens"]) == (4, 1000)
    assert rows["big"]["finish"] == {"stop": 12, "none": 2}
    assert rows[""]["finish"] == {"stop": 1, "no answer": 1}
    assert rows["b\ufffd"]["records"] == 1
    command(["store", "stats", str(filled)])
    assert "no answer 1" in capsys.readouterr().out
    command(["store", "export", str(filled / "teacher"), str(filled / "e.jsonl"), "--model", "big", "--skip-refused"])


def test_stats_tells_calls_without_an_answer(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(filled / "teacher") as store:
        journal = SpendingJournal(store)
        journal.in_flight |= {digest("lost"): (70, 900), digest(0): (1, 1)}
        journal.write(journal.text())
    command(["store", "stats", str(filled), "--json"])
    fact = json.loads(capsys.readouterr().out)["stores"][str(filled / "teacher")]
    assert fact["lost"] == {"calls": 1, "prompt_tokens": 70, "completion_tokens": 900}
    command(["store", "stats", str(filled)])
    assert "1 calls lost on the way, at most 70 + 900 tokens (prompt, completion)" in capsys.readouterr().out


def test_forget_one_key_and_what_it_cost_stays(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teacher = filled / "teacher"
    before = {path.name: path.read_bytes() for path in teacher.glob("*.jsonl")}
    uncounted = answer("uncounted") | {"usage": None, "at_most": {"prompt_tokens": 70, "completion_tokens": 900}}
    with Store(teacher) as store:
        store.put(digest("uncounted"), uncounted)
    command(["store", "forget", "--key", digest(3), "--key", digest("uncounted"), str(filled)])
    assert f"{teacher}: 2 records taken back; they are asked again when needed" in capsys.readouterr().out
    assert all((teacher / name).read_bytes() == content for name, content in before.items())
    with Store(teacher) as store:
        assert set(store) == {digest(n) for n in range(10)} - {digest(3)}
        beside, _ = Beside.read(store)
        assert (beside.taken_back, beside.lost) == (CallTotals(1, 100, 50), CallTotals(1, 70, 900))
        store.put(digest(3), answer("anew"))
        assert store.get(digest(3)) == answer("anew")
        assert Beside.read(store)[0] == beside
    with pytest.raises(UserError, match=f"no record of key {digest('typo')}"):
        command(["store", "forget", "--key", digest("typo"), str(filled)])


def test_what_to_forget_must_be_said(filled: Path) -> None:
    for choice in ([], ["--refused", "--key", digest(3)]):
        with pytest.raises(SystemExit):
            command(["store", "forget", *choice, str(filled)])


@pytest.mark.parametrize("action", [["stats"], ["verify"], ["forget", "--refused"]])
def test_folder_without_a_store_is_refused_and_not_made(tmp_path: Path, action: list[str]) -> None:
    with pytest.raises(UserError, match="no store here"):
        command(["store", *action, str(tmp_path / "typo")])
    assert not (tmp_path / "typo").exists()


def test_help_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        [["--help"], ["plan", "store"]],
        [["store", "--help"], ["stats", "export", "import", "verify", "forget"]],
    ):
        with pytest.raises(SystemExit, match="0"):
            command(arguments)
        said = capsys.readouterr().out
        assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("umask", "folders", "files"), [(0o022, 0o750, 0o640), (0o002, 0o770, 0o660), (0, 0o770, 0o660)]
)
def test_a_new_store_is_nobody_elses(umask: int, folders: int, files: int, tmp_path: Path) -> None:
    program = f"import os, sys; os.umask({umask}); sys.argv[2:] = ['x', '1']\n{WRITER}\nwith store.lock(): pass"
    done = run_python(program, tmp_path / "new/store/teacher")
    assert done.returncode == 0, done.stderr
    found = list((tmp_path / "new").rglob("*"))
    assert {path.name for path in found} >= {"store", "teacher", "lock"}
    for path in (tmp_path / "new", *found):
        assert path.stat().st_mode & 0o777 == (folders if path.is_dir() else files), path


def test_names_of_new_folders_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a power cut could lose a new store with its answers, or the journals of its first batches."""
    flushed: set[int] = set()
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        flushed.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", noting)
    store = tmp_path / "new/store/teacher"
    with Store(store) as opened:
        opened.put(digest(1), {})
    write_text(store / "batches/batch-1.json", "{}")
    assert {path.stat().st_ino for path in (tmp_path, tmp_path / "new", store.parent, store)} <= flushed


def test_modes_of_a_store_that_is_there_stay(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o755)
    with Store(tmp_path / "store"):
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o755
