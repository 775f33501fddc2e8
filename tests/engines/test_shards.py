"""Shards: every question is in one of them, and together they fill the store."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import m1
import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.core.records import Question, write
from m1.engines.shards import in_shard, owned_shard, shard
from m1.engines.shards import questions as dealt
from m1.screen import attempt
from patience import PATIENCE
from random_model import random_model
from screening import QUESTIONS, screened


def asked(number: int, identity: str) -> Question:
    return Question(identity, "medqa", f"Which of {number}?", None, ("this", "that"), "A")


@given(st.integers(1, 60), st.lists(st.integers(0, 50), max_size=80))
def test_each_question_is_in_one_shard_and_equal_ones_in_the_same(count: int, numbers: list[int]) -> None:
    of: dict[int, int] = {}
    for place, number in enumerate(numbers):
        (found,) = [i for i in range(1, count + 1) if in_shard(asked(number, f"q{place}"), (i, count))]
        assert of.setdefault(number, found) == found


def test_shards_take_about_as_much() -> None:
    sizes = Counter(i for number in range(4800) for i in range(1, 49) if in_shard(asked(number, "q"), (i, 48)))
    assert len(sizes) == 48
    assert 60 < min(sizes.values()) <= max(sizes.values()) < 140


def test_a_shard_goes_through_its_questions_in_their_order(tmp_path: Path) -> None:
    questions = [asked(number, f"q{number}") for number in range(20)]
    write(tmp_path / "a.parquet", questions, Question)
    found = list(dealt([tmp_path / "a.parquet"], (2, 3)))
    mine = [question for question in questions if in_shard(question, (2, 3))]
    assert found == [("a", question) for question in mine]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="I/N is needed"):
        shard(text)


@pytest.mark.train
def test_shards_fill_the_store_and_what_they_left_out_is_said(model_folder: Path, tmp_path: Path) -> None:
    whole, counts = screened(model_folder, tmp_path / "whole")
    here = tmp_path / "parts"
    write(here / "questions.parquet", QUESTIONS, Question)
    flags = {
        "--name": "small",
        "--model": model_folder,
        "--questions": here / "questions.parquet",
        "--settings": '{"prompt": "plain", "answer_limit": 6, "rule": "released"}',
        "--serve": '{"engine": "transformers", "dtype": "float32", "options": {}}',
        "--runtime": json.dumps({"batch": 4, "options": {}}),
        "--store": here / "store",
    }
    common = [str(part) for pair in flags.items() for part in pair]
    manifests = [str(here / f"shards/{number}-of-2.json") for number in (1, 2)]
    gather = [
        *common,
        "--output",
        str(here / "attempts.parquet"),
        "--manifest",
        str(here / "attempts.json"),
        "--gather",
        manifests[0],
    ]
    attempt.main([*common, "--shard", "1/2", "--manifest", manifests[0]])
    assert not (here / "attempts.parquet").exists()
    Path(manifests[1]).write_bytes(Path(manifests[0]).read_bytes())
    with pytest.raises(
        UserError, match=r"generations of screen small are missing, although its shards are done. Remove .*/shards "
    ):
        attempt.main(gather)
    attempt.main([*common, "--shard", "2/2", "--manifest", manifests[1]])
    attempt.main(gather)
    assert (here / "attempts.parquet").read_bytes() == whole
    assert json.loads((here / "attempts.json").read_text())["counts"] == counts


GENERATE = """
import argparse, dataclasses, sys
from pathlib import Path
from generations import generated, requests
from m1.core.files import digest
from m1.engines import cached
from m1.engines.settings import ServeRuntime, ServeSettings

model, store, shard = Path(sys.argv[1]), Path(sys.argv[2]), tuple(map(int, sys.argv[3].split("/")))
cached.tokenizer_of = lambda *_: None  # the model has none
serve = ServeSettings(engine="transformers", dtype="float32", options={})
given = {"model": model, "store": store, "shard": shard, "serve": serve, "runtime": ServeRuntime(2, {})}
asked = [dataclasses.replace(request, stop=()) for request in requests(120, 60)]
print("ready", flush=True)
sys.stdin.readline()
given |= {"template": None, "gather": None, "look": None, "step": None}
with cached.open_engine(argparse.Namespace(**given), "infer m") as (engine, _, _):
    print("made", digest([[one.token_ids, one.finish_reason] for one in generated(engine, asked)]))
    print("generated", engine.generated, flush=True)
"""


def generating(*arguments: object, **more: Any) -> subprocess.Popen[str]:
    places = [str(Path(m1.__file__).parents[1]), str(Path(random_model.__code__.co_filename).parent)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = [sys.executable, "-c", GENERATE, *map(str, arguments)]
    return subprocess.Popen(words, env=environment, text=True, **pipes, **more)


def kept(store: Path) -> list[str]:
    """Keys of what is generated, as often as it was."""
    lines = [line for path in store.glob("*.jsonl") for line in path.read_text().splitlines(keepends=True)]
    return sorted(line.partition('"key":"')[2][:64] for line in lines if line.endswith("\n"))


@pytest.mark.train
@pytest.mark.parametrize("ends", ["in the end", "by a kill"])
@pytest.mark.slow
def test_two_folders_on_one_store_generate_nothing_twice(tmp_path: Path, ends: str) -> None:
    model, store = random_model(tmp_path / "model"), tmp_path / "store"
    first, second = generating(model, store, "1/1"), generating(model, store, "2/3")  # shards that overlap
    for process in (first, second):
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    print(file=first.stdin, flush=True)
    while not kept(store):  # 64 are put at a time
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # it does not end before the other one has seen it
    assert len(kept(store)) < 120
    print(file=second.stdin, flush=True)
    assert second.stderr
    said = second.stderr.readline()
    assert f"[infer m] process {first.pid} on {socket.gethostname()} since 20" in said
    assert f"is generating the same into {store}; waiting for it" in said
    first.send_signal(signal.SIGKILL if ends == "by a kill" else signal.SIGCONT)
    made = [process.communicate(timeout=PATIENCE)[0].splitlines() for process in (first, second)]
    assert len(kept(store)) == len(set(kept(store))) == 120
    assert not list(store.glob("*.lock")), "no lock is left, not even the dead one's"
    if ends == "in the end":
        assert made[0][-2] == made[1][-2], "both have the same"
        assert made[1][-1] == "generated 0"


@pytest.mark.train
def test_shards_of_one_number_go_on_side_by_side(tmp_path: Path) -> None:
    with owned_shard(tmp_path, "0" * 64, (1, 2), "one") as lock:
        assert lock.kernel
        program = (
            "import sys; from pathlib import Path; from m1.engines.shards import owned_shard\n"
            "with owned_shard(Path(sys.argv[1]), '0' * 64, (2, 2), 'two'): print('owned')"
        )
        environment = os.environ | {"PYTHONPATH": str(Path(m1.__file__).parents[1])}
        words = [sys.executable, "-c", program, str(tmp_path)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("owned\n", "")
