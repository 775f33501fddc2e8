"""Let a screening model answer every question of the collection, without thinking (3.1)."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from m1.core.curation import passes_curation
from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import Question, ScreenAnswer
from m1.core.store import Stored
from m1.engines.cached import (
    add_engine_arguments,
    answer_directly,
    direct_needs,
    look,
    open_engine,
    write_engine_manifest,
)
from m1.engines.context import check
from m1.engines.schedule import Job, Schedule
from m1.engines.shards import add_shard_argument, open_writer, questions
from m1.screen.settings import AttemptSettings


def count_stored(argv: Sequence[str]) -> Stored:
    """Count the questions whose answers are all in the store."""
    return look(main, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write one answer for each question, judged by the curation rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser, "m1.screen.attempt")
    parser.add_argument("--questions", required=True, type=Path, help="questions, Parquet")
    add_shard_argument(parser)
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {AttemptSettings.keys()}")
    arguments = parser.parse_args(argv)
    settings, title = AttemptSettings.from_json(arguments.settings), f"screen {arguments.name}"
    counts = {"questions": 0, "correct": 0}
    opened, writer = open_engine(arguments, title), open_writer(arguments.output, ScreenAnswer)
    with opened as (engine, tokenizer, identity), writer as write:
        asked = partial(questions, [arguments.questions], arguments.shard)
        # An unanswered question would count as hard, so a question that does not fit is always an error here.
        needs = direct_needs(tokenizer, asked(), settings.prompt, settings.answer_limit)
        engine.longest, _, total = check(needs, arguments.model, "error", title)

        async def attempt(question: Question, schedule: Schedule) -> ScreenAnswer:
            text, _ = await answer_directly(schedule, tokenizer, question, settings.prompt, settings.answer_limit)
            correct = passes_curation(text, question, settings.rule)
            return ScreenAnswer(question.id, arguments.name, text, correct)

        def keep(answer: ScreenAnswer) -> None:
            write([answer])
            counts["questions"] += 1
            counts["correct"] += answer.correct

        engine.run((Job(1, partial(attempt, question)) for _, question in asked()), total, keep)
    inputs = {"questions": arguments.questions}
    write_engine_manifest(arguments, engine, identity, inputs, asdict(settings), counts)
    say(title, f"{counts['correct']:,} of {counts['questions']:,} questions correct")


if __name__ == "__main__":
    run(main)
