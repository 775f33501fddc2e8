"""Score the predictions of a model: extract the answer, match it, and compare it with the correct letter (B.3).

Predictions are raw texts, so they can be scored again under any protocol without generating anything.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from m1.core import records
from m1.core.answers import Match
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.progress import Progress
from m1.core.records import TOO_LONG, Prediction, Question, Score
from m1.score.match import BY_TEXT, PROTOCOLS, decide, extract, is_ambiguous
from m1.score.settings import ScoreSettings, ScoringProtocol

UNASKED = ("", Match("", TOO_LONG))
"""The extracted text and match of a question that was too long to be asked: never an option, although some protocols
would guess one from an empty answer."""
CARRIED = ("question_id", "benchmark", "model", "budget", "forced", "ended", "thinking_tokens", "answer_tokens")
"""Fields of a prediction that are copied to its score."""


def score(
    predictions: Sequence[Prediction], questions: Mapping[str, Question], protocol: ScoringProtocol
) -> list[Score]:
    """Score each prediction of a model, in the same order; ``questions`` are by id, and a missing one is a
    :class:`UserError`. Equal answers to a question are matched once, because a sweep repeats an answer at all larger
    budgets."""
    scored: dict[tuple[str, str], tuple[str, Match]] = {}
    result = []
    with Progress(f"score {protocol}", len(predictions), "predictions") as progress:
        for number, prediction in enumerate(predictions):
            question = questions.get(prediction.question_id)
            if question is None:
                where = f"prediction {number} (benchmark {prediction.benchmark}, model {prediction.model})"
                fault = f"{prediction.question_id!r} is not among the {len(questions):,} questions given"
                raise UserError(
                    f"{where}, field 'question_id': {fault}. Give the question file of that benchmark, or generate the "
                    "predictions again if the benchmark has changed."
                )
            key = (prediction.question_id, prediction.answer)
            if key not in scored and not prediction.too_long:
                extracted = extract(prediction.answer, protocol)
                scored[key] = extracted, decide(extracted, question, protocol)
            result.append(_to_score(prediction, question, *(UNASKED if prediction.too_long else scored[key])))
            progress.advance()
        progress.note = f"{sum(row.correct for row in result):,} correct, {len(scored):,} distinct answers"
    return result


def _to_score(prediction: Prediction, question: Question, extracted: str, match: Match) -> Score:
    same = {name: getattr(prediction, name) for name in CARRIED}
    letter = match.letter if match.letter in records.LETTERS else ""
    correct = match.letter == question.answer
    return Score(source=question.source, extracted=extracted, letter=letter, correct=correct, rule=match.rule, **same)


def summarize(scores: Sequence[Score], questions: Mapping[str, Question], protocol: ScoringProtocol) -> dict[str, Any]:
    """Counts for the manifest.

    ``accuracy`` is a share, or None if there are no scores. ``ambiguous_by_case`` counts scores by an option's text on
    questions whose options differ only in letter case (Bb, BB). There, the released rules cannot tell correct from
    incorrect; ``strict`` keeps the letter case and has no such scores.
    """
    correct = sum(row.correct for row in scores)
    folded = [row for row in scores if row.rule in BY_TEXT] if PROTOCOLS[protocol].folds_case else []
    return {
        "predictions": len(scores),
        "questions": len({row.question_id for row in scores}),
        "correct": correct,
        "accuracy": correct / len(scores) if scores else None,
        "rules": dict(sorted(Counter(row.rule for row in scores).items())),
        "ambiguous_by_case": sum(is_ambiguous(questions[row.question_id]) for row in folded),
    }


def read_questions(paths: Iterable[Path]) -> dict[str, Question]:
    """Read the questions of several benchmarks, by id; two different questions with the same id are a
    :class:`UserError`."""
    questions: dict[str, Question] = {}
    for path in paths:
        for number, question in enumerate(records.read(path, Question)):
            if questions.setdefault(question.id, question) != question:
                fault = f"{question.id!r} is also the id of another question. Make the benchmark files again."
                raise UserError(f"{path}: record {number}, field 'id': {fault}")
    return questions


def main(argv: Sequence[str] | None = None) -> None:
    """Read predictions and questions, write scores and their manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=Path, required=True, help="Parquet of predictions")
    parser.add_argument(
        "--questions", type=Path, nargs="+", required=True, help="Parquet of questions, one file a benchmark"
    )
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {ScoreSettings.keys()}")
    parser.add_argument("--output", type=Path, required=True, help="scores to write, Parquet")
    parser.add_argument("--manifest", type=Path, required=True, help="manifest to write, JSON: rules, accuracy, inputs")
    arguments = parser.parse_args(argv)

    started = time.time()
    protocol = ScoreSettings.from_json(arguments.settings).protocol
    questions = read_questions(arguments.questions)
    predictions = records.read(arguments.predictions, Prediction)
    try:
        scores = score(predictions, questions, protocol)
    except UserError as error:
        raise UserError(f"{arguments.predictions}: {error}") from None
    records.write(arguments.output, scores, Score)
    inputs = {"predictions": arguments.predictions, **{f"questions {path}": path for path in arguments.questions}}
    settings, counts = {"protocol": protocol}, summarize(scores, questions, protocol)
    write_manifest(arguments.manifest, inputs=inputs, settings=settings, counts=counts, started=started)


if __name__ == "__main__":
    run(main)
