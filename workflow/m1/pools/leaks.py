"""The second decontamination (B.1): find the questions for training that the evaluation file has, too.

The released code compares once more when the teacher has answered, and before that for the random sets: the training
prompt with its options against the ``question`` of every record of the evaluation file. Steps after this one leave the
questions found out.
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
    """Write the questions found (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", required=True, nargs="+", help="Parquet of questions for training")
    parser.add_argument("--evaluation", required=True, nargs="+", help="Parquet of the evaluation's questions")
    parser.add_argument("--settings", required=True, help=f"JSON: {LeakSettings.keys()}")
    parser.add_argument("--processes", type=int, default=1, help="cores for comparing")
    parser.add_argument("--output", required=True, help="Parquet of the questions found")
    parser.add_argument("--manifest", required=True, help="JSON: settings, counts in all and per pool")
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
