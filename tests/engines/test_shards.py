"""Shards: every question is in one of them, and together they fill the store."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.errors import UserError
from m1.core.records import Question, write
from m1.engines.shards import chunks, in_shard, shard
from m1.screen import attempt
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
    found = list(chunks([tmp_path / "a.parquet"], 4, (2, 3)))
    mine = [question for question in questions if in_shard(question, (2, 3))]
    assert [question for _, part in found for _, question in part] == mine
    assert found[0][0] == f", shard 2/3, questions 1-4 of {len(mine)}"


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
