"""Decontaminate a second time (B.1): find the training questions that the evaluation file also has.

The released code compares once more after the teacher has answered (for random sets, before that): the training prompt
with its options against the field ``question`` of every record of the evaluation file. Later steps leave out the
questions that are found.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from m1.core import records
from m1.core.errors import run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.prompts import question_text
from m1.core.records import Question
from m1.pools.merge import flat, read_all, without_options
from m1.pools.settings import LeakSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Write the training questions that the evaluation also has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", required=True, nargs="+", help="Parquet of questions for training")
    parser.add_argument("--evaluation", required=True, nargs="+", help="Parquet of the evaluation's questions")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {LeakSettings.keys()}")
    parser.add_argument("--processes", type=int, default=1, help="processes that compare texts (default: %(default)s)")
    parser.add_argument("--output", required=True, help="found questions to write, Parquet")
    parser.add_argument("--manifest", required=True, help="manifest to write, JSON: counts in all and by pool")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = LeakSettings.from_json(arguments.settings)
    from m1.pools.similar import close_pairs

    (questions, _), (evaluation, _) = flat(read_all(arguments.questions)), flat(read_all(arguments.evaluation))
    prompts, targets = list(map(question_text, questions)), list(map(without_options, evaluation))
    found = close_pairs(prompts, targets, settings.threshold, arguments.processes, "evaluation")
    leaks = [questions[place] for place in sorted({i for i, _ in found})]
    records.write(arguments.output, leaks, Question)
    sources = dict(sorted(Counter(question.source for question in leaks).items()))
    inputs = {Path(path).stem: path for path in arguments.questions}
    inputs |= {f"evaluation {Path(path).stem}": path for path in arguments.evaluation}
    write_manifest(
        arguments.manifest,
        inputs=inputs,
        settings=asdict(settings),
        counts={"questions": len(questions), "evaluation": len(evaluation), "leaks": len(leaks), "sources": sources},
        started=started,
    )
    compared = f"{len(questions):,} questions against {len(evaluation):,} of the evaluation"
    say("pools", f"evaluation: {compared}, {len(leaks):,} found in it")


if __name__ == "__main__":
    run(main)
