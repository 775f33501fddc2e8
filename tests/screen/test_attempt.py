"""Screening by a model of our own weights: an attempt for each question."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from m1.core.curation import passes_curation
from m1.core.errors import UserError
from m1.core.records import ScreenAnswer, read
from screening import QUESTIONS, screened

pytestmark = pytest.mark.train


def test_each_question_is_attempted_once(model_folder: Path, tmp_path: Path) -> None:
    whole = screened(model_folder, tmp_path)
    found = read(tmp_path / "answers.parquet", ScreenAnswer)
    assert [one.question_id for one in found] == [question.id for question in QUESTIONS]
    assert [one.correct for one in found] == [
        passes_curation(one.answer, q, "released") for one, q in zip(found, QUESTIONS)
    ]
    counts = whole[1]
    assert (counts["questions"], counts["correct"]) == (7, sum(one.correct for one in found))
    assert counts["generated_now"] > 7


def test_a_screen_that_was_given_gpus_stops_where_torch_sees_none(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)  # the driver's library still counts them
    with pytest.raises(UserError, match=r"screen small: 1 GPU asked for on .*, and torch sees 0"):
        screened(model_folder, tmp_path, "--runtime", '{"batch": 4, "options": {}, "gpus": 1}')
    assert not (tmp_path / "answers.parquet").exists()
