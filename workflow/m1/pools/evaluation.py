"""Read every question of the authors' evaluation file, in its order (3.3).

The batches of the released program extend across benchmarks, and include questions that the report does not show.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from m1.core import records, sources
from m1.core.errors import run
from m1.core.files import write_manifest
from m1.core.progress import say
from m1.core.records import Question
from m1.pools.collect import check_set, read_all, to_parts, to_questions
from m1.pools.settings import EvaluationSettings


def main(argv: Sequence[str] | None = None) -> None:
    """Write the questions of the evaluation file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {EvaluationSettings.keys()}")
    parser.add_argument("--output", required=True, help="questions to write, Parquet; their source is the benchmark")
    parser.add_argument("--manifest", required=True, help="manifest to write, JSON")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = EvaluationSettings.from_json(arguments.settings)
    place, rows = sources.read(replace(settings, key=sources.EVERY), "published.evaluation")
    lists: dict[str, list[Any]] = {}
    for row in rows:
        lists.setdefault(row["source"], []).append(row)
    questions, counts, refused_records = [], {}, {}
    for key, inside in lists.items():
        name = settings.names.get(key, key)
        found, where = read_all(inside, settings.layout), f"{place}: {key}"
        if name != key:  # the list is a benchmark of this run
            check_set(inside, found, settings.layout, where)
        parts, refused = to_parts(enumerate(found), where, name == key)
        questions += to_questions(name, parts)
        counts[key] = {"questions": len(parts), "refused": len(refused)}
        refused_records[key] = refused
    records.write(arguments.output, questions, Question)
    write_manifest(
        arguments.manifest,
        inputs={} if settings.path is None else {"published": settings.path},
        settings=asdict(settings),
        counts=counts,
        started=started,
        refused_records=refused_records,
    )
    others = [key for key in lists if key not in settings.names]
    say("pools", f"{place}: {len(questions):,} questions of {len(lists)} lists, in no benchmark: {', '.join(others)}")


if __name__ == "__main__":
    run(main)
