"""The prompts, letter by letter (B.1, B.3)."""

from __future__ import annotations

import pytest
from m1.core.prompts import evaluation_prompt, options_lines, question_text
from m1.core.records import LETTERS, Question
from m1.distill.traces import teacher_prompt

PLAIN = Question("q", "medqa", "Which drug?", None, ("aspirin", "heparin"), "A")
ABSTRACT = Question("q", "pubmedqa", "Does it help?", "An abstract.", ("yes", "no", "maybe"), "B")


def test_question_without_context() -> None:
    assert question_text(PLAIN) == "Which drug?\nA. aspirin\nB. heparin"


def test_question_with_context() -> None:
    assert question_text(ABSTRACT) == "An abstract.\nDoes it help?\nA. yes\nB. no\nC. maybe"


def test_fourteen_options() -> None:
    assert [line[0] for line in options_lines(tuple("x" * 14))] == list(LETTERS)


def test_teacher() -> None:
    assert teacher_prompt(PLAIN) == "Return your final response within \\boxed{}. Which drug?\nA. aspirin\nB. heparin"


@pytest.mark.parametrize(
    ("style", "start", "end"),
    [
        ("plain", "", "\nReturn your final response within \\boxed{}."),
        ("cot", "", "\nLet's think step by step. Return your final response within \\boxed{}."),
        ("thinking", "", "\nReturn your final response within \\boxed{}."),
        ("thinking_bare", "", ""),
        ("first", "Return your final response within \\boxed{}. ", ""),
        ("huatuo", "Please answer the following multiple-choice question:\n", ""),
    ],
)
def test_evaluation(style: str, start: str, end: str) -> None:
    assert evaluation_prompt(question_text(PLAIN), style) == f"{start}Which drug?\nA. aspirin\nB. heparin{end}"


def test_unknown_style() -> None:
    with pytest.raises(KeyError):
        evaluation_prompt("Which drug?", "wait")
