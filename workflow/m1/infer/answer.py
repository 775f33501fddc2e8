"""Answers of models that answer at once, plain or +CoT (B.3): the bases in Table 1."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from m1.core import settings as given
from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import Prediction
from m1.engines.cached import add_arguments, opened, write_engine_manifest
from m1.engines.direct import answer_directly
from m1.engines.shards import add_question_arguments, chunks, kept


def main(argv: Sequence[str] | None = None) -> None:
    """Write the predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    add_question_arguments(parser)
    parser.add_argument("--settings", required=True, help="JSON: prompt (style), answer_limit (tokens)")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings, name = given.parse(arguments.settings, ["prompt", "answer_limit"]), arguments.name
    counts = {"questions": 0, "answer_tokens": 0}
    with (
        opened(arguments, f"infer {name}") as (engine, tokenizer, identity),
        kept(arguments.output, Prediction) as keep,
    ):
        for where, asked in chunks(arguments.benchmarks, arguments.chunk, arguments.shard):
            questions = [question for _, question in asked]
            answers = answer_directly(engine, tokenizer, questions, settings["prompt"], settings["answer_limit"], where)
            keep(
                Prediction(question.id, benchmark, name, 0, 0, 0, True, text, tokens)
                for (benchmark, question), (text, tokens) in zip(asked, answers)
            )
            counts["questions"] += len(asked)
            counts["answer_tokens"] += sum(tokens for _, tokens in answers)
    write_engine_manifest(
        arguments, engine, identity, {path.stem: path for path in arguments.benchmarks}, settings, counts, started
    )
    say(f"infer {name}", f"{counts['questions']:,} questions answered, {engine.generated:,} tokens generated")


if __name__ == "__main__":
    run(main)
