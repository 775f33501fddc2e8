"""Answers of models that answer at once, plain or +CoT (B.3): the bases in Table 1."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import Prediction
from m1.engines.cached import (
    add_engine_arguments,
    answer_directly,
    direct_needs,
    open_engine,
    write_engine_manifest,
)
from m1.engines.context import answered, check
from m1.engines.shards import add_question_arguments, chunks, open_writer
from m1.infer.settings import AnswerSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Write the predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser)
    add_question_arguments(parser)
    parser.add_argument("--settings", required=True, help=f"JSON: {AnswerSettings.keys()}")
    arguments = parser.parse_args(argv)
    settings, name = AnswerSettings.from_json(arguments.settings), arguments.name
    ways = {"own_stop": settings.stop == "released", "bos": settings.bos == "released"}
    counts = {"questions": 0, "answer_tokens": 0, "unanswered": 0}
    with (
        open_engine(arguments, f"infer {name}") as (engine, tokenizer, identity),
        open_writer(arguments.output, Prediction) as keep,
    ):
        parts = partial(chunks, arguments.benchmarks, arguments.chunk, arguments.shard)
        needs = direct_needs(tokenizer, parts(), settings.prompt, settings.answer_limit, bos=ways["bos"])
        engine.longest, long = check(needs, arguments.model, settings.too_long, f"infer {name}")
        for where, asked in parts():
            questions, limit = [question for _, question in answered(asked, long)], settings.answer_limit
            answers = answer_directly(engine, tokenizer, questions, settings.prompt, limit, where, **ways)
            left = iter(answers)
            pairs = [(benchmark, one, ("", 0, True) if one.id in long else next(left)) for benchmark, one in asked]
            keep(Prediction(one.id, benchmark, name, 0, 0, 0, True, *answer) for benchmark, one, answer in pairs)
            counts["questions"] += len(questions)
            counts["unanswered"] += len(asked) - len(questions)
            counts["answer_tokens"] += sum(tokens for _, tokens in answers)
    benchmarks = {path.stem: path for path in arguments.benchmarks}
    write_engine_manifest(arguments, engine, identity, benchmarks, asdict(settings), counts)
    empty = f", {counts['unanswered']:,} too long, unanswered" if counts["unanswered"] else ""
    say(f"infer {name}", f"{counts['questions']:,} questions answered{empty}, {engine.generated:,} tokens generated")


if __name__ == "__main__":
    run(main)
