"""The embedded world: seeded, consistent, in the real sets' layouts, and its teacher correct unless told to be
incorrect."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from m1.core.answers import extract_boxed
from m1.core.prompts import question_text
from m1.core.records import Question, read
from m1.pools.collect import main as collect
from m1.world.build import main as build
from m1.world.documents import MIXTURE, make_documents
from m1.world.facts import TYPES, load_facts, make_facts
from m1.world.questions import BENCHMARKS, POOLS, STYLES, ask, draw_query, read_query
from m1.world.teacher import RuleTeacher, think

SETTINGS = {
    "seed": 3,
    "entities": 14,
    "pools": {"medqa": 30, "headqa": 30, "medmcqa": 30, "pubmedqa": 30},
    "benchmark_size": 10,
    "facts_first": 30,
    "mixed": 200,
}
FACTS = make_facts(3, 14)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build(["--settings", json.dumps(SETTINGS), "--output", str(folder)])
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*.json*"))
    }


def test_made_twice_it_is_the_same_and_another_seed_is_another_world(world: Path, tmp_path: Path) -> None:
    build(["--settings", json.dumps(SETTINGS), "--output", str(tmp_path / "again")])
    assert hashes(tmp_path / "again") == hashes(world)
    build(["--settings", json.dumps({**SETTINGS, "seed": 4}), "--output", str(tmp_path / "other")])
    other = hashes(tmp_path / "other")
    assert all(other[name] != value for name, value in hashes(world).items())


def test_relations_are_permutations_around_the_ring() -> None:
    for kind, following in zip(TYPES, [*TYPES[1:], TYPES[0]]):
        assert sorted(FACTS.next[name] for name in FACTS.entities[kind]) == sorted(FACTS.entities[following])
    assert all(FACTS.type_of[FACTS.chain(name, 8)[-1]] == FACTS.type_of[name] for name in FACTS.next)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_benchmarks_are_read_as_the_real_ones_and_their_key_is_correct(world: Path, tmp_path: Path, name: str) -> None:
    layout = name if name in {"medmcqa", "pubmedqa"} else "eval"
    settings = {
        "part": None,
        "limit": None,
        "layout": layout,
        "path": str(world / "benchmarks" / f"{name}.jsonl"),
        "shuffle_options": False,
        "draws": "exact",
        "seed": 42,
        "invalid": "error",
        "optional": False,
    }
    output = tmp_path / "q.parquet"
    collect(
        [
            "--name",
            name,
            "--settings",
            json.dumps(settings),
            "--output",
            str(output),
            "--manifest",
            str(tmp_path / "q.json"),
        ]
    )
    questions = read(output, Question)
    assert len(questions) == SETTINGS["benchmark_size"]
    low, high = BENCHMARKS[name].hops
    for question in questions:
        query = read_query(question_text(question))
        assert query is not None
        assert low <= query.hops <= high
        _, boxed = think(FACTS, query, random.Random(0), 0)
        assert extract_boxed(boxed) == question.answer_text


@given(st.sampled_from(sorted(STYLES)), st.integers(1, 7), st.integers(0, 10**6))
def test_what_is_asked_is_what_is_read(style: str, hops: int, seed: int) -> None:
    query = draw_query(FACTS, random.Random(seed), style, (hops, hops))
    assert read_query(f"some case. {ask(query)}\nA. the x") == query
    assert query.hops == hops


@given(st.sampled_from(sorted(STYLES)), st.integers(1, 7), st.integers(0, 10**6))
def test_a_trace_follows_true_facts_to_the_answer(style: str, hops: int, seed: int) -> None:
    query = draw_query(FACTS, random.Random(seed), style, (hops, hops))
    thinking, boxed = think(FACTS, query, random.Random(seed), 2)
    recalled = [part.split(".")[0] for part in thinking.split("I recall that ")[1:]]
    assert all(fact in FACTS.sentences for fact in recalled)
    assert len(recalled) == hops + (style == "trend") + 2
    reached = FACTS.chain(query.start, hops)[-1]
    assert boxed == (f"\\boxed{{the {reached}}}" if style != "trend" else boxed)


def test_the_teacher_is_right_unless_told_to_be_incorrect(world: Path) -> None:
    teacher = RuleTeacher(str(world / "facts.json"), None, seed=0)
    facts = load_facts(str(world / "facts.json"))
    rng, incorrect = random.Random(1), 0
    for _ in range(100):
        query = draw_query(facts, rng, rng.choice(("short", "head", "vignette")), (1, 5))
        correct = f"\\boxed{{the {facts.chain(query.start, query.hops)[-1]}}}"
        assert teacher.think(ask(query), incorrect=False) == teacher.think(ask(query), incorrect=False)
        assert teacher.think(ask(query), incorrect=False)[1] == correct
        incorrect += teacher.think(ask(query), incorrect=True)[1] != correct
    assert incorrect == 100
    assert teacher.think("What is the capital of France?", incorrect=False) is None


def test_the_teacher_answers_questions_of_an_answer_key(world: Path) -> None:
    question = Question("1", "medqa", "Which vitamin?", None, ("A vitamin", "B vitamin"), "B")
    teacher = RuleTeacher(str(world / "facts.json"), {question_text(question): question}, seed=0)
    assert extract_boxed(teacher.think(f"Answer: {question_text(question)}", incorrect=False)[1]) == "B vitamin"
    assert extract_boxed(teacher.think(f"Answer: {question_text(question)}", incorrect=True)[1]) == "A vitamin"


def test_documents_never_show_long_chains_in_answers_or_think_markers() -> None:
    documents = make_documents(FACTS, 3, 20, 500)
    assert {document.kind for document in documents[:20]} <= {"list", "chain"}
    assert {document.kind for document in documents} == set(MIXTURE)
    for document in documents:
        assert "<|im_start|>" not in document.text
        if document.kind == "steps":
            assert document.text.split("So the answer")[0].count("I recall") <= 3
            assert read_query(document.prompt).hops <= 2


def test_pools_have_the_four_layouts(world: Path) -> None:
    first = {name: json.loads((world / "pools" / f"{name}.jsonl").read_text().splitlines()[0]) for name in POOLS}
    assert {"question", "opa", "opd", "cop"} <= first["medmcqa"].keys()
    assert {"question", "options", "answer_idx"} <= first["medqa"].keys()
    assert {"Correct Option", "Options", "Question"} <= first["headqa"]["data"].keys()
    assert {"question", "context", "final_decision"} <= first["pubmedqa"].keys()
