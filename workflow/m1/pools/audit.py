"""Audit the contamination: find training questions that are in a benchmark, by several criteria (3.1, B.1).

It writes two tables. The first lists the pairs with both texts, to be judged by eye. The second counts, by benchmark
and pool, the questions found at several thresholds, and how many of them the released filter removes or lets through.
"""

import argparse
import csv
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from m1.core.errors import UserError, run
from m1.core.files import csv_cell, replacing, write_manifest
from m1.core.progress import say
from m1.core.prompts import options_lines, question_text
from m1.core.records import Question
from m1.pools.merge import Questions, flat, read_all, without_options
from m1.pools.settings import AuditSettings

RELEASED = 95  # similarity in percent from which the released filter removes a question (B.1)
CAUGHT = ("stem", "ngram", "both")  # values of :attr:`Match.caught_by` that the audit counts as contamination


@dataclass(frozen=True, slots=True)
class Match:
    """A training question and a benchmark question that some criterion takes for the same: a row of the first table."""

    benchmark: str
    pool: str
    # ``stem`` (at least as similar as the highest threshold), ``ngram`` or ``both``; otherwise ``near`` (at least as
    # similar as the lowest threshold); otherwise ``released`` (only the released filter finds it)
    caught_by: str
    released: bool  # whether the released filter finds it
    same_answer: bool  # whether the texts of the correct options are equal, except for letter case and full stop
    stem_similarity: float  # percent
    containment: float | None  # share of one question's n-grams that the other has; None without n-grams
    released_similarity: float  # percent, between the training prompt with options and the benchmark question without
    benchmark_id: str
    question_id: str
    benchmark_text: str
    question_text: str
    benchmark_options: str
    question_options: str


@dataclass(frozen=True, slots=True)
class Count:
    """The number of a pool's questions that are in a benchmark by one criterion: a row of the second table."""

    benchmark: str
    pool: str
    criterion: str
    pairs: int
    questions: int  # distinct training questions
    benchmark_questions: int
    released_catches: int  # those of `questions` that the released filter removes because of this benchmark
    released_lets_through: int


def find_matches(pools: Questions, benchmarks: Questions, settings: AuditSettings, processes: int) -> list[Match]:
    """Find all matches, in the order of benchmarks and pools, with the most similar ones first."""
    from rapidfuzz import fuzz

    from m1.pools.contain import pairs_by_containment
    from m1.pools.similar import close_pairs

    questions, pool_of = flat(pools)
    others, benchmark_of = flat(benchmarks)
    prompts, bodies = list(map(question_text, questions)), list(map(without_options, questions))
    targets, stems = list(map(without_options, others)), [other.stem for other in others]
    thresholds, ngram = settings.thresholds, settings.ngram
    near = close_pairs([question.stem for question in questions], stems, min(thresholds), processes, "audit, by stem")
    released = set(close_pairs(prompts, targets, RELEASED, processes, "audit, as released"))
    parts = {(i, j): part for i, j, part in pairs_by_containment(bodies, targets, ngram, 0)} if ngram else {}
    contained = {pair for pair, part in parts.items() if part >= settings.containment}
    matches = []
    for i, j in {*near, *released, *contained}:
        similarity = fuzz.ratio(questions[i].stem, stems[j])
        matches.append(
            Match(
                benchmark=benchmark_of[j],
                pool=pool_of[i],
                caught_by=_catcher(similarity, thresholds, (i, j) in contained),
                released=(i, j) in released,
                same_answer=_answer(questions[i]) == _answer(others[j]),
                stem_similarity=similarity,
                containment=parts.get((i, j), 0.0) if ngram else None,
                released_similarity=fuzz.ratio(prompts[i], targets[j]),
                benchmark_id=others[j].id,
                question_id=questions[i].id,
                benchmark_text=_line(targets[j]),
                question_text=_line(bodies[i]),
                benchmark_options=_line(" | ".join(options_lines(others[j].options))),
                question_options=_line(" | ".join(options_lines(questions[i].options))),
            )
        )
    benchmark_order, pool_order = list(benchmarks), list(pools)

    def order(match: Match) -> tuple[Any, ...]:
        place = benchmark_order.index(match.benchmark), pool_order.index(match.pool)
        return *place, -match.stem_similarity, -(match.containment or 0.0), match.benchmark_id, match.question_id

    return sorted(matches, key=order)


def _answer(question: Question) -> str:
    return question.answer_text.casefold().strip(" .")


def _catcher(similarity: float, thresholds: Sequence[float], contained: bool) -> str:
    if similarity >= max(thresholds):
        return "both" if contained else "stem"
    if contained:
        return "ngram"
    return "near" if similarity >= min(thresholds) else "released"


def summarize(
    matches: Sequence[Match], pools: Iterable[str], benchmarks: Iterable[str], settings: AuditSettings
) -> list[Count]:
    """Count the matches of every benchmark, pool and criterion, including zeros.

    The criteria are ``stem 80`` (a stem similarity of at least 80 %; one for each threshold), ``ngram`` (if n-grams
    were compared), and ``caught`` (the highest threshold, or n-grams).
    """
    cells: dict[tuple[str, str], list[Match]] = {(benchmark, pool): [] for benchmark in benchmarks for pool in pools}
    for match in matches:
        cells[match.benchmark, match.pool].append(match)
    counts = []
    for (benchmark, pool), cell in cells.items():
        released = {match.question_id for match in cell if match.released}
        criteria = {
            f"stem {least:g}": [match for match in cell if match.stem_similarity >= least]
            for least in sorted(settings.thresholds)
        }
        if settings.ngram:
            criteria["ngram"] = [match for match in cell if match.caught_by in ("ngram", "both")]
        criteria["caught"] = [match for match in cell if match.caught_by in CAUGHT]
        for criterion, found in criteria.items():
            questions, touched = {match.question_id for match in found}, {match.benchmark_id for match in found}
            sizes = map(len, (found, questions, touched, questions & released, questions - released))
            counts.append(Count(benchmark, pool, criterion, *sizes))
    return counts


def _line(text: str) -> str:
    """The text on one line, so that a row of the table is one line, too."""
    return " ".join(text.split())


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else csv_cell(value)


def _write(path: str, row: type[Match] | type[Count], rows: Iterable[Match | Count]) -> None:
    with replacing(path) as partial, open(partial, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(field.name for field in fields(row))
        table.writerows([_cell(value) for value in astuple(one)] for one in rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Audit pools against benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pools", required=True, nargs="+", help="Parquet of questions for training")
    held_out = "Parquet of questions that must not be trained on"
    parser.add_argument("--benchmarks", required=True, nargs="*", help=held_out)
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {AuditSettings.keys()}")
    parser.add_argument("--processes", type=int, default=1, help="processes that compare texts (default: %(default)s)")
    parser.add_argument("--output", required=True, help="CSV to write: the pairs")
    parser.add_argument("--summary", required=True, help="CSV to write: counts by benchmark, pool and criterion")
    parser.add_argument("--manifest", required=True, help="manifest to write, JSON: inputs, and hashes of both tables")
    arguments, started = parser.parse_args(argv), time.time()
    settings = AuditSettings.from_json(arguments.settings)
    if not settings.thresholds:
        raise UserError("--settings: thresholds is empty; give at least one similarity.")

    pools, benchmarks = read_all(arguments.pools), read_all(arguments.benchmarks)
    matches = find_matches(pools, benchmarks, settings, arguments.processes)
    _write(arguments.output, Match, matches)
    _write(arguments.summary, Count, summarize(matches, pools, benchmarks, settings))
    caught = {(match.pool, match.question_id) for match in matches if match.caught_by in CAUGHT}
    known = caught & {(match.pool, match.question_id) for match in matches if match.released}
    sizes = f"{sum(map(len, pools.values())):,} questions and {sum(map(len, benchmarks.values())):,} of benchmarks"
    inputs = {Path(path).stem: path for path in arguments.pools}
    inputs |= {f"benchmark {Path(path).stem}": path for path in arguments.benchmarks}
    counts = {"pairs": len(matches), "caught": len(caught)}
    write_manifest(arguments.manifest, inputs=inputs, settings=asdict(settings), counts=counts, started=started)
    seen = f"{len(caught):,} questions are in a benchmark, the released filter sees {len(known):,} of them"
    say("pools", f"audit: {sizes} in, {len(matches):,} pairs out; {seen}")


if __name__ == "__main__":
    run(main)
