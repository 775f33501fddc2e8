"""Keep the questions that no screening model solves, and check that every class of answers survives (3.1)."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from m1.core.counts import PUBLISHED
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.records import Question, ScreenAnswer, read, write
from m1.screen.settings import HardSettings


def answer_class(questions: Iterable[Question]) -> Callable[[Question], tuple[str, str]]:
    """The function that gives a question's class of answers: (source, answer).

    Where all questions of a source have the same options (yes, no, maybe), a class is the answer's text; elsewhere it
    is the letter.
    """
    option_sets: dict[str, set[frozenset[str]]] = {}
    for question in questions:
        option_sets.setdefault(question.source, set()).add(frozenset(question.options))
    return lambda q: (q.source, q.answer_text if len(option_sets[q.source]) == 1 else q.answer)


def lost_classes(before: Sequence[Question], after: Sequence[Question], smallest: int) -> list[tuple[str, str, int]]:
    """Classes of at least ``smallest`` questions of which none is left: source, answer, questions before.

    A screening model that always says "yes" drops every "yes", and a model trained on the rest unlearns it.
    """
    name = answer_class(before)
    left = {name(question) for question in after}
    return [
        (*key, count)
        for key, count in sorted(Counter(map(name, before)).items())
        if count >= smallest and key not in left
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the hard questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, type=Path, help="questions, Parquet")
    parser.add_argument(
        "--answers", required=True, nargs="+", type=Path, help="answers, Parquet, one file a screening model"
    )
    parser.add_argument("--settings", required=True, help=f"JSON: {HardSettings.keys()}")
    parser.add_argument("--output", required=True, type=Path, help="questions, Parquet")
    parser.add_argument("--manifest", required=True, type=Path)
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    started, settings = time.time(), HardSettings.from_json(arguments.settings)
    questions = read(arguments.questions, Question)
    solved: set[str] = set()
    correct = {}
    for path in arguments.answers:
        answers = read(path, ScreenAnswer)
        missing = {question.id for question in questions} - {answer.question_id for answer in answers}
        if missing:
            raise UserError(
                f"{path}: {len(missing)} questions of {arguments.questions} have no answer; delete it to "
                "have it made again"
            )
        names = {answer.question_id for answer in answers if answer.correct}
        correct[path.stem] = len(names)
        solved |= names
    hard = [question for question in questions if question.id not in solved]
    if not hard:
        raise UserError(
            f"{arguments.questions}: the screening models solve every question; screen with weaker "
            "models (`screen.models`)"
        )
    lost = lost_classes(questions, hard, settings.smallest_class)
    if lost:
        source, answer, count = lost[0]
        found = f"all {count} questions of {source} with the answer {answer!r} were solved by a screening model"
        raise UserError(
            f"{found} (correct: {correct}), so none is left to train on; screen with other models or raise "
            "screen.smallest_class"
        )
    write(arguments.output, hard, Question)
    counts = {
        "questions": len(questions),
        "correct": correct,
        "hard": len(hard),
        "hard_by_source": dict(Counter(q.source for q in hard)),
    }
    inputs = {"questions": arguments.questions, **{path.stem: path for path in arguments.answers}}
    write_manifest(
        arguments.manifest,
        inputs=inputs,
        settings=asdict(settings),
        counts=counts,
        started=started,
        published=arguments.published,
    )
    say("screen", f"{len(questions):,} questions, {len(hard):,} solved by none")


if __name__ == "__main__":
    run(main)
