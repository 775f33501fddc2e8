"""Merge the pools, without duplicates and without questions that are in a benchmark (3.1, B.1, Table 3)."""

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from m1.core import records
from m1.core.counts import PUBLISHED
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.prompts import question_text
from m1.core.records import Question
from m1.pools.settings import MergeSettings

# The criteria (:func:`find_contaminated`) that remove a question, by mode; the other criteria are only counted.
DECONTAMINATE = {"stem": {"stem", "ngram"}, "released": {"released"}}
Questions = Mapping[str, Sequence[Question]]  # the questions of each pool or benchmark
Found = dict[str, set[tuple[int, int]]]  # by criterion: positions of training questions and of benchmark questions


def duplicates(questions: Sequence[Question], threshold: float, processes: int = 1) -> set[int]:
    """Positions of the duplicates: the later question of every pair of prompts with at least ``threshold`` percent.

    So the first of a group stays. A question is also removed for being close to one that is removed itself: of a chain
    a-b-c, where a and c are not close, only a stays. This is the rule of OpenThoughts, which B.1 follows; only its
    search stops at the five closest texts of a prompt. Prompts include context and options.
    """
    from m1.pools.similar import later_of_close

    return later_of_close([question_text(question) for question in questions], threshold, processes, "duplicates")


def find_contaminated(
    questions: Sequence[Question], benchmark: Sequence[Question], settings: MergeSettings, processes: int
) -> Found:
    """Find pairs of a training question and a benchmark question that are taken for the same, by each criterion.

    ``stem``: the stems are close, which is what the paper means. ``ngram`` (left out if ``settings.ngram`` is None):
    one question has the word n-grams of the other, which also finds wrapped and reworded cases. ``released``: the
    training prompt with its options is close to the benchmark question without options, as in the released code; a
    short question is practically never found by it.
    """
    from m1.pools.contain import pairs_by_containment
    from m1.pools.similar import close_pairs

    stems, tested = ([question.stem for question in side] for side in (questions, benchmark))
    prompts, targets = list(map(question_text, questions)), list(map(without_options, benchmark))
    threshold = settings.threshold
    found = {
        "stem": set(close_pairs(stems, tested, threshold, processes, "contamination, by stem")),
        "released": set(close_pairs(prompts, targets, threshold, processes, "contamination, as released")),
    }
    if settings.ngram:
        bodies = list(map(without_options, questions))
        parts = pairs_by_containment(bodies, targets, settings.ngram, settings.containment)
        found["ngram"] = {(i, j) for i, j, _ in parts}
    return found


def without_options(question: Question) -> str:
    """The question's context, if any, and stem."""
    return f"{question.context}\n{question.stem}" if question.context else question.stem


def read_all(paths: Sequence[str]) -> dict[str, list[Question]]:
    """Read the questions of each file, by the file's stem; raises a :class:`UserError` if two files have one name."""
    files: dict[str, list[Question]] = {}
    for path in paths:
        name = Path(path).stem
        if name in files:
            raise UserError(f"{path}: a file named {name} was already given; each pool and benchmark is given once.")
        files[name] = records.read(path, Question)
    return files


def flat(files: Questions) -> tuple[list[Question], list[str]]:
    """All questions in one list, and for each the name of its file."""
    pairs = [(question, name) for name, rows in files.items() for question in rows]
    return [question for question, _ in pairs], [name for _, name in pairs]


def check_ids(questions: Sequence[Question], paths: Sequence[str]) -> None:
    """Raise a :class:`UserError` if two questions have the same id; names the first such id."""
    repeated = [identity for identity, count in Counter(question.id for question in questions).items() if count > 1]
    if repeated:
        remedy = "Give every pool a name of its own and collect them again."
        raise UserError(f"{' '.join(paths)}: id {repeated[0]} is in two pools. {remedy}")


def count_each(
    pools: Questions, pool_of: list[str], kept: list[int], benchmarks: Questions, benchmark_of: list[str], found: Found
) -> dict[str, Any]:
    """Count the questions in and out of each pool, and those found by each criterion, in all and for each benchmark.

    ``pool_of`` has the pool of each distinct question, ``kept`` the positions of those that stay, and ``benchmark_of``
    the benchmark of each of its questions.
    """
    caught = {way: {place for place, _ in pairs} for way, pairs in found.items()}
    distinct, out = Counter(pool_of), Counter(pool_of[place] for place in kept)
    by_pool = {
        name: {"in": len(pool), "distinct": distinct[name], "out": out[name]}
        | {way: sum(pool_of[place] == name for place in places) for way, places in caught.items()}
        for name, pool in pools.items()
    }
    by_benchmark = {
        name: {way: len({i for i, j in pairs if benchmark_of[j] == name}) for way, pairs in found.items()}
        for name in benchmarks
    }
    in_all = {way: len(places) for way, places in caught.items()}
    return {"caught": in_all, "pools": by_pool, "benchmarks": by_benchmark}


def main(argv: Sequence[str] | None = None) -> None:
    """Merge pools, and write the questions that stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    order = "Parquet of questions; of two duplicates the one in the earlier pool stays"
    parser.add_argument("--pools", required=True, nargs="+", help=order)
    parser.add_argument("--benchmarks", required=True, nargs="*", help="Parquet of questions not to be trained on")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {MergeSettings.keys()}")
    parser.add_argument("--processes", type=int, default=1, help="processes that compare texts (default: %(default)s)")
    parser.add_argument("--output", required=True, help="questions to write, Parquet")
    parser.add_argument("--manifest", required=True, help="manifest to write, JSON: counts by pool and benchmark")
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = MergeSettings.from_json(arguments.settings)

    pools, benchmarks = read_all(arguments.pools), read_all(arguments.benchmarks)
    collected, pool_of = flat(pools)
    check_ids(collected, arguments.pools)
    gone = duplicates(collected, settings.threshold, arguments.processes)
    stay = [place for place in range(len(collected)) if place not in gone]
    distinct, pool_of = [collected[place] for place in stay], [pool_of[place] for place in stay]
    benchmark, benchmark_of = flat(benchmarks)
    found = find_contaminated(distinct, benchmark, settings, arguments.processes)
    ways = DECONTAMINATE[settings.decontaminate]
    dirty = {place for way, pairs in found.items() if way in ways for place, _ in pairs}
    kept = [place for place in range(len(distinct)) if place not in dirty]
    if not kept:
        remedy = "Raise `threshold`, or check that pools are not benchmarks."
        raise UserError(f"{arguments.output}: no question is left of {len(collected)}. {remedy}")
    records.write(arguments.output, [distinct[place] for place in kept], Question)

    counts: dict[str, Any] = {"collected": len(collected), "duplicates": len(gone)}
    counts |= {"contaminated": len(dirty), "merged": len(kept)}
    counts |= count_each(pools, pool_of, kept, benchmarks, benchmark_of, found)
    by_way = ", ".join(f"{way} {count:,}" for way, count in counts["caught"].items())
    inputs = {Path(path).stem: path for path in arguments.pools}
    inputs |= {f"benchmark {Path(path).stem}": path for path in arguments.benchmarks}
    told = asdict(settings)
    write_manifest(
        arguments.manifest, inputs=inputs, settings=told, counts=counts, started=started, published=arguments.published
    )
    left_out = f"{len(gone):,} duplicates and {len(dirty):,} contaminated left out"
    say("pools", f"merge: {len(collected):,} questions in, {left_out}, {len(kept):,} out (caught by {by_way})")


if __name__ == "__main__":
    run(main)
