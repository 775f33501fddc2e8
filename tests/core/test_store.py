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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import m1
import m1.core.segments
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.__main__ import dispatch as command
from m1.core.errors import UserError
from m1.core.files import digest
from m1.core.store import Store

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


def test_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: the store cannot be read"):
        Store(tmp_path / "file")


def test_a_hundred_thousand_records_load_fast(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many((digest(n), {"token_ids": list(range(30)), "finish_reason": "stop"}) for n in range(100_000))
    program = """
import resource, sys, time
from m1.core.store import Store
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
store = Store(sys.argv[1])
print(len(store), time.process_time() - started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = run_python(program, tmp_path)
    records, seconds, mebibytes = map(float, done.stdout.split())
    assert records == 100_000
    assert seconds < 2
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
    with pytest.raises(UserError, match="is there already"):
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


def test_modes_of_a_store_that_is_there_stay(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o755)
    with Store(tmp_path / "store"):
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o755
