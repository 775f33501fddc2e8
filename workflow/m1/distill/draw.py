"""Draw questions at random from the whole collection, for the sets without a difficulty filter (Random 1K and Random
23K of Table 3)."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from m1.core import records
from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.core.records import Question
from m1.distill.settings import DrawSettings


def draw(questions: Sequence[Question], size: int, share: float, seed: int) -> list[Question]:
    """``int(size / share)`` questions without replacement, or all if there are fewer; in the order of the collection.

    ``size`` correct traces are wanted, and the teacher is expected to get a ``share`` correct (0.8 in the released
    code).
    """
    count = min(int(size / share), len(questions))
    return [questions[place] for place in sorted(random.Random(seed).sample(range(len(questions)), count))]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the questions drawn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", required=True, help="Parquet of the whole collection")
    parser.add_argument("--like", help="Parquet with as many rows as correct traces are wanted, where size is null")
    parser.add_argument("--settings", required=True, help=f"JSON: {DrawSettings.keys()}")
    parser.add_argument("--output", required=True, help="Parquet of the questions drawn")
    arguments = parser.parse_args(argv)
    settings = DrawSettings.from_json(arguments.settings)
    if (settings.size is None) != bool(arguments.like):
        raise UserError(f"--settings: size is {settings.size}; give either a size or --like, and null for the other.")
    size = settings.size or _count_rows(arguments.like)
    questions = records.read(arguments.questions, Question)
    drawn = draw(questions, size, settings.share, settings.seed)
    records.write(arguments.output, drawn, Question)
    wanted = int(size / settings.share)
    capped = f", fewer than the {wanted:,} wanted: there are no more" if len(drawn) < wanted else ""
    found = f"{len(drawn):,} drawn at random, for {size:,} correct traces{capped}"
    say("distill", f"{len(questions):,} questions → {found}")


def _count_rows(path: str) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error


if __name__ == "__main__":
    run(main)
