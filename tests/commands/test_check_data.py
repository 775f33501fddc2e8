"""The check of all sets before a run: what is said of those that are correct, missing, optional, or other than
expected."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from m1.commands import check_data as check
from m1.core.errors import UserError
from m1.core.files import write_manifest
from m1.core.layouts import LAYOUTS
from m1.core.records import Question, questions_sha256
from m1.core.settings import Source
from m1.wiring.config import load
from m1.wiring.run import Run
from patience import PATIENCE
from runs import demo, demo_run, published_run

ROWS = [{"question": f"Which is {n}?", "options": {"A": "a", "B": "b"}, "answer_idx": "ABX"[n % 3]} for n in range(9)]
FROM_ONE = "".join(
    json.dumps({"question": f"{n}?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": n % 4 + 1}) + "\n"
    for n in range(6)
)
DEFAULT = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text(encoding="utf-8"))
REGISTRY = Path(__file__).parents[2] / "config" / "data.yaml"


def entry(**keys: Any) -> check.DataSet:
    return check.DataSet(**{"used_by": ("benchmarks.nejm",), "layout": "eval", **keys})


def run(folder: Path, given: dict[str, check.DataSet]) -> dict[str, dict[str, str]]:
    check.check(given, folder / "out.csv")
    return read(folder)


def read(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "out.csv", newline="", encoding="utf-8") as stream:
        return {row["entry"]: row for row in csv.DictReader(stream)}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.json"
    path.write_text(json.dumps({"NEJM": ROWS}))
    return path


def test_a_record_at_which_a_run_would_stop_is_a_problem_that_names_it(tmp_path: Path, good: Path) -> None:
    assert run(tmp_path, {"loose": entry(path=str(good), key="NEJM")})["loose"]["status"] == "found"
    with pytest.raises(UserError, match="1 of 1 sets cannot be used"):
        run(tmp_path, {"strict": entry(path=str(good), key="NEJM", strict=True)})
    row = read(tmp_path)["strict"]
    assert (row["status"], row["records"], row["questions"]) == ("problem", "9", "6")
    assert "record 2 (from 0), field 'answer_idx'" in row["note"]
    assert "set `invalid` to drop" in row["note"]


def test_each_set_has_its_row(tmp_path: Path, good: Path, capfd: pytest.CaptureFixture[str]) -> None:
    digest = hashlib.md5(good.read_bytes()).hexdigest()
    nowhere = str(tmp_path / "nowhere.jsonl")
    given = {
        "good": entry(
            path=str(good), key="NEJM", checksum=f"md5:{digest}", rows=9, used_by=("benchmarks.nejm", "pools.more")
        ),
        "subset": entry(path=str(good), key="NEJM", layout=None),
        "lancet": entry(optional=True, obtain="ask its authors.", rows=412),
        "gone": entry(path=nowhere, obtain="ask."),
        "short": entry(path=str(good), key="NEJM", rows=603, optional=True),
        "other": entry(path=str(good), key="NEJM", checksum=f"md5:{'0' * 32}"),
    }
    with pytest.raises(UserError, match="3 of 6 sets cannot be used"):
        run(tmp_path, given)
    rows = read(tmp_path)
    assert {name: row["status"] for name, row in rows.items()} == {
        "good": "found",
        "subset": "found",
        "lancet": "left out",
        "gone": "missing",
        "short": "problem",
        "other": "problem",
    }
    assert len(rows["good"].pop("questions_sha256")) == 64
    assert rows["good"] == {
        "entry": "good",
        "used_by": "benchmarks.nejm pools.more",
        "status": "found",
        "records": "9",
        "expected": "9",
        "questions": "6",
        "refused": "3 answer_idx: the answer's letter is not among the options",
        "options": "2: 6",
        "answers": "A: 3, B: 3",
        "odd": "",
        "checksum": "ok",
        "note": "",
    }
    assert (rows["subset"]["questions"], rows["subset"]["checksum"]) == ("", "not pinned")
    assert (rows["short"]["records"], rows["short"]["questions"]) == ("9", "6")
    assert "set its `rows` to 9 or null" in rows["short"]["note"]
    assert f"its md5 is {digest}" in rows["other"]["note"]
    said = capfd.readouterr().out
    assert "[data-check] 6/6 sets" in said
    assert "left out: lancet (for benchmarks.nejm): lancet: it has neither" in said
    assert "To get it: ask its authors." in said
    header, first = said.splitlines()[1:3]
    assert header.index("records") + len("records") == first.index(" 9 ") + 2  # numbers stand below each other


def test_what_only_the_whole_set_shows_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [f"{n},Which {n}?,a,b,,{'AB'[n == 8]}" for n in (1, 2, 3, 3, 4, 5, 6, 7)]
    (tmp_path / "one.csv").write_text("\n".join(["id,question,opa,opb,opc,answer_idx", *lines, "3,Which 3?,a,b,,B"]))
    (tmp_path / "all.csv").write_text("\n".join(["id,question,opa,opb,opc,answer_idx", *lines]))
    many = [f"{n},Which {n}?,a,b,c,{'AB'[n % 2]}" for n in range(30)]
    (tmp_path / "never.csv").write_text("\n".join(["id,question,opa,opb,opc,answer_idx", *many]))
    given = {name: entry(path=str(tmp_path / f"{name}.csv"), layout="medbullets") for name in ("one", "all", "never")}
    rows = run(tmp_path, given)
    twice = "repeated questions, options and all: 1"
    assert (rows["one"]["options"], rows["one"]["answers"]) == ("2: 9", "A: 8, B: 1")
    assert (
        rows["one"]["odd"] == f"{twice}; repeated questions with another correct option: 1; repeated values of 'id': 2"
    )
    same = "the correct option is A in each of 8 questions"
    assert rows["all"]["odd"] == f"{same}; {twice}; repeated values of 'id': 1"
    assert rows["never"]["odd"] == "the correct option is never C in 30 questions"
    assert f"odd: all (for benchmarks.nejm): {same}; " in capfd.readouterr().out
    assert {row["status"] for row in rows.values()} == {"found"}


@pytest.mark.parametrize(
    ("layout", "name", "text", "note"),
    [
        ("medbullets", "a.csv", "question,opa,opb,answer_idx\n", "no question in it (of 0 records)"),
        ("medbullets", "a.csv", "", "the file is empty"),
        ("medbullets", "a.csv", "question,opa,opb,answer_idx\nWhich, if any?,a,b,A\n", "line 2: 5 cells"),
        (
            "eval",
            "a.jsonl",
            '{"question": "q", "options": {"A": "a", "B": "b"}, "answer_idx": "2"}\n',
            "1 answer_idx: the",
        ),
        ("medmcqa", "a.jsonl", FROM_ONE, "field 'cop': the numbers seem to count from 1, not from 0"),
    ],
)
def test_a_set_that_a_run_would_refuse_is_a_problem_although_records_may_be_left_out(
    tmp_path: Path, layout: str, name: str, text: str, note: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="1 of 1 sets cannot be used"):
        run(tmp_path, {"mine": entry(path=str(tmp_path / name), layout=layout)})
    row = read(tmp_path)["mine"]
    assert row["status"] == "problem"
    assert note in row["note"]


def test_all_is_well_with_optional_sets_missing(tmp_path: Path, good: Path) -> None:
    rows = run(tmp_path, {"good": entry(path=str(good), key="NEJM"), "lancet": entry(optional=True)})
    assert [row["status"] for row in rows.values()] == ["found", "left out"]


@pytest.mark.server
def test_a_hub_that_never_answers_is_asked_once(tmp_path: Path) -> None:
    """Of all sets the one reason, and not after every one's own retries."""
    listener = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # accepts connections, and is never served
    given = {f"set {n}": entry(hub="some/set", split="test") for n in range(7)}
    given |= {f"file {n}": entry(hub="some/set", file="a.jsonl") for n in range(7)}
    code = (
        "import json, pathlib, sys; from m1.core.errors import run; from m1.commands import "
        "check_data as check; check.PATIENCE = 1; "
        "sets = {name: check.DataSet.from_json(text) for name, text in json.loads(sys.argv[1]).items()}; "
    )
    code += "run(lambda _: check.check(sets, pathlib.Path(sys.argv[2])))"
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{listener.server_port}",
        "HF_HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
    }
    environment["PYTHONPATH"] = str(Path(check.__file__).parents[2])
    command = [
        sys.executable,
        "-c",
        code,
        json.dumps({name: one.to_json() for name, one in given.items()}),
        str(tmp_path / "out.csv"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment)
    with listener.socket:
        listener.socket.setblocking(False)
        asked = 0
        with suppress(BlockingIOError):
            while listener.socket.accept():
                asked += 1
    assert done.returncode == 1, done.stderr
    assert asked == 1
    rows = read(tmp_path)
    assert {row["status"] for row in rows.values()} == {"problem"}
    assert {row["note"] for row in rows.values()} == {
        "the hub does not answer (timed out), and its cache here does not hold some/set"
    }, done.stderr


@pytest.mark.server
def test_a_hub_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    class Refuses(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuses)
    Thread(target=server.handle_request, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert check.hub_failure() == ""
    server.server_close()
    assert "refused" in check.hub_failure().lower()
    assert constants.HF_HUB_OFFLINE


def test_a_configuration_is_checked_as_a_run_would_read_it(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overlay = {
        "pathvars": {"results": "out"},
        "data": {"mine": {"layout": "eval", "path": str(good), "key": "NEJM", "rows": 9}},
        "pools": dict.fromkeys(("medqa", "headqa", "medmcqa", "pubmedqa"))
        | {"only": {"from": "mine", "invalid": "drop"}},
        "benchmarks": dict.fromkeys(DEFAULT["benchmarks"])
        | {"own": {"from": "mine", "invalid": "drop"}, "lancet": {"from": "lancet", "optional": True}},
    }
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay))
    check.main(["--configfile", "overlay.yaml"])
    with open("out/data_check.csv", newline="", encoding="utf-8") as stream:
        rows = {row["entry"]: row for row in csv.DictReader(stream)}
    assert {name: (row["used_by"], row["status"]) for name, row in rows.items()} == {
        "mine": ("pools.only benchmarks.own", "found"),
        "lancet": ("benchmarks.lancet", "left out"),
    }
    asked = [row for row in ROWS if row["answer_idx"] in row["options"]]
    questions = [Question("id", "mine", row["question"], None, ("a", "b"), row["answer_idx"]) for row in asked]
    assert rows["mine"]["questions_sha256"] == questions_sha256(questions)
    assert rows["lancet"]["questions_sha256"] == ""


def test_an_entry_names_the_pools_and_benchmarks_that_use_it() -> None:
    pubmedqa = {"from": "pubmedqa_labeled", "part": None}
    benchmarks = {"pubmedqa": pubmedqa | {"optional": True}}
    found = check.data_sets(demo_run(pools=demo()["pools"] | {"pubmedqa": pubmedqa}, benchmarks=benchmarks))
    assert set(found) == {"pubmedqa_labeled"}, "the run makes the others itself"
    one = found["pubmedqa_labeled"]
    assert one.used_by == ("pools.pubmedqa", "benchmarks.pubmedqa")
    assert (one.optional, one.strict, one.rows, one.layout) == (False, True, 1000, "pubmedqa")


def test_a_published_subset_is_a_set_without_questions() -> None:
    one = check.data_sets(published_run())["m23k_tokenized"]
    assert (one.used_by, one.layout, one.hub) == (("published.subsets.m23k",), None, "UCSC-VLAA/m23k-tokenized")


def test_files_of_published_answers_are_sets_of_their_own() -> None:
    one = {"from": "m1_results", "file": "a.json", "budget": 192}
    run = demo_run(published=demo()["published"] | {"beside": {"m1-small-1k": [one], "m1-large-1k": [one]}})
    ((name, found),) = ((name, found) for name, found in check.data_sets(run).items() if name.startswith("m1_results"))
    assert (name, found.used_by) == (
        "m1_results: a.json",
        ("published.beside.m1-small-1k", "published.beside.m1-large-1k"),
    )
    assert (found.hub, found.file, found.optional) == ("UCSC-VLAA/m1-results", "a.json", False)
    assert {"m1_results: a.json", "m1_results: b.json"} <= check.data_sets(published_run()).keys()


@pytest.mark.parametrize("form", ["list", "object"])
def test_a_file_of_published_answers_is_read_in_both_of_its_forms(tmp_path: Path, form: str) -> None:
    rows = [{"source": name} for name in ("NEJM", "Lancet", "NEJM", "HumanityLastExam")]
    lists = {name: [row for row in rows if row["source"] == name] for name in ("NEJM", "Lancet", "HumanityLastExam")}
    (tmp_path / "a.json").write_text(json.dumps(rows if form == "list" else lists))
    answers = entry(path=str(tmp_path / "a.json"), layout=None, lists=("NEJM", "Lancet"))
    row = run(tmp_path, {"m1_results: a.json": answers})["m1_results: a.json"]
    assert (row["status"], row["records"], row["questions"], row["odd"]) == ("found", "3", "", "")
    more = entry(path=str(tmp_path / "a.json"), layout=None, lists=("NEJM", "HumanityLastExam", "GPQA"))
    if form == "list":
        assert run(tmp_path, {"more": more})["more"]["odd"] == "no answer to a question of GPQA"


@pytest.mark.parametrize(
    ("text", "status", "note"),
    [
        (None, "missing", "a.json: no such file"),
        ('[{"question": "?"}]', "problem", "record 0 (from 0), field 'source': the benchmark's name is needed"),
        ('{"Lancet": []}', "missing", "no list 'NEJM'; there is Lancet"),
        ('[{"source": "Lancet"}]', "problem", "a.json: no answer to a question of NEJM. Give a file as the authors"),
    ],
)
def test_a_file_that_holds_no_published_answers_is_named(
    tmp_path: Path, text: str | None, status: str, note: str
) -> None:
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match="1 of 1 sets cannot be used"):
        run(tmp_path, {"answers": entry(path=str(tmp_path / "a.json"), layout=None, lists=("NEJM",))})
    row = read(tmp_path)["answers"]
    assert row["status"] == status
    assert note in row["note"]


def test_a_configuration_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such configuration file"):
        check.main(["--configfile", "nowhere.yaml"])


def test_the_registry_is_whole() -> None:
    """Every entry has the keys that reading it needs, the sizes are the paper's, and nothing is pinned by halves."""
    data = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))["data"]
    known = {*Source.__dataclass_fields__, "layout", "title", "licence", "sets", "sources", "fields"}
    for name, one in data.items():
        assert set(one) <= known, name
        assert one["title"], name
        assert one["licence"], name
        assert one.get("layout") is None or one["layout"] in LAYOUTS, name
        assert ("hub" in one) != ("obtain" in one), name
        assert ("hub" in one) == ("revision" in one), name
        assert "checksum" not in one or "file" in one, name
    collected = [data[name]["rows"] for name in ("medqa_train", "headqa_train", "medmcqa_train")]
    assert sum(collected) + 500 == 196_157
    with open(REGISTRY.parents[1] / "resources" / "paper" / "benchmarks.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    evaluation = data["m1_eval_data"]
    assert {key: (one["rows"], one["key"]) for key, one in evaluation["sets"].items()} == {
        row["key"]: (int(row["n"]), row["list"]) for row in rows
    }
    assert {row["evaluation"] for row in rows} == {evaluation["checksum"]}
    assert all(re.fullmatch("([0-9a-f]{64})?", row["questions"]) for row in rows)


def test_counts_of_the_curation_stand_beside_the_papers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    run = Run(load([REGISTRY.parent / "paper.yaml"], [f"pathvars={{results: {results}}}"]))
    (results / "pools").mkdir(parents=True)
    counts, file = {"collected": 196_157, "merged": 192_000}, run.published_counts[0]
    write_manifest(
        results / "pools/merged.json", inputs={}, settings={}, counts=counts, started=time.time(), published=file
    )
    rows = check.step_counts(run)
    found = {(row["step"], row["count"]): (row["found"], row["equal"]) for row in rows}
    assert found["pools/merged", "collected"] == (196_157, "yes")
    assert found["pools/merged", "merged"] == (192_000, "no")
    assert found["select/m1k", "sources.medqa"] == (None, "")
    check.tell_counts(rows, tmp_path / "counts.csv")
    said = capfd.readouterr().out
    assert "pools/merged: 1 of 2 as published; merged 192000 (published 192,023)" in said
    assert "select/m1k: not made yet" in said
    assert len((tmp_path / "counts.csv").read_text().splitlines()) == len(rows) + 1
    assert check.step_counts(demo_run()) == []
