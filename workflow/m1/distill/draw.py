"""Draw questions at random from the whole collection, for the sets without a difficulty filter: Random 1K and Random
23K (Table 3)."""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from m1.core import records
from m1.core.counts import PUBLISHED
from m1.core.draws import permutation
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.records import Question
from m1.distill.settings import DrawSettings


def draw(questions: Sequence[Question], size: int, share: float, seed: int) -> list[Question]:
    """Draw ``int(size / share)`` questions, or all if there are fewer: the first ones of a seeded shuffle, in the order
    of the draw. So the smaller one of two sets is a part of the larger one.

    ``size`` is the number of correct traces wanted; ``share`` is the share of correct answers expected of the teacher
    (0.8 in the released code).
    """
    return [questions[place] for place in permutation(len(questions), seed)[: int(size / share)]]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the drawn questions, without those that the evaluation also has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, nargs="+", help="Parquet of the whole collection, in its order")
    parser.add_argument("--leaks", required=True, help="Parquet of questions that are left out after the draw (B.1)")
    parser.add_argument("--like", help="Parquet with as many rows as correct traces are wanted, where size is null")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {DrawSettings.keys()}")
    parser.add_argument("--output", required=True, help="drawn questions to write, Parquet, in the order of the draw")
    parser.add_argument("--manifest", required=True, help="manifest to write, JSON: settings and counts")
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = DrawSettings.from_json(arguments.settings)
    if (settings.size is None) != bool(arguments.like):
        raise UserError(f"--settings: size is {settings.size}; give either a size or --like, and null for the other.")
    size = settings.size or _count_rows(arguments.like)
    questions = [question for path in arguments.questions for question in records.read(path, Question)]
    drawn = draw(questions, size, settings.share, settings.seed)
    leaks = {question.id for question in records.read(arguments.leaks, Question)}
    kept = [question for question in drawn if question.id not in leaks]
    records.write(arguments.output, kept, Question)
    inputs = {Path(path).stem: path for path in arguments.questions} | {"leaks": arguments.leaks}
    counts = {
        "collection": len(questions),
        "drawn": len(drawn),
        "sources": dict(sorted(Counter(question.source for question in drawn).items())),
        "leaks": len(drawn) - len(kept),
        "questions": len(kept),
    }
    write_manifest(
        arguments.manifest,
        inputs=inputs | ({"like": arguments.like} if arguments.like else {}),
        settings=asdict(settings),
        counts=counts,
        started=started,
        published=arguments.published,
    )
    wanted = int(size / settings.share)
    capped = f", fewer than the {wanted:,} wanted: there are no more" if len(drawn) < wanted else ""
    known = f", {len(drawn) - len(kept):,} of them left out: the evaluation has them" if len(kept) < len(drawn) else ""
    found = f"{len(drawn):,} drawn at random, for {size:,} correct traces{capped}{known}"
    say("distill", f"{len(questions):,} questions → {found}")


def _count_rows(path: str) -> int:
    with records.open_parquet(path) as file:
        return int(file.metadata.num_rows)


if __name__ == "__main__":
    run(main)
