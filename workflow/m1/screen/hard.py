"""Keep the questions that no screening model solves, and check that no class of answers is lost (3.1)."""

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
    """A function from a question to its class of answers: source and answer.

    The answer is the correct option's text if all questions of the source have the same options (yes, no, maybe), and
    otherwise its letter.
    """
    option_sets: dict[str, set[frozenset[str]]] = {}
    for question in questions:
        option_sets.setdefault(question.source, set()).add(frozenset(question.options))
    return lambda q: (q.source, q.answer_text if len(option_sets[q.source]) == 1 else q.answer)


def lost_classes(before: Sequence[Question], after: Sequence[Question], smallest: int) -> list[tuple[str, str, int]]:
    """Classes of at least ``smallest`` questions of which none is left: source, answer, number of questions before.

    A screening model that always says "yes" would drop every question with the answer "yes", and a model trained on the
    rest would never give that answer.
    """
    name = answer_class(before)
    left = {name(question) for question in after}
    counts = sorted(Counter(map(name, before)).items())
    return [(*key, count) for key, count in counts if count >= smallest and key not in left]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the questions that no screening model solves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, type=Path, help="questions, Parquet")
    said = "answers, Parquet, one file a screening model"
    parser.add_argument("--answers", required=True, nargs="+", type=Path, help=said)
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {HardSettings.keys()}")
    parser.add_argument("--output", required=True, type=Path, help="questions to write, Parquet")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest to write, JSON")
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    started, settings = time.time(), HardSettings.from_json(arguments.settings)
    questions = read(arguments.questions, Question)
    solved: set[str] = set()
    correct = {}
    for path in arguments.answers:
        answers = read(path, ScreenAnswer)
        if missing := {question.id for question in questions} - {answer.question_id for answer in answers}:
            found = f"{len(missing)} questions of {arguments.questions} have no answer"
            raise UserError(f"{path}: {found}; delete it to have it made again")
        names = {answer.question_id for answer in answers if answer.correct}
        correct[path.stem] = len(names)
        solved |= names
    hard = [question for question in questions if question.id not in solved]
    if not hard:
        found = "the screening models solve every question"
        raise UserError(f"{arguments.questions}: {found}; screen with weaker models (`screen.models`)")
    if lost := lost_classes(questions, hard, settings.smallest_class):
        source, answer, count = lost[0]
        found = f"all {count} questions of {source} with the answer {answer!r} were solved by a screening model"
        remedy = "screen with other models or raise screen.smallest_class"
        raise UserError(f"{found} (correct: {correct}), so none is left to train on; {remedy}")
    write(arguments.output, hard, Question)
    by_source = dict(Counter(question.source for question in hard))
    counts = {"questions": len(questions), "correct": correct, "hard": len(hard), "hard_by_source": by_source}
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
