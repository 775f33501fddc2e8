"""The score from files to files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from m1.core import records
from m1.core.answers import Match
from m1.core.errors import UserError
from m1.core.records import Prediction, Question, Score
from m1.score import predictions as scoring
from m1.score.match import decide
from m1.score.settings import ScoringProtocol

DRUGS = Question(
    id="d1", source="medqa", stem="Which drug?", context=None, options=("Aspirin", "Ibuprofen", "Morphine"), answer="C"
)
GENES = Question(
    id="g1", source="mmlu_pro", stem="Which genotype?", context=None, options=("BB", "Bb", "bb"), answer="A"
)


def prediction(question_id: str, answer: str, budget: int = 128, **changes: object) -> Prediction:
    row = Prediction(
        question_id=question_id,
        benchmark="bench",
        model="m1-7b",
        budget=budget,
        forced=2,
        thinking_tokens=17,
        ended=True,
        answer=answer,
        answer_tokens=5,
    )
    return dataclasses.replace(row, **changes)


def score(
    folder: Path, predictions: list[Prediction], settings: str = '{"protocol": "released"}'
) -> tuple[list[Score], dict]:
    records.write(folder / "drugs.parquet", [DRUGS], Question)
    records.write(folder / "genes.parquet", [GENES], Question)
    records.write(folder / "predictions.parquet", predictions, Prediction)
    questions = ["--questions", str(folder / "drugs.parquet"), str(folder / "genes.parquet")]
    files = [
        "--predictions",
        str(folder / "predictions.parquet"),
        "--output",
        str(folder / "out.parquet"),
        "--manifest",
        str(folder / "m.json"),
    ]
    scoring.main([*files, *questions, "--settings", settings])
    return records.read(folder / "out.parquet", Score), json.loads((folder / "m.json").read_text())


def test_judgements_and_manifest(tmp_path: Path) -> None:
    rows, manifest = score(
        tmp_path,
        [
            prediction("d1", r"Morphine, so \boxed{C}"),
            prediction("d1", r"Morphine, so \boxed{C}", budget=256),
            prediction("g1", r"\boxed{bb}", ended=False),
            prediction("d1", r"\boxed{A}", budget=512),
        ],
    )
    assert rows[0] == Score(
        question_id="d1",
        source="medqa",
        benchmark="bench",
        model="m1-7b",
        budget=128,
        forced=2,
        ended=True,
        thinking_tokens=17,
        answer_tokens=5,
        extracted="C",
        letter="C",
        correct=True,
        rule="boxed letter",
    )
    assert [(row.budget, row.ended, row.letter, row.correct, row.rule) for row in rows[1:]] == [
        (256, True, "C", True, "boxed letter"),
        (128, False, "A", True, "boxed text"),
        (512, True, "A", False, "lone letter"),
    ]
    assert manifest["counts"] == {
        "predictions": 4,
        "questions": 2,
        "correct": 3,
        "accuracy": 0.75,
        "rules": {"boxed letter": 2, "boxed text": 1, "lone letter": 1},
        "ambiguous_by_case": 1,
    }
    assert manifest["settings"] == {"protocol": "released"}
    assert len(manifest["inputs"]) == 3
    assert manifest["inputs"]["predictions"]["sha256"]


def test_the_protocol_decides(tmp_path: Path) -> None:
    answers = [prediction("d1", "(A) or (C)"), prediction("g1", r"\boxed{bb}")]
    outcomes = {}
    for protocol in ("released", "first", "strict"):
        rows, _ = score(tmp_path, answers, json.dumps({"protocol": protocol}))
        outcomes[protocol] = [(row.letter, row.correct) for row in rows]
    assert outcomes == {
        "released": [("C", True), ("A", True)],
        "first": [("A", False), ("A", True)],
        "strict": [("", False), ("C", False)],
    }


@pytest.mark.parametrize(("protocol", "folded"), [("released", 2), ("first", 2), ("strict", 0)])
def test_judgements_that_hang_on_folded_case_are_counted(tmp_path: Path, protocol: str, folded: int) -> None:
    answers = [
        r"\boxed{bb}",
        r"\boxed{B. Bb}",
        "it is bB",
        r"\boxed{B}",
        "The answer is B.",
    ]  # by text twice, by letter thrice
    rows = [prediction("g1", answer, budget) for budget, answer in enumerate(answers)] + [prediction("d1", "Morphine")]
    _, manifest = score(tmp_path, rows, json.dumps({"protocol": protocol}))
    assert manifest["counts"]["ambiguous_by_case"] == folded


def test_a_letter_beyond_the_options_is_kept_and_incorrect(tmp_path: Path) -> None:
    rows, _ = score(tmp_path, [prediction("d1", "The answer is Not known")])
    assert (rows[0].letter, rows[0].correct, rows[0].rule) == ("N", False, "answer is")


def test_no_predictions(tmp_path: Path) -> None:
    rows, manifest = score(tmp_path, [])
    assert rows == []
    assert manifest["counts"]["accuracy"] is None


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    answers = [prediction("d1", "C"), prediction("g1", "")]
    score(tmp_path, answers)
    first = (tmp_path / "out.parquet").read_bytes()
    score(tmp_path, answers)
    assert (tmp_path / "out.parquet").read_bytes() == first


def test_equal_answers_are_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counting(extracted: str, question: Question, protocol: ScoringProtocol) -> Match:
        asked.append(extracted)
        return decide(extracted, question, protocol)

    monkeypatch.setattr(scoring, "decide", counting)
    rows = scoring.score(
        [prediction("d1", "C", budget) for budget in range(9)] + [prediction("g1", "C")],
        {"d1": DRUGS, "g1": GENES},
        "released",
    )
    assert asked == ["C", "C"]
    assert [row.correct for row in rows] == [True] * 9 + [False]
    assert [row.budget for row in rows[:9]] == list(range(9))


def test_unknown_question_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"predictions\.parquet: prediction 1 \(benchmark bench.*'nowhere' is not among the 2 questions"
    ):
        score(tmp_path, [prediction("d1", "C"), prediction("nowhere", "C")])
    assert not (tmp_path / "out.parquet").exists()
    assert not (tmp_path / "m.json").exists()


def test_two_questions_of_one_id(tmp_path: Path) -> None:
    for name, question in (("a", DRUGS), ("b", DRUGS), ("c", dataclasses.replace(DRUGS, answer="A"))):
        records.write(tmp_path / f"{name}.parquet", [question], Question)
    assert scoring.read_questions([tmp_path / "a.parquet", tmp_path / "b.parquet"]) == {"d1": DRUGS}
    with pytest.raises(UserError, match=r"c\.parquet: record 0, field 'id': 'd1' is also the id"):
        scoring.read_questions([tmp_path / "a.parquet", tmp_path / "c.parquet"])
