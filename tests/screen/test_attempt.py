"""Screening by a model of our own weights: an attempt for each question, a chunk at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from m1.core.curation import passes_curation
from m1.core.records import ScreenAnswer, read
from m1.engines.cached import CachedEngine
from screening import QUESTIONS, screened

pytestmark = pytest.mark.train


def test_the_portion_decides_nothing_but_how_much_is_asked_at_a_time(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    generate = CachedEngine.generate

    def counted(engine: CachedEngine, requests: Any, what: str) -> Any:
        asked.append(len(requests))
        return generate(engine, requests, what)

    monkeypatch.setattr(CachedEngine, "generate", counted)
    whole = screened(model_folder, tmp_path / "whole")
    assert screened(model_folder, tmp_path / "chunks", "--chunk", "3") == whole
    assert asked == [7, 3, 3, 1]
    found = read(tmp_path / "chunks/answers.parquet", ScreenAnswer)
    assert [one.question_id for one in found] == [question.id for question in QUESTIONS]
    assert [one.correct for one in found] == [
        passes_curation(one.answer, q, "released") for one, q in zip(found, QUESTIONS)
    ]
    counts = whole[1]
    assert (counts["questions"], counts["correct"]) == (7, sum(one.correct for one in found))
    assert counts["generated_now"] > 7
