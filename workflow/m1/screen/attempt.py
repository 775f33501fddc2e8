"""A screening model attempts every question of the collection, answering at once (3.1)."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from m1.core.curation import passes_curation
from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import ScreenAnswer
from m1.engines.cached import (
    add_engine_arguments,
    answer_directly,
    direct_needs,
    open_engine,
    write_engine_manifest,
)
from m1.engines.context import check
from m1.engines.shards import add_chunk_arguments, chunks, open_writer
from m1.screen.settings import AttemptSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Write one attempt for each question, scored by the curation rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser)
    parser.add_argument("--questions", required=True, type=Path, help="questions, Parquet")
    add_chunk_arguments(parser)
    parser.add_argument("--settings", required=True, help=f"JSON: {AttemptSettings.keys()}")
    arguments = parser.parse_args(argv)
    settings, title = AttemptSettings.from_json(arguments.settings), f"screen {arguments.name}"
    counts = {"questions": 0, "correct": 0}
    opened, writer = open_engine(arguments, title), open_writer(arguments.output, ScreenAnswer)
    with opened as (engine, tokenizer, identity), writer as keep:
        parts = partial(chunks, [arguments.questions], arguments.chunk, arguments.shard)
        # What is unanswered would count as hard, so here it is always an error.
        needs = direct_needs(tokenizer, parts(), settings.prompt, settings.answer_limit)
        engine.longest, _ = check(needs, arguments.model, "error", title)
        for where, asked in parts():
            questions = [question for _, question in asked]
            answers = answer_directly(engine, tokenizer, questions, settings.prompt, settings.answer_limit, where)
            scored = [
                ScreenAnswer(question.id, arguments.name, text, passes_curation(text, question, settings.rule))
                for question, (text, _) in zip(questions, answers)
            ]
            keep(scored)
            counts["questions"] += len(scored)
            counts["correct"] += sum(answer.correct for answer in scored)
    inputs = {"questions": arguments.questions}
    write_engine_manifest(arguments, engine, identity, inputs, asdict(settings), counts)
    say(title, f"{counts['correct']:,} of {counts['questions']:,} questions correct")


if __name__ == "__main__":
    run(main)
