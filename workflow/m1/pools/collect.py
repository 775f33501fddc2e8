"""Collect one pool or benchmark: read it, take a part of it, make questions, and shuffle the options (3.1, B.1)."""

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from m1.core import records, sources
from m1.core.counts import PUBLISHED
from m1.core.draws import option_orders, permutation
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.layouts import (
    LAYOUTS,
    ONE_BEYOND,
    YES_NO_MAYBE,
    Parts,
    RefusedRecord,
    loses_option,
    names_option,
    needed_fields,
)
from m1.core.progress import say
from m1.core.records import LETTERS, Question
from m1.core.tables import separator_hint
from m1.pools.settings import CollectSettings, Draws, Part

# Smallest numbers of questions from which it is reported that all have the same correct letter, or that one letter is
# never correct. With fewer questions, either may be chance.
FEW, MANY = 3, 30
Numbered = tuple[int, Parts | RefusedRecord]  # a record's number in the file or split (from 0), and the record


def take_part(rows: Sequence[Numbered], part: Part | None) -> list[Numbered]:
    """Take one of the two parts of a seeded shuffle: the ``first`` has ``size`` records, the ``second`` all others.

    So a pool and a benchmark with equal seed and size share no record. The authors divide PubMedQA in this way (500 and
    500, Table 3): they test on the first part and train on the second.
    """
    if part is None:
        return list(rows)
    if part.size > len(rows):
        raise UserError(f"--settings: part.size is {part.size}, but there are {len(rows)} records.")
    order = permutation(len(rows), part.seed)
    return [rows[place] for place in (order[: part.size] if part.take == "first" else order[part.size :])]


def limit_to(rows: Sequence[Parts], limit: int | None, seed: int) -> list[Parts]:
    """Draw at most ``limit`` of the rows, in their old order; the draw affects no other random numbers."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[place] for place in sorted(permutation(len(rows), seed)[:limit])]


def read_all(published: Iterable[Any], layout: str) -> list[Parts | RefusedRecord]:
    """Convert each published record to the parts of a question, or to the reason why it is refused."""
    found: list[Parts | RefusedRecord] = []
    for raw in published:
        try:
            if not isinstance(raw, dict):
                raise RefusedRecord("(record)", "not an object with fields", raw)
            found.append(LAYOUTS[layout](raw))
        except RefusedRecord as error:
            found.append(error.with_traceback(None))
    return found


def check_set(published: Sequence[Any], found: Sequence[Parts | RefusedRecord], layout: str, place: str) -> None:
    """Check a set, and the same records from :func:`read_all`, for faults that no single record shows, and that leaving
    out records would hide.

    Raises:
        UserError: no record has a field that the layout needs, a field holds an option that the layout does not read,
            or the numbers of the correct options count from 1. Names place, field, what was found and the remedy.
    """
    fields = list(dict.fromkeys(name for raw in published if isinstance(raw, dict) for name in raw if name))
    check_fields(fields, layout, place)
    suspects = [name for name in fields if names_option(name)]
    for number, (raw, row) in enumerate(zip(published, found)):
        for field in suspects:
            if isinstance(row, Parts) and loses_option(field, raw.get(field), row.options):
                lost = f"{str(raw[field])[:60]!r} looks like an option, and layout {layout} does not read it"
                remedy = (
                    "Five options: layout medbullets; more than five options: layout eval. If it is none, rename it."
                )
                raise UserError(f"{place}: record {number} (from 0), field '{field}': {lost}. {remedy}")
    check_numbers(found, place)


def check_fields(fields: Sequence[str], layout: str, place: str) -> None:
    """Raise a :class:`UserError` if no record has a field that the layout needs; ``fields`` are those of any record."""
    needed = needed_fields(layout, fields)
    lacking = [name for name in needed if name not in fields]
    if fields and lacking:
        there = ", ".join(" ".join(name.split())[:60] for name in fields[:30])
        fault = f"no {', '.join(lacking)} in any record: there is {there}; layout {layout} needs {', '.join(needed)}"
        fits = [f" ({other} fits)" for other in LAYOUTS if {*needed_fields(other, fields)} <= {*fields}]
        remedy = f"Correct the names, or the set's `layout`{''.join(fits[:1])}."
        raise UserError(f"{place}: {fault}.{separator_hint(fields)} {remedy}")


def check_numbers(found: Sequence[Parts | RefusedRecord], place: str) -> None:
    """Raise a :class:`UserError` if the numbers of the correct options count from 1.

    They do if more records hold their number of options than hold 0; if they count from 0, the former are rare slips.
    """
    beyond = [row.field for row in found if isinstance(row, RefusedRecord) and row.reason == ONE_BEYOND]
    zeros = sum(isinstance(row, Parts) and row.answer == LETTERS[0] for row in found)
    if len(beyond) > zeros:
        seen = f"of {len(found):,} records, it is the number of the options in {len(beyond):,}, and 0 in {zeros:,}"
        fault = f"the numbers seem to count from 1, not from 0: {seen}"
        raise UserError(f"{place}: field '{beyond[0]}': {fault}. Take 1 from it in every record.")


def option_counts(found: Iterable[Parts | RefusedRecord], draws: Draws) -> list[int]:
    """The number of options of each published record that are shuffled.

    It is 0 for yes/no/maybe if ``draws`` is ``exact`` (B.3). A refused record counts like the one before it, because
    the authors' code shuffles it, too, which moves the random numbers of all later records.
    """
    counts: list[int] = []
    for row in found:
        if isinstance(row, Parts):
            counts.append(0 if draws == "exact" and row.options == YES_NO_MAYBE else len(row.options))
        else:
            counts.append(counts[-1] if counts else 0)
    return counts


def reorder_options(row: Parts, order: Sequence[int]) -> Parts:
    """The question with its options in another order (if it is not empty); of equal options, the first is correct."""
    if not order:
        return row
    options = tuple(row.options[place] for place in order)
    return row._replace(options=options, answer=LETTERS[options.index(answer_text(row))])


def answer_text(row: Parts) -> str:
    """The text of the correct option."""
    return row.options[LETTERS.index(row.answer)]


def to_parts(
    rows: Iterable[Numbered], place: str, drop_invalid: bool, orders: Sequence[list[int]] | None = None
) -> tuple[list[Parts], list[dict[str, Any]]]:
    """Separate questions from refused records: the questions, and for each refused record its number, field, reason and
    what was found.

    ``orders`` has the order of the options, by the record's number; None keeps them as published.

    Raises:
        UserError: a record is refused and not to be left out; names place, record, field and what was found.
    """
    parts: list[Parts] = []
    refused: list[dict[str, Any]] = []
    remedy = "Correct the record, check the set's `layout`, or set `invalid` to drop to leave such records out."
    for number, row in rows:
        if isinstance(row, Parts):
            parts.append(reorder_options(row, orders[number] if orders else ()))
        elif drop_invalid:
            refused.append({"record": number, "field": row.field, "reason": row.reason, "found": row.found})
        else:
            raise UserError(f"{place}: record {number} (from 0), {row}. {remedy}")
    return parts, refused


def by_reason(refused: Iterable[dict[str, Any]]) -> dict[str, int]:
    """The numbers of refused records by field and reason, the most frequent first."""
    return dict(Counter(f"{one['field']}: {one['reason']}" for one in refused).most_common())


def no_question(place: str, records: int, refused: Iterable[dict[str, Any]]) -> UserError:
    """The error that a set has no question."""
    why = "".join(f"; {count} {reason}" for reason, count in by_reason(refused).items())
    return UserError(f"{place}: no question in it (of {records} records{why}). Check the set's `path` and `layout`.")


def describe(published: Iterable[Any], rows: Sequence[Parts]) -> tuple[str, str, list[str]]:
    """Describe a set: its questions by number of options and by correct letter, and what is odd about it. The own ids
    of the published records are checked for repetitions; ``rows`` have the options as published."""
    options = Counter(len(row.options) for row in rows)
    answers = Counter(row.answer for row in rows)
    odd = []
    if len(answers) == 1 and len(rows) >= FEW:
        odd.append(f"the correct option is {rows[0].answer} in each of {len(rows):,} questions")
    elif len(rows) >= MANY and (never := [letter for letter in LETTERS[: min(options)] if letter not in answers]):
        odd.append(f"the correct option is never {' or '.join(never)} in {len(rows):,} questions")
    keys = [(row.stem, row.context, tuple(sorted(row.options))) for row in rows]
    answered = {(key, answer_text(row)) for key, row in zip(keys, rows)}
    if repeated := len(rows) - len(answered):
        odd.append(f"repeated questions, options and all: {repeated:,}")
    if torn := len(answered) - len(set(keys)):
        odd.append(f"repeated questions with another correct option: {torn:,}")
    for field in ("id", "question_id"):
        ids = [str(raw[field]) for raw in published if isinstance(raw, dict) and raw.get(field) not in (None, "")]
        if twice := len(ids) - len(set(ids)):
            odd.append(f"repeated values of '{field}': {twice:,}")
    return _tally(sorted(options.items())), _tally(sorted(answers.items())), odd


def _tally(counts: Iterable[tuple[Any, int]]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts)


def to_questions(name: str, rows: Sequence[Parts]) -> list[Question]:
    """Make questions; their ids do not depend on the order of options or records (except for exact repetitions)."""
    plain = (records.question_id(name, row.stem, row.context, row.options, answer_text(row)) for row in rows)
    return [Question(identity, name, *row[:4]) for identity, row in zip(records.distinct_ids(plain), rows)]


def quirks(rows: Sequence[Parts]) -> dict[str, int]:
    """What is odd in questions that are kept as they are; docs/paper.md says what becomes of each."""
    texts = [set(row.options) for row in rows]
    return {
        "equal options": sum(len(some) < len(row.options) for some, row in zip(texts, rows)),
        "correct option has a twin": sum(row.options.count(answer_text(row)) > 1 for row in rows),
        "options equal but for letter case": sum(len({text.lower() for text in some}) < len(some) for some in texts),
        "text cleaned": sum(row.cleaned for row in rows),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Collect one pool or benchmark, and write its questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the pool or benchmark; becomes the questions' source")
    parser.add_argument("--settings", required=True, help=f"JSON object with the keys {CollectSettings.keys()}")
    parser.add_argument("--output", required=True, help="questions to write, Parquet")
    parser.add_argument(
        "--manifest", required=True, help="manifest to write, JSON: counts, refused records, oddities, digest"
    )
    parser.add_argument("--published", help=PUBLISHED)
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = CollectSettings.from_json(arguments.settings)
    if settings.layout not in LAYOUTS:
        raise UserError(f"--settings: layout is {settings.layout!r}; it must be one of {', '.join(LAYOUTS)}.")
    facts: dict[str, Any] = {}
    try:
        place, published = sources.read(settings, arguments.name)
    except sources.Missing as error:
        if not settings.optional:
            raise
        facts["missing"] = str(error)
        say("pools", f"{arguments.name}: MISSING, so its column will be marked missing: {error}")
        place, published = arguments.name, []

    found = read_all(published, settings.layout)
    check_set(published, found, settings.layout, place)
    orders = None
    if settings.shuffle_options:  # one generator serves all records of the set, also those outside of the part
        numbers = option_counts(found, settings.draws)
        orders = list(option_orders(numbers, settings.seed, spend_first=settings.draws == "released"))
    rows = take_part(list(enumerate(found)), settings.part) if found else []
    parts, refused = to_parts(rows, place, settings.invalid == "drop", orders)
    if not parts and not facts:
        raise no_question(place, len(published), refused)
    parts = limit_to(parts, settings.limit, settings.seed)
    questions = to_questions(arguments.name, parts)
    records.write(arguments.output, questions, Question)
    counts = {"published": len(published), "part": len(rows), "refused": len(refused), "questions": len(parts)}
    counts["repeated"] = sum("-" in question.id for question in questions)
    write_manifest(
        arguments.manifest,
        inputs={} if facts or settings.path is None else {"published": settings.path},
        settings={"name": arguments.name, **asdict(settings)},
        counts=counts,
        started=started,
        published=arguments.published,
        questions_sha256=records.questions_sha256(questions),
        quirks=quirks(parts),
        refused=by_reason(refused),
        refused_records=refused,
        **facts,
    )
    if not facts:
        left_out = f", {len(refused):,} refused" if refused else ""
        say("pools", f"{arguments.name}: {len(published):,} records in, {len(parts):,} questions out{left_out}")


if __name__ == "__main__":
    run(main)
