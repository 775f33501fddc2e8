"""Questions that the context of a model is too short for: found before anything is trained or generated.

A question needs the tokens of its prompt and of the most that can come after it: the largest budget, what opens the
answer, and the answer. The model's context is ``max_position_embeddings`` of its configuration. A server may have a
shorter one, which decides no result: that is an error when it is asked for the first time
(:attr:`m1.engines.cached.CachedEngine.longest`).

As a step of its own it comes before the training of a model that is not there yet (``Run.unchecked``); a trained one is
not run again because another benchmark or budget is measured. The sweep checks in any case, before it generates.
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
from m1.engines.shards import Asked, add_question_arguments, batches, questions
from m1.infer.frames import make_frames
from m1.infer.settings import AnswerSettings, SweepSettings


def parts(arguments: argparse.Namespace, settings: SweepSettings | AnswerSettings) -> Iterator[list[Asked]]:
    """The questions of a step: those that need each other together, which are 1,024 where forcing is as released
    (``batch_size`` of its program), else each by itself. The step's flags are those of :func:`add_arguments`."""
    if isinstance(settings, SweepSettings) and settings.forced and settings.forcing == "released":
        return batches(arguments.benchmarks, arguments.order, 1024, arguments.shard)
    return ([one] for one in questions(arguments.benchmarks, arguments.shard))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that :func:`parts` reads."""
    add_question_arguments(parser)
    together = "Parquet of the whole evaluation file, in the order in which it is forced together"
    parser.add_argument("--order", type=Path, help=together)


def needs(tokenizer: Any, asked: Iterable[Asked], settings: SweepSettings | AnswerSettings) -> Iterator[Need]:
    """What each question needs at most."""
    if isinstance(settings, AnswerSettings):
        yield from direct_needs(
            tokenizer, asked, settings.prompt, settings.answer_limit, bos=settings.bos == "released"
        )
        return
    frames = make_frames(tokenizer, settings)
    for benchmark, question in asked:
        (prompt,) = render(tokenizer, [question], settings.prompt)
        yield Need(benchmark, question.id, len(frames.think(prompt)), frames.room(bool(benchmark)))


def main(argv: Sequence[str] | None = None) -> None:
    """Write how long the questions of a model are, or stop where some are too long for its base."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True, help="the model's key")
    parser.add_argument("--model", required=True, type=Path, help="folder of the base, whose context the model has")
    parser.add_argument("--template", type=Path, help="folder of the tokenizer whose chat template is borrowed")
    add_arguments(parser)
    known = f"JSON: {SweepSettings.keys()}; of a model that answers at once: {AnswerSettings.keys()}"
    parser.add_argument("--settings", required=True, help=known)
    parser.add_argument("--output", required=True, type=Path, help="JSON")
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
