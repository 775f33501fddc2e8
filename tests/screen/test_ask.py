"""Screening by a model behind a URL: attempts as from weights, calls from the store the second time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adder import Adder, addition, running
from m1.core import records
from m1.core.prompts import evaluation_prompt, question_text
from m1.core.records import Question, ScreenAnswer
from m1.screen import ask
from m1.wiring.schema import deciding_keys, runtime
from m1.world.server import Errors, World
from providers import SETTINGS

pytestmark = pytest.mark.server


def attempts(folder: Path, url: str) -> tuple[list[ScreenAnswer], dict[str, Any]]:
    settings = SETTINGS | {"base_url": url, "rule": None}
    provider = deciding_keys(settings, "provider")
    calls = {"adder": runtime(settings, "provider")}
    flags = {
        "--name": "adder",
        "--questions": folder / "questions.parquet",
        "--provider": json.dumps(provider),
        "--calls": json.dumps(calls),
        "--settings": json.dumps({"prompt": "plain", "rule": "strict"}),
        "--store": folder / "store",
        "--output": folder / "attempts.parquet",
        "--manifest": folder / "attempts.json",
    }
    ask.main([str(part) for pair in flags.items() for part in pair])
    manifest = json.loads((folder / "attempts.json").read_text())
    return records.read(folder / "attempts.parquet", ScreenAnswer), manifest


def test_every_question_has_an_attempt_that_is_judged(tmp_path: Path) -> None:
    questions = [addition(number) for number in range(40)]
    records.write(tmp_path / "questions.parquet", questions, Question)
    world = World(Adder(), Errors(incorrect=0.4, empty=0.1, malformed=0, flaky=0.2))
    with running(world) as url:
        first, manifest = attempts(tmp_path, url)
        calls = world.calls
        again, second = attempts(tmp_path, url)
    assert [attempt.question_id for attempt in first] == [question.id for question in questions]
    outcomes = {
        question.id: world.errors.outcome(evaluation_prompt(question_text(question), "plain")) for question in questions
    }
    assert {attempt.question_id for attempt in first if attempt.correct} == {
        name for name, found in outcomes.items() if found == "correct"
    }
    assert 5 < manifest["counts"]["correct"] < 35
    assert manifest["spending"]["calls_made"] == 40
    assert (again, second["spending"]["calls_made"], world.calls) == (first, 0, calls)
