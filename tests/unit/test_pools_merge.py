"""Duplicates and contamination: equal to exhaustive comparison, and the pools that come out."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from m1 import records
from m1.errors import UserError
from m1.pools import merge
from m1.pools.collect import to_parts, to_questions
from m1.pools.layouts import LAYOUTS
from m1.pools.similar import close_pairs, duplicate_pairs
from m1.prompts import question_text
from m1.records import Question
from rapidfuzz import fuzz

REAL = Path(os.environ.get("M1_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def all_duplicates(texts: list[str], threshold: float) -> list[tuple[int, int]]:
    return [(i, j) for j in range(len(texts)) for i in range(j) if fuzz.ratio(texts[i], texts[j]) >= threshold]


def all_close(texts: list[str], others: list[str], threshold: float) -> list[tuple[int, int]]:
    return [(i, j) for i, text in enumerate(texts) for j, other in enumerate(others) if fuzz.ratio(text, other) >= threshold]


WILD = st.text(st.sampled_from("aab \u00e9\ud800\U0001f600") | st.characters(), max_size=24)
THRESHOLD = st.sampled_from([1, 50, 80, 90, 95, 100]) | st.floats(0.01, 100)


@st.composite
def relatives(draw: st.DrawFn) -> list[str]:
    """Wild texts and their edited copies, so that pairs lie on both sides of the threshold, and on it."""
    texts = draw(st.lists(WILD, max_size=6))
    for text in list(texts):
        place = draw(st.integers(0, len(text)))
        texts.append(text[:place] + draw(st.text("ab", max_size=2)) + text[place + draw(st.integers(0, 2)) :])
    return texts


@given(relatives(), THRESHOLD)
@example(["", "", "a"], 95)
@example(["a" * 19 + "b", "a" * 19 + "c", "a" * 20], 95)
@example(["a" * 300, "a" * 310, "b" * 300], 95)
def test_duplicate_pairs_are_those_of_exhaustive_comparison(texts: list[str], threshold: float) -> None:
    assert duplicate_pairs(texts, threshold) == sorted(all_duplicates(texts, threshold))


@given(relatives(), relatives(), THRESHOLD)
@example(["abc"], [], 95)
def test_close_pairs_are_those_of_exhaustive_comparison(texts: list[str], others: list[str], threshold: float) -> None:
    others = [*others, *texts[::2]]
    assert close_pairs(texts, others, threshold) == all_close(texts, others, threshold)


def real(name: str, layout: str) -> list[Question]:
    with gzip.open(REAL / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        parts, _ = to_parts(enumerate(map(json.loads, stream)), LAYOUTS[layout], name, drop_invalid=False)
    return to_questions(name.replace("/", "_"), parts)


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set M1_SHARED_DATA")
def test_real_questions_equal_exhaustive_comparison() -> None:
    train, test = real("headqa/train", "headqa"), real("headqa/test", "headqa")
    pool = random.Random(0).sample(train + real("mmlu_pro_medical/test", "eval"), 1000)
    prompts, stems = [question_text(q) for q in pool], [q.stem for q in pool]
    for threshold in (95, 80):
        assert duplicate_pairs(prompts, threshold) == sorted(all_duplicates(prompts, threshold))
        assert close_pairs(stems, [q.stem for q in test[:600]], threshold) == all_close(stems, [q.stem for q in test[:600]], threshold)
    repeated = duplicate_pairs([question_text(q) for q in real("mmlu_pro_medical/test", "eval")], 95)
    assert len({later for _, later in repeated}) >= 95  # the repetitions that the shared data's notes count


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set M1_SHARED_DATA")
def test_five_thousand_real_prompts_take_seconds() -> None:
    pool = (real("headqa/train", "headqa") + real("medmcqa/validation", "medmcqa"))[:5000]
    started = time.process_time()
    duplicate_pairs([question_text(question) for question in pool], 95)
    assert time.process_time() - started < 5


def question(identity: str, stem: str, options: tuple[str, ...] = ("one answer", "another answer"), context: str | None = None) -> Question:
    return Question(identity, identity[0], stem, context, options, "A")


LONG = "A man of forty comes to the ward with fever and cough for a week and asks what the cause of it may be"


def run(folder: Path, pools: dict[str, list[Question]], benchmarks: dict[str, list[Question]], **settings: Any) -> list[Question]:
    for name, rows in {**pools, **benchmarks}.items():
        records.write(folder / f"{name}.parquet", rows, Question)
    inputs = ["--pools", *(str(folder / f"{name}.parquet") for name in pools)]
    inputs += ["--benchmarks", *(str(folder / f"{name}.parquet") for name in benchmarks)]
    outputs = ["--output", str(folder / "merged.parquet"), "--manifest", str(folder / "merged.json")]
    merge.main([*inputs, "--settings", json.dumps({"threshold": 95, "decontaminate": "stem", **settings}), *outputs])
    return records.read(folder / "merged.parquet", Question)


def test_of_two_duplicates_the_one_in_the_earlier_pool_stays(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pools = {
        "x": [question("x1", LONG), question("x2", "Which drug?")],
        "y": [question("y1", LONG + "."), question("y2", LONG, ("a third", "something else entirely")), question("y3", LONG + " now")],
    }
    assert [row.id for row in run(tmp_path, pools, {})] == ["x1", "x2", "y2"]
    assert [row.id for row in run(tmp_path, {"y": pools["y"], "x": pools["x"]}, {})] == ["y1", "y2", "x2"]
    counts = json.loads((tmp_path / "merged.json").read_text())["counts"]
    assert counts == {
        "collected": 5,
        "duplicates": 2,
        "contaminated": 0,
        "merged": 3,
        "pools": {"y": {"in": 3, "out": 2}, "x": {"in": 2, "out": 1}},
        "contaminated_by": {},
    }
    assert "5 questions in, 2 duplicates and 0 contaminated left out, 3 out" in capfd.readouterr().out


def test_a_chain_of_duplicates_leaves_only_its_first() -> None:
    texts = ["a" * 90, "a" * 90 + "b" * 9, "a" * 90 + "b" * 18]  # the ends are not close to each other
    chain = [question(f"q{n}", text, ("yes", "no")) for n, text in enumerate(texts)]
    prompts = [question_text(row) for row in chain]
    assert [fuzz.ratio(prompts[i], prompts[j]) >= 95 for i, j in ((0, 1), (1, 2), (0, 2))] == [True, True, False]
    assert merge.duplicates(chain, 95) == {1, 2}


def test_stem_against_stem_catches_what_the_released_comparison_cannot(tmp_path: Path) -> None:
    pools = {"x": [question("x1", "Which drug?"), question("x2", LONG), question("x3", "Which enzyme makes it?")]}
    benchmarks = {"b1": [question("b1", "Which drug?", ("red", "blue")), question("b2", LONG + ".")], "b2": [question("c1", LONG)]}
    assert [row.id for row in run(tmp_path, pools, benchmarks)] == ["x3"]
    counts = json.loads((tmp_path / "merged.json").read_text())["counts"]
    assert counts["contaminated"] == 2
    assert counts["contaminated_by"] == {"b1": 2, "b2": 1}
    assert len(run(tmp_path, pools, benchmarks, decontaminate="released")) == 3

    abstract = "word " * 200  # with a long context the options hardly count, so the released comparison sees it, too
    pubmed = question("p1", "Does it help?", ("yes", "no", "maybe"), abstract)
    other = question("b1", "Does it help?", ("yes", "no", "maybe"), abstract)
    assert merge.contaminated([pubmed], {"b": [other]}, 95, "released") == {"b": {0}}
    assert merge.contaminated([pubmed], {"b": [other]}, 95, "stem") == {"b": {0}}


def test_bad_input_is_said(tmp_path: Path) -> None:
    one = {"x": [question("x1", LONG)]}
    for threshold in (0, 101, "95", True, None):
        with pytest.raises(UserError, match=r"threshold is .* percentage"):
            run(tmp_path, one, {}, threshold=threshold)
    with pytest.raises(UserError, match="decontaminate is 'ngram'; it must be one of stem, released"):
        run(tmp_path, one, {}, decontaminate="ngram")
    with pytest.raises(UserError, match="id x1 is in two pools"):
        run(tmp_path, {**one, "y": one["x"]}, {})
    with pytest.raises(UserError, match="no question is left of 1"):
        run(tmp_path, one, {"b": [question("b1", LONG)]})
    assert not (tmp_path / "merged.parquet").exists()
