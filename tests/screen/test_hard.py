"""The screen (3.1): what any model solves is dropped, and no class of answers may be lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Question, ScreenAnswer
from m1.screen import hard

YES_NO = ("yes", "no", "maybe")


def letters(number: int, answer: str) -> Question:
    return Question(f"l{number}", "medqa", "Which?", None, (f"a{number}", f"b{number}"), answer)


def trend(number: int, answer: str) -> Question:
    return Question(f"t{number}", "pubmedqa", "Does it?", None, YES_NO, answer)


def test_the_class_of_an_answer_is_its_letter_or_its_text_where_options_are_fixed() -> None:
    questions = [letters(0, "A"), letters(1, "B"), trend(0, "C")]
    assert list(map(hard.answer_class(questions), questions)) == [("medqa", "A"), ("medqa", "B"), ("pubmedqa", "maybe")]


def test_fixed_options_in_another_order_are_still_fixed() -> None:
    questions = [trend(0, "A"), Question("t1", "pubmedqa", "Does it?", None, ("maybe", "no", "yes"), "C")]
    assert set(map(hard.answer_class(questions), questions)) == {("pubmedqa", "yes")}


def test_lost_classes() -> None:
    before = [trend(number, "AAABBC"[number]) for number in range(6)]
    after = [question for question in before if question.answer == "B"]
    assert hard.lost_classes(before, after, 1) == [("pubmedqa", "maybe", 1), ("pubmedqa", "yes", 3)]
    assert hard.lost_classes(before, after, 2) == [("pubmedqa", "yes", 3)]
    assert hard.lost_classes(before, after, 4) == []
    assert hard.lost_classes(before, before, 1) == []


class Screen:
    """Files of a screen, and its run."""

    def __init__(self, folder: Path, questions: list[Question]) -> None:
        self.folder, self.questions = folder, questions
        records.write(folder / "questions.parquet", questions, Question)
        self.answers: list[str] = []

    def answer(self, model: str, solved: set[str], of: list[Question] | None = None) -> None:
        rows = [
            ScreenAnswer(question.id, model, "", question.id in solved)
            for question in (self.questions if of is None else of)
        ]
        records.write(self.folder / f"{model}.parquet", rows, ScreenAnswer)
        self.answers.append(str(self.folder / f"{model}.parquet"))

    def run(self, smallest: int = 1000) -> list[str]:
        questions, output, manifest = (
            str(self.folder / name) for name in ("questions.parquet", "hard.parquet", "hard.json")
        )
        settings = json.dumps({"smallest_class": smallest})
        files = ["--questions", questions, "--output", output, "--manifest", manifest]
        hard.main([*files, "--answers", *self.answers, "--settings", settings])
        return [question.id for question in records.read(output, Question)]


@pytest.fixture
def screen(tmp_path: Path) -> Screen:
    return Screen(tmp_path, [trend(number, "AABBC"[number]) for number in range(5)])


def test_what_any_model_solves_is_dropped(screen: Screen) -> None:
    screen.answer("small", {"t0"})
    screen.answer("large", {"t0", "t2"})
    assert screen.run() == ["t1", "t3", "t4"]
    found = json.loads((screen.folder / "hard.json").read_text())["counts"]
    assert found == {"questions": 5, "correct": {"small": 1, "large": 2}, "hard": 3, "hard_by_source": {"pubmedqa": 3}}


@pytest.mark.parametrize(
    ("solved", "of", "smallest", "said"),
    [
        (
            {"t0", "t1"},
            5,
            2,
            r"all 2 questions of pubmedqa with the answer 'yes' were solved .*raise screen\.smallest_class",
        ),
        (
            {"t0", "t1", "t2", "t3", "t4"},
            5,
            1000,
            "the screening models solve every question; screen with weaker models",
        ),
        (set(), 3, 1000, r"small\.parquet: 2 questions of .* have no answer; delete it to have it made again"),
    ],
)
def test_a_screen_that_cannot_be_used_is_refused(
    screen: Screen, solved: set[str], of: int, smallest: int, said: str
) -> None:
    screen.answer("small", solved, screen.questions[:of])
    with pytest.raises(UserError, match=said):
        screen.run(smallest)
    assert not (screen.folder / "hard.parquet").exists()
    assert not (screen.folder / "hard.json").exists()
