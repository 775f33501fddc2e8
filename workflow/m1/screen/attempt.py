"""A screening model attempts every question of the collection, answering at once (3.1)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from m1.core import settings as given
from m1.core.curation import is_right_curated
from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import Attempt
from m1.engines.cached import add_arguments, opened, write_generated
from m1.engines.direct import answer_at_once
from m1.engines.shards import add_portions, kept, portions


def main(argv: Sequence[str] | None = None) -> None:
    """Write one attempt for each question, judged by the curation rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--questions", required=True, type=Path, help="questions, Parquet")
    add_portions(parser)
    parser.add_argument(
        "--settings", required=True, help="JSON: prompt, answer_limit (tokens), rule (released or strict)"
    )
    arguments = parser.parse_args(argv)
    started = time.time()
    settings, title = given.parse(arguments.settings, ["prompt", "answer_limit", "rule"]), f"screen {arguments.name}"
    counts = {"questions": 0, "right": 0}
    with opened(arguments, title) as (engine, tokenizer, identity), kept(arguments.output, Attempt) as keep:
        for where, asked in portions([arguments.questions], arguments.portion, arguments.shard):
            questions = [question for _, question in asked]
            answers = answer_at_once(engine, tokenizer, questions, settings["prompt"], settings["answer_limit"], where)
            judged = [
                Attempt(question.id, arguments.name, text, is_right_curated(text, question, settings["rule"]))
                for question, (text, _) in zip(questions, answers)
            ]
            keep(judged)
            counts["questions"] += len(judged)
            counts["right"] += sum(attempt.correct for attempt in judged)
    write_generated(arguments, engine, identity, {"questions": arguments.questions}, settings, counts, started)
    say(title, f"{counts['right']:,} of {counts['questions']:,} questions right")


if __name__ == "__main__":
    run(main)
