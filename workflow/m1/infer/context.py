"""Find questions that do not fit a model's context, before anything is trained or generated.

``docs/architecture.md`` says what a question needs. A server may have a shorter context than its model, which decides
no result; it is refused when it has started (:attr:`m1.engines.cached.CachedEngine.longest`).

This step runs before the training of a model that does not exist yet (``Run.context_checks``), so a finished training
is not repeated when another benchmark or budget is added. The sweep checks the questions in any case.
"""

import argparse
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from m1.core.chat import tokenizer_of
from m1.core.errors import run
from m1.core.files import write_json
from m1.core.progress import say
from m1.engines.cached import direct_needs, render
from m1.engines.context import Need, check
from m1.engines.shards import BenchmarkQuestion, add_question_arguments, batches, questions
from m1.infer.frames import make_frames
from m1.infer.settings import AnswerSettings, SweepSettings


def parts(arguments: argparse.Namespace, settings: SweepSettings | AnswerSettings) -> Iterator[list[BenchmarkQuestion]]:
    """The questions of a step (its flags are those of :func:`add_arguments`), in parts that depend on each other: with
    ``forcing: released``, the batches of the released program, otherwise single questions."""
    if isinstance(settings, SweepSettings) and settings.forced and settings.forcing == "released":
        # 1,024 is the released program's `batch_size`.
        return batches(arguments.benchmarks, arguments.order, 1024, arguments.shard)
    return ([one] for one in questions(arguments.benchmarks, arguments.shard))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that :func:`parts` reads."""
    add_question_arguments(parser)
    together = "Parquet of the whole evaluation file, in the order in which it is forced together"
    parser.add_argument("--order", type=Path, help=together)


def needs(
    tokenizer: Any, asked: Iterable[BenchmarkQuestion], settings: SweepSettings | AnswerSettings
) -> Iterator[Need]:
    """The most tokens that each question needs."""
    if isinstance(settings, AnswerSettings):
        bos = settings.bos == "released"
        yield from direct_needs(tokenizer, asked, settings.prompt, settings.answer_limit, bos=bos)
        return
    frames = make_frames(tokenizer, settings)
    for benchmark, question in asked:
        (prompt,) = render(tokenizer, [question], settings.prompt)
        yield Need(benchmark, question.id, len(frames.think(prompt)), frames.room(bool(benchmark)))


def main(argv: Sequence[str] | None = None) -> None:
    """Write how long a model's questions are, or stop if some are too long for its base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--model", required=True, type=Path, help="folder of the base, whose context the model has")
    parser.add_argument("--template", type=Path, help="folder of the tokenizer whose chat template is borrowed")
    add_arguments(parser)
    known = f"JSON: {SweepSettings.keys()}; of a model that answers at once: {AnswerSettings.keys()}"
    parser.add_argument("--settings", required=True, help=known)
    parser.add_argument("--output", required=True, type=Path, help="file to write, JSON")
    arguments = parser.parse_args(argv)
    kind = SweepSettings if "budgets" in json.loads(arguments.settings) else AnswerSettings
    settings = kind.from_json(arguments.settings)
    title = f"context {arguments.name}"
    tokenizer = tokenizer_of(arguments.model, arguments.template)
    asked = itertools.chain.from_iterable(parts(arguments, settings))
    longest, long, _ = check(needs(tokenizer, asked, settings), arguments.model, settings.too_long, title)
    write_json(arguments.output, {"longest": longest and longest._asdict(), "too_long": sorted(long)})
    if not long:
        say(title, f"every question fits{f'; the longest: {longest}' if longest else ''}")


if __name__ == "__main__":
    run(main)
