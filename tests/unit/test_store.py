"""The store of calls: what was acknowledged is there, whatever happens to the writer or the files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import m1
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from m1.errors import UserError
from m1.files import digest
from m1.store import Store

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(m1.__file__).parents[1])}
WRITER = """
import sys
from m1.files import digest
from m1.store import Store

folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store(folder) as store:
    for number in range(count):
        store.put(digest([name, number]), {"name": name, "number": number, "text": "x" * 500})
        print(number, flush=True)
"""


def start_writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
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


@settings(max_examples=150, deadline=None)
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
from m1.errors import UserError
from m1.files import digest
from m1.store import Store

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
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    number, message = done.stdout.split(maxsplit=1)
    assert f"The {number} records before are kept. Free space" in message
    with Store(tmp_path) as store:
        assert all(digest(n) in store for n in range(int(number)))
        assert store.get(digest("after")) == {"ok": True}


def test_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: the store cannot be read"):
        Store(tmp_path / "file")


def test_a_hundred_thousand_records_load_fast(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many((digest(n), {"token_ids": list(range(30)), "finish_reason": "stop"}) for n in range(100_000))
    started = time.process_time()
    with Store(tmp_path) as store:
        seconds = time.process_time() - started
        assert len(store) == 100_000
    assert seconds < 2
