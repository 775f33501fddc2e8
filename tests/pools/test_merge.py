"""Merging the pools: duplicates and contaminated questions go, and the manifest says how each way of looking sees
them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from m1.core import records
from m1.core.errors import UserError
from m1.core.prompts import question_text
from m1.core.records import Question
from m1.pools import merge
from rapidfuzz import fuzz


def question(
    identity: str, stem: str, options: tuple[str, ...] = ("one answer", "another answer"), context: str | None = None
) -> Question:
    return Question(identity, identity[0], stem, context, options, "A")


LONG = "A man of forty comes to the ward with fever and cough for a week and asks what the cause of it may be"


SETTINGS = {"threshold": 95, "decontaminate": "stem", "ngram": 13, "containment": 0.3}


def run(
    folder: Path,
    pools: dict[str, list[Question]],
    benchmarks: dict[str, list[Question]],
    processes: int = 1,
    **settings: Any,
) -> list[Question]:
    for name, rows in {**pools, **benchmarks}.items():
        records.write(folder / f"{name}.parquet", rows, Question)
    inputs = ["--pools", *(str(folder / f"{name}.parquet") for name in pools)]
    inputs += ["--benchmarks", *(str(folder / f"{name}.parquet") for name in benchmarks)]
    outputs = ["--output", str(folder / "merged.parquet"), "--manifest", str(folder / "merged.json")]
    merge.main([*inputs, "--settings", json.dumps(SETTINGS | settings), "--processes", str(processes), *outputs])
    return records.read(folder / "merged.parquet", Question)


def test_of_two_duplicates_the_one_in_the_earlier_pool_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pools = {
        "x": [question("x1", LONG), question("x2", "Which drug?")],
        "y": [
            question("y1", LONG + "."),
            question("y2", LONG, ("a third", "something else entirely")),
            question("y3", LONG + " now"),
        ],
    }
    assert [row.id for row in run(tmp_path, pools, {})] == ["x1", "x2", "y2"]
    assert [row.id for row in run(tmp_path, {"y": pools["y"], "x": pools["x"]}, {})] == ["y1", "y2", "x2"]
    nothing = {"stem": 0, "released": 0, "ngram": 0}
    assert json.loads((tmp_path / "merged.json").read_text())["counts"] == {
        "collected": 5,
        "duplicates": 2,
        "contaminated": 0,
        "merged": 3,
        "caught": nothing,
        "pools": {"y": {"in": 3, "distinct": 2, "out": 2} | nothing, "x": {"in": 2, "distinct": 1, "out": 1} | nothing},
        "benchmarks": {},
    }
    assert "5 questions in, 2 duplicates and 0 contaminated left out, 3 out" in capfd.readouterr().out


def test_a_chain_of_duplicates_leaves_only_its_first() -> None:
    texts = ["a" * 90, "a" * 90 + "b" * 9, "a" * 90 + "b" * 18]  # the ends are not close to each other
    chain = [question(f"q{n}", text, ("yes", "no")) for n, text in enumerate(texts)]
    prompts = [question_text(row) for row in chain]
    assert [fuzz.ratio(prompts[i], prompts[j]) >= 95 for i, j in ((0, 1), (1, 2), (0, 2))] == [True, True, False]
    assert merge.duplicates(chain, 95) == {1, 2}


WRAPPED = (
    f"The nurse on duty tells the story of the day before. {LONG} and what she should do about "
    "it until the morning comes"
)


def test_each_way_of_looking_is_counted_and_the_mode_decides(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    abstract = "word " * 200  # with a long context the options hardly count, so the released comparison sees it, too
    pools = {
        "x": [
            question("x1", "Which drug?", ("yellow", "green")),
            question("x2", LONG),
            question("x3", "Which enzyme makes it?"),
        ],
        "y": [question("y1", WRAPPED, ("this", "that")), question("y2", "Does it help?", context=abstract)],
        "z": [],
    }
    benchmarks = {
        "b": [question("b1", "Which drug?", ("red", "blue")), question("b2", LONG + ".", ("red", "blue"))],
        "c": [question("c1", LONG, ("up", "down")), question("c2", "Does it help?", context=abstract)],
        "missing": [],
    }
    assert [row.id for row in run(tmp_path, pools, benchmarks)] == ["x3"]
    counts = json.loads((tmp_path / "merged.json").read_text())["counts"]
    assert counts["caught"] == {"stem": 3, "released": 1, "ngram": 4}
    assert counts["contaminated"] == 4
    assert counts["pools"] == {
        "x": {"in": 3, "distinct": 3, "out": 1, "stem": 2, "released": 0, "ngram": 2},
        "y": {"in": 2, "distinct": 2, "out": 0, "stem": 1, "released": 1, "ngram": 2},
        "z": {"in": 0, "distinct": 0, "out": 0, "stem": 0, "released": 0, "ngram": 0},
    }
    assert counts["benchmarks"] == {
        "b": {"stem": 2, "released": 0, "ngram": 3},
        "c": {"stem": 2, "released": 1, "ngram": 3},
        "missing": {"stem": 0, "released": 0, "ngram": 0},
    }
    said = "5 questions in, 0 duplicates and 4 contaminated left out, 1 out (caught by stem 3, released 1, ngram 4)"
    assert said in capfd.readouterr().out

    left = run(
        tmp_path, pools, benchmarks, decontaminate="released"
    )  # lets the short question through: the options are half of it
    assert [row.id for row in left] == ["x1", "x2", "x3", "y1"]
    again = json.loads((tmp_path / "merged.json").read_text())["counts"]
    assert {key: again[key] for key in ("caught", "benchmarks")} == {
        key: counts[key] for key in ("caught", "benchmarks")
    }

    assert [row.id for row in run(tmp_path, pools, benchmarks, ngram=None)] == ["x3", "y1"]
    assert json.loads((tmp_path / "merged.json").read_text())["counts"]["caught"] == {"stem": 3, "released": 1}


def test_letter_case_and_punctuation_hide_nothing_from_n_grams(tmp_path: Path) -> None:
    pools = {
        "x": [
            question("x1", 'THE MOST common defect in "Nephrotic Syndrome":'),
            question("x2", "Which enzyme makes it?"),
        ]
    }
    benchmarks = {"b": [question("b1", "the most common defect in nephrotic syndrome –", ("red", "blue"))]}
    assert fuzz.ratio(pools["x"][0].stem, benchmarks["b"][0].stem) < 95
    assert [row.id for row in run(tmp_path, pools, benchmarks)] == ["x2"]


def test_two_processes_find_the_same(tmp_path: Path) -> None:
    pools = {"x": [question("x1", LONG), question("x2", "Which drug?"), question("x3", LONG + ".")]}
    benchmarks = {"b": [question("b1", "Which drug?", ("red", "blue"))]}
    assert run(tmp_path, pools, benchmarks, processes=2) == run(tmp_path, pools, benchmarks)


def test_bad_input_is_said(tmp_path: Path) -> None:
    one = {"x": [question("x1", LONG)]}
    for threshold in (0, 101, "95", True, None):
        with pytest.raises(UserError, match=r"threshold is .*; a number( above 0 and at most 100)? is needed"):
            run(tmp_path, one, {}, threshold=threshold)
    with pytest.raises(UserError, match='decontaminate is "ngram"; it must be one of stem, released'):
        run(tmp_path, one, {}, decontaminate="ngram")
    for share in (0, 1.1, "0.3", True, None):
        with pytest.raises(UserError, match=r"containment is .*; a number( above 0 and at most 1)? is needed"):
            run(tmp_path, one, {}, containment=share)
    with pytest.raises(UserError, match="ngram is 0; a whole number from 1 is needed"):
        run(tmp_path, one, {}, ngram=0)
    with pytest.raises(UserError, match="id x1 is in two pools"):
        run(tmp_path, {**one, "y": one["x"]}, {})
    with pytest.raises(UserError, match="no question is left of 1"):
        run(tmp_path, one, {"b": [question("b1", LONG)]})
    assert not (tmp_path / "merged.parquet").exists()
