"""Screening by a model of our own weights: an attempt for each question, a chunk at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from m1.core.curation import passes_curation
from m1.core.records import Question, ScreenAnswer, read, write
from m1.engines.cached import CachedEngine
from m1.screen import attempt
from random_model import random_model

QUESTIONS = [Question(f"q{n}", "medqa", f"Which of {n}?", None, ("this", "that"), "AB"[n % 2]) for n in range(7)]
SERVE = {"engine": "transformers", "dtype": "float32", "options": {}}


@pytest.fixture(scope="module")
def model(tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(shutil.copytree(tokenizer_folder, tmp_path_factory.mktemp("random") / "model"))


def screened(model: Path, folder: Path, *more: str) -> tuple[bytes, dict[str, Any]]:
    """The attempts' file of a run with a store of its own, and its counts."""
    write(folder / "questions.parquet", QUESTIONS, Question)
    flags = {
        "--name": "small",
        "--model": model,
        "--questions": folder / "questions.parquet",
        "--settings": json.dumps({"prompt": "plain", "answer_limit": 6, "rule": "released"}),
        "--serve": json.dumps(SERVE),
        "--runtime": json.dumps({"batch": 4, "options": {}}),
        "--store": folder / "store",
        "--output": folder / "answers.parquet",
        "--manifest": folder / "answers.json",
    }
    attempt.main([*(str(part) for pair in flags.items() for part in pair), *more])
    return (folder / "answers.parquet").read_bytes(), json.loads((folder / "answers.json").read_text())["counts"]


def test_the_portion_decides_nothing_but_how_much_is_asked_at_a_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    generate = CachedEngine.generate

    def counted(engine: CachedEngine, requests: Any, what: str) -> Any:
        asked.append(len(requests))
        return generate(engine, requests, what)

    monkeypatch.setattr(CachedEngine, "generate", counted)
    whole = screened(model, tmp_path / "whole")
    assert screened(model, tmp_path / "chunks", "--chunk", "3") == whole
    assert asked == [7, 3, 3, 1]
    found = read(tmp_path / "chunks/answers.parquet", ScreenAnswer)
    assert [one.question_id for one in found] == [question.id for question in QUESTIONS]
    assert [one.correct for one in found] == [
        passes_curation(one.answer, q, "released") for one, q in zip(found, QUESTIONS)
    ]
    counts = whole[1]
    assert (counts["questions"], counts["correct"]) == (7, sum(one.correct for one in found))
    assert counts["generated_now"] > 7
