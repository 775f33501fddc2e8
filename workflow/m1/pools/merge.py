"""Merge the pools: leave out duplicates, and what is in a benchmark (3.1, B.1, Table 3)."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from m1 import records
from m1.errors import UserError, run
from m1.files import write_manifest
from m1.pools import settings as given
from m1.progress import say
from m1.prompts import question_text
from m1.records import Question

KEYS = ("threshold", "decontaminate")
DECONTAMINATE = ("stem", "released")


def duplicates(questions: Sequence[Question], threshold: float) -> set[int]:
    """Places of the questions that go: of every pair of prompts at or above ``threshold`` percent, the later one.

    So the first of a group stays, and a question also goes for being close to one that goes itself (of a chain a-b-c, where a and c are not
    close, only a stays). This is the rule of OpenThoughts, which B.1 follows; only that its search stops at the five closest of a prompt.
    Prompts are with context and options.
    """
    from m1.pools.similar import duplicate_pairs

    return {later for _, later in duplicate_pairs([question_text(question) for question in questions], threshold)}


def contaminated(
    questions: Sequence[Question], benchmarks: Mapping[str, Sequence[Question]], threshold: float, how: str
) -> dict[str, set[int]]:
    """For each benchmark, places of the questions that are close to one of its questions.

    Args:
        questions: for training.
        benchmarks: name to questions.
        threshold: percent, as for duplicates.
        how: ``stem`` holds the stem against the stem, which is what was meant; ``released`` holds the prompt, options and all, against the
            benchmark's question without options, as the released code does: short questions are then practically never caught.
    """
    from m1.pools.similar import close_pairs

    texts = [question_text(question) if how == "released" else question.stem for question in questions]
    found = {}
    for name, others in benchmarks.items():
        targets = [_without_options(other) if how == "released" else other.stem for other in others]
        found[name] = {place for place, _ in close_pairs(texts, targets, threshold)}
    return found


def _without_options(question: Question) -> str:
    return f"{question.context}\n{question.stem}" if question.context else question.stem


def _read_all(paths: Sequence[str]) -> dict[str, list[Question]]:
    files: dict[str, list[Question]] = {}
    for path in paths:
        name = Path(path).stem
        if name in files:
            raise UserError(f"{path}: a file named {name} was already given; each pool and benchmark is given once.")
        files[name] = records.read(path, Question)
    return files


def main(argv: Sequence[str] | None = None) -> None:
    """Merge the pools given on the command line (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pools", required=True, nargs="+", help="Parquet of questions; of two duplicates the one in the earlier pool stays"
    )
    parser.add_argument("--benchmarks", required=True, nargs="*", help="Parquet of questions that must not be trained on")
    parser.add_argument("--settings", required=True, help=f"JSON object with {', '.join(KEYS)}")
    parser.add_argument("--output", required=True, help="Parquet of questions")
    parser.add_argument("--manifest", required=True, help="JSON: settings, counts in and out per pool and benchmark")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = given.parse(arguments.settings, KEYS)
    how = given.choice(settings, "decontaminate", DECONTAMINATE)
    threshold = settings["threshold"]
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 100:
        raise UserError(f"--settings: threshold is {threshold!r}; it must be a percentage over 0 and at most 100 (the paper's: 95).")

    pools, benchmarks = _read_all(arguments.pools), _read_all(arguments.benchmarks)
    collected = [question for pool in pools.values() for question in pool]
    repeated = [identity for identity, count in Counter(question.id for question in collected).items() if count > 1]
    if repeated:
        raise UserError(
            f"{' '.join(arguments.pools)}: id {repeated[0]} is in two pools. Give every pool a name of its own and collect them again."
        )
    gone = duplicates(collected, threshold)
    distinct = [question for place, question in enumerate(collected) if place not in gone]
    caught = contaminated(distinct, benchmarks, threshold, how)
    dirty = set().union(*caught.values())
    merged = [question for place, question in enumerate(distinct) if place not in dirty]
    if not merged:
        raise UserError(
            f"{arguments.output}: no question is left of {len(collected)}. Raise `threshold`, or check that pools are not benchmarks."
        )
    records.write(arguments.output, merged, Question)

    kept = {question.id for question in merged}
    counts = {
        "collected": len(collected),
        "duplicates": len(gone),
        "contaminated": len(dirty),
        "merged": len(merged),
        "pools": {name: {"in": len(pool), "out": sum(question.id in kept for question in pool)} for name, pool in pools.items()},
        "contaminated_by": {name: len(places) for name, places in caught.items()},
    }
    inputs = {Path(path).stem: path for path in arguments.pools} | {f"benchmark {Path(path).stem}": path for path in arguments.benchmarks}
    write_manifest(arguments.manifest, inputs=inputs, settings=settings, counts=counts, started=started)
    say(
        "pools",
        f"merge: {len(collected):,} questions in, {len(gone):,} duplicates and {len(dirty):,} contaminated left out, {len(merged):,} out",
    )


if __name__ == "__main__":
    run(main)
