"""Reading published sets: local files, and a hub that fails in every way, played by a real HTTP server on loopback."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import COMMIT, Hub, serving
from m1.core import sources
from m1.core.errors import UserError
from patience import PATIENCE

ROWS = [{"question": f"Which is {n}?", "category": ("health", "biology", "law")[n % 3], "n": n} for n in range(9)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
FILES = {"questions.jsonl": LINES, "eval.json": json.dumps({"Lancet": ROWS, "NEJM": ROWS[:2]}).encode()}


def test_a_file_outside_of_its_repository_is_refused(hub: Hub) -> None:
    for file in ("../../x.jsonl", "/etc/passwd", "a/../../x.jsonl"):
        with pytest.raises(UserError, match=r"^mine: file '.*' is outside of some/set"):
            sources.read(sources.Source(hub="some/set", file=file), "mine")
    assert not hub.asked


def swollen(path: Path, kind: str) -> None:
    """A file of some kilobytes or less that unpacks to 50 GB: by the dictionary of a column, a list or a structure,
    by compression, by repeated rows, or by gzip."""
    million, some = 10**6, 50_000
    if kind == "gzip":
        block = gzip.compress(bytes(100 * million))
        path.write_bytes(block * 500)
        return
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * some, pa.int32()), pa.array(["x" * million]))
    offsets = pa.array(range(0, some + 1, some // 5), pa.int32())
    column = {
        "dictionary": texts,
        "list": pa.ListArray.from_arrays(offsets, texts),
        "structure": pa.StructArray.from_arrays([texts], ["a"]),
        "compression": pa.array(["x" * 100 * million]),
        "rows": pa.nulls(100 * million, pa.bool_()),
    }[kind]
    wanted = pa.schema([("question", column.type)])
    options = {
        "compression": "zstd",
        "store_schema": False,
        "write_statistics": False,
        "use_dictionary": kind != "compression",
    }
    with pq.ParquetWriter(path, wanted, dictionary_pagesize_limit=2**30, **options) as parquet:
        for _ in range(50 if kind == "compression" else 1):
            parquet.write_table(pa.table({"question": column}))


@pytest.mark.parametrize("kind", ["dictionary", "list", "structure", "compression", "rows", "gzip"])
def test_a_small_file_that_unpacks_to_much_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.json.gz" if kind == "gzip" else "x.parquet")
    swollen(path, kind)
    assert path.stat().st_size < 60e6
    code = (
        "import resource, sys; from m1.core import sources; sources.UNPACKED = 10**9\n"
        "try: sources.read_local(sys.argv[1])\n"
        "except sources.UserError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(sources.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=PATIENCE, env=environment
    )
    assert done.returncode == 0, done.stderr
    message, megabytes = done.stdout.splitlines()
    assert message.startswith(f"{path}: it unpacks to more than 1 GB")
    assert int(megabytes) < 1500


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving({"datasets/some/set": FILES}) as server:
        yield server


READ = """
import json, sys, time
from m1.core.errors import UserError
from m1.core import sources
time.sleep = lambda seconds: None
try:
    result = ["", *sources.read(sources.Source(**json.loads(sys.argv[1])), "exam")]
except UserError as error:
    result = [type(error).__name__, str(error), None]
print("RESULT" + json.dumps(result))
"""


class Client:
    """A process of its own reads, because the hub's client takes its address from the environment once. It never really
    waits."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.home = home
        self.environment = hub.environment(home) | {"PYTHONPATH": str(Path(sources.__file__).parents[2])}
        self.said = ""

    def read(self, **source: Any) -> tuple[str, str, Any]:
        """Name of the error or nothing, the place or the message, and the records."""
        command = [sys.executable, "-c", READ, json.dumps({"hub": "some/set", "revision": "main", **source})]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, env=self.environment, cwd=self.home
        )
        self.said, _, result = done.stdout.partition("RESULT")
        assert result, done.stderr
        return tuple(json.loads(result))  # type: ignore[return-value]

    def taken(self) -> list[bytes]:
        """What lies in the cache under a final name."""
        return [path.read_bytes() for path in self.home.rglob("snapshots/*/*") if path.is_file()]


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    return Client(hub, tmp_path)


@pytest.mark.server
def test_a_file_of_the_hub_is_downloaded_once(hub: Hub, client: Client) -> None:
    assert client.read(file="questions.jsonl") == ("", "some/set/questions.jsonl", ROWS)
    assert client.read(file="questions.jsonl", revision=COMMIT) == ("", "some/set/questions.jsonl", ROWS)
    assert hub.asked.count("GET") == 1
    digest = hashlib.md5(FILES["eval.json"]).hexdigest()
    assert client.read(file="eval.json", key="NEJM", checksum=f"md5:{digest}", rows=2)[2] == ROWS[:2]


@pytest.mark.server
def test_a_pinned_revision_is_asked_for_by_its_commit(hub: Hub, client: Client, tmp_path: Path) -> None:
    read: dict[str, Any] = {"file": "questions.jsonl"}
    client.read(**read)
    assert (tmp_path / "hub/datasets--some--set/refs/main").read_text() == COMMIT, "this is what `m1 pin` looks at"
    client.environment["HF_HOME"] = str(tmp_path / "another machine")
    (tmp_path / "config").mkdir()
    (tmp_path / "config/revisions.lock.yaml").write_text(f"some/set: {{main: {COMMIT}}}\n")
    hub.paths.clear()
    assert client.read(**read)[2] == ROWS
    assert {path.split("/")[5] for path in hub.paths} == {COMMIT}


@pytest.mark.server
def test_a_split_of_the_hub_goes_through_datasets(hub: Hub, client: Client) -> None:
    hub.repositories = {"datasets/some/set": {"questions.jsonl": LINES}}
    hub.faults["GET"] = ["503"]
    kind, place, rows = client.read(split="train", where={"category": ["health", "biology"]})
    assert (kind, rows) == ("", [row for row in ROWS if row["category"] != "law"]), place
    assert place == "some/set (config None, split train, revision main) where category is health or biology"
    kind, message, _ = client.read(split="nowhere")
    assert kind == "UserError"
    assert 'Unknown split "nowhere"' in message


@pytest.mark.server
def test_a_server_in_trouble_is_asked_again(hub: Hub, client: Client) -> None:
    hub.faults["GET"] = ["503", "500"]
    assert client.read(file="questions.jsonl")[2] == ROWS
    assert hub.asked.count("GET") == 3
    lines = [line for line in client.said.splitlines() if "Trying again" in line]
    assert len(lines) == 2
    assert "[pools] exam: some/set/questions.jsonl: Server error '503 Service Unavailable'" in lines[0]
    assert "Trying again in 2 s (2 of 4)." in lines[0]
    assert "Trying again in 4 s (3 of 4)." in lines[1]


@pytest.mark.server
def test_a_connection_cut_in_the_middle_leaves_nothing_half_written(hub: Hub, client: Client) -> None:
    hub.faults["GET"] = ["cut"]
    assert client.read(file="questions.jsonl")[2] == ROWS
    assert client.taken() == [LINES]

    hub.faults["GET"] = ["cut", *["drop"] * 100]
    kind, message, _ = client.read(file="eval.json", key="NEJM")
    assert kind == "Unreachable"
    assert "tried 4 times" in message
    assert "Check the network and run again" in message
    assert client.taken() == [LINES]
    hub.faults["GET"] = []
    assert client.read(file="eval.json", key="NEJM")[2] == ROWS[:2]


def test_no_server_at_all(hub: Hub, client: Client) -> None:
    hub.shutdown()
    hub.server_close()
    for source in ({"file": "questions.jsonl"}, {"split": "train"}):
        kind, message, _ = client.read(**source)
        assert kind == "Unreachable", message
        assert "tried 4 times" in message
    client.environment["HF_HUB_OFFLINE"] = "1"
    kind, message, _ = client.read(file="questions.jsonl")
    assert (kind, "tried 1 times" in message) == ("Unreachable", True)


@pytest.mark.server
@pytest.mark.parametrize(
    ("source", "faults", "said"),
    [
        ({"file": "questions.jsonl"}, ["gated"] * 9, "Cannot access gated repo"),
        ({"file": "nothing.jsonl"}, [], "Entry Not Found"),
        ({"hub": "no/where", "file": "questions.jsonl"}, [], "Repository Not Found"),
        ({"hub": "no/where", "split": "train"}, [], "doesn't exist on the Hub or cannot be accessed"),
    ],
)
def test_what_is_not_there_is_missing_at_once(
    hub: Hub, client: Client, source: dict[str, Any], faults: list[str], said: str
) -> None:
    hub.faults["HEAD"] = faults
    kind, message, _ = client.read(**source, obtain="ask its authors.")
    assert kind == "Missing", message
    assert message.startswith(f"exam: {source.get('hub', 'some/set')}")
    assert said in message
    assert message.endswith("To get it: ask its authors.")
    assert "Trying again" not in client.said


@pytest.mark.server
def test_checksums_of_local_files_and_of_the_hub(tmp_path: Path, client: Client) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    for kind in ("md5", "sha256"):
        correct = f"{kind}:{hashlib.new(kind, LINES).hexdigest()}"
        assert sources.read(sources.Source(**{"path": str(path), "checksum": correct}), "exam") == (str(path), ROWS)
        wrong = f"{kind}:{'0' * len(correct.partition(':')[2])}"
        with pytest.raises(
            UserError,
            match=f"its {kind} is {correct[len(kind) + 1 :]}, but 0+ is expected.*set the entry's `checksum` "
            f"to {correct}",
        ):
            sources.read(sources.Source(**{"path": str(path), "checksum": wrong}), "exam")
    with pytest.raises(UserError, match="must begin with md5: or sha256:"):
        sources.read(sources.Source(**{"path": str(path), "checksum": "crc:1"}), "exam")
    with pytest.raises(UserError, match="`checksum` is of a file; give the `file`"):
        sources.read(sources.Source(**{"hub": "some/set", "split": "train", "checksum": correct}), "exam")
    kind, message, _ = client.read(file="questions.jsonl", checksum=f"sha256:{'0' * 64}")
    assert (kind, "delete it, if it came from the hub" in message) == ("UserError", True)


def test_where_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES))
    source = {"path": str(path), "where": {"category": ["health"], "n": [3, 6]}}
    assert sources.read(sources.Source(**{**source, "rows": 2}), "exam") == (
        f"{path} where category is health and n is 3 or 6",
        [ROWS[3], ROWS[6]],
    )
    with pytest.raises(UserError, match=r"2 records, but 1,535 are expected of exam.*set its `rows` to 2 or null"):
        sources.read(sources.Source(**{**source, "rows": 1535}), "exam")
    nothing = {"nothing": ("x",), "category": ("helth",)}
    said = r"where nothing is x and category is helth: none of 9 records. No record has a field 'nothing'. "
    with pytest.raises(UserError, match=f"{said}'category' holds health, biology, law. Correct `where`.$"):
        sources.read(sources.Source(**{**source, "where": nothing, "rows": None}), "exam")


@pytest.mark.parametrize(
    ("held", "wanted", "kept"),
    [
        (2016, "2016", True),
        ("2016", 2016, True),
        ("2016.0", 2016, True),
        (2016.0, 2016, True),
        ("2017", 2016, False),
        ("9007199254740993", 9007199254740992, False),  # one and the same as floating numbers
        (1, True, False),
        (True, 1, False),
        (True, True, True),
        ("True", True, True),
        (True, "true", True),
        ("true", False, False),
        ("007", "7", False),
        ("health", 1, False),
        (None, "None", False),
        (None, 0, False),
    ],
)
def test_where_compares_numbers_with_numbers(tmp_path: Path, held: Any, wanted: Any, kept: bool) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"year": held}) + '\n{"year": "always"}\n')
    rows = sources.read(sources.Source(path=str(path), where={"year": (wanted, "always")}), "exam")[1]
    assert [row["year"] for row in rows] == ([held] if kept else []) + ["always"]


def test_a_column_of_a_parquet_file_that_stands_twice_is_named(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["question", "question"])
    pq.write_table(table, tmp_path / "mine.parquet")
    with pytest.raises(UserError, match=r"mine.parquet: heading 'question' stands 2 times \(columns 1, 2\)"):
        sources.read_local(tmp_path / "mine.parquet")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.jsonl",
            '{"x": 1}\n{"opa": "a", "opb": "b", "opa": "c"}\n',
            "line 2: .*key 'opa' stands 2 times",
        ),
        ("a.jsonl", '{"options": {"A": "a", " A": "b"}}\n', "line 1: .*key 'A' stands 2 times in one object"),
        ("a.json", '{"MedQA": [], "MedQA": []}', "a.json: not readable as .json: key 'MedQA' stands 2 times"),
        ("a.json", "[" * 100_000, "a.json: not readable as .json: nested too deeply"),
        ("a.jsonl", '{"x": 1}\n' + '{"x":' * 100_000, "line 2: not a JSON record: nested too deeply"),
    ],
)
def test_json_that_would_be_read_as_something_else_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        sources.read_local(tmp_path / name)


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(LINES * 100))
    content[20:40] = bytes(20)
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jsonl\.gz: not readable as \.jsonl"):
        sources.read_local(tmp_path / "a.jsonl.gz")


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(
        sources.Missing, match=r"exam: it has neither a local `path` nor a `hub` name\. To get it: ask\.$"
    ):
        sources.read(sources.Source(**{"obtain": "ask."}), "exam")
    with pytest.raises(sources.Missing, match=r"nowhere\.jsonl: no such file.*set it to null and give `hub`\.$"):
        sources.read(sources.Source(**{"path": str(tmp_path / "nowhere.jsonl"), "obtain": ""}), "exam")
    with pytest.raises(UserError, match="`split` is null"):
        sources.read(sources.Source(**{"hub": "some/set"}), "exam")


def test_path_comes_before_hub(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    source = {"path": str(tmp_path / "a.jsonl"), "hub": "some/set", "file": "other.jsonl", "split": "train"}
    assert sources.read(sources.Source(**source), "exam")[1] == ROWS
