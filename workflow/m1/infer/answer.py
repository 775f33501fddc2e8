"""Answer all questions with a model that does not think first, plain or +CoT (B.3): the bases of Table 1."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

from m1.core.errors import run
from m1.core.progress import say
from m1.core.records import Prediction, Question
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
from m1.engines.shards import add_question_arguments, open_writer, questions
from m1.infer.settings import AnswerSettings


def count_stored(argv: Sequence[str]) -> Stored:
    """Count the questions whose answers are all in the store."""
    return look(main, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the predictions of one model on all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_engine_arguments(parser, "m1.infer.answer")
    add_question_arguments(parser)
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {AnswerSettings.keys()}")
    arguments = parser.parse_args(argv)
    settings, name = AnswerSettings.from_json(arguments.settings), arguments.name
    ways = {"own_stop": settings.stop == "released", "bos": settings.bos == "released"}
    counts = {"questions": 0, "answer_tokens": 0, "unanswered": 0}
    with (
        open_engine(arguments, f"infer {name}") as (engine, tokenizer, identity),
        open_writer(arguments.output, Prediction) as write,
    ):
        asked = partial(questions, arguments.benchmarks, arguments.shard)
        needs = direct_needs(tokenizer, asked(), settings.prompt, settings.answer_limit, bos=ways["bos"])
        engine.longest, long, total = check(needs, arguments.model, settings.too_long, f"infer {name}")

        async def predict(benchmark: str, question: Question, schedule: Schedule) -> Prediction:
            if question.id in long:
                return Prediction(question.id, benchmark, name, 0, 0, 0, True, "", 0, True)
            limit = settings.answer_limit
            answer = await answer_directly(schedule, tokenizer, question, settings.prompt, limit, **ways)
            return Prediction(question.id, benchmark, name, 0, 0, 0, True, *answer)

        def keep(prediction: Prediction) -> None:
            write([prediction])
            counts["unanswered" if prediction.too_long else "questions"] += 1
            counts["answer_tokens"] += prediction.answer_tokens

        engine.run((Job(1, partial(predict, *one)) for one in asked()), total, keep)
    benchmarks = {path.stem: path for path in arguments.benchmarks}
    write_engine_manifest(arguments, engine, identity, benchmarks, asdict(settings), counts)
    empty = f", {counts['unanswered']:,} too long, unanswered" if counts["unanswered"] else ""
    say(f"infer {name}", f"{counts['questions']:,} questions answered{empty}, {engine.generated:,} tokens generated")


if __name__ == "__main__":
    run(main)
