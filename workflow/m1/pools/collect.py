"""Collect one pool or benchmark: read it, take a part, make questions of it, shuffle the options (3.1, B.1)."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from m1.core import records, sources
from m1.core.counts import PUBLISHED
from m1.core.draws import option_orders, permutation
from m1.core.errors import UserError, run
from m1.core.files import write_manifest
from m1.core.layouts import LAYOUTS, YES_NO_MAYBE, Parts, Refused
from m1.core.progress import say
from m1.core.records import LETTERS, Question
from m1.pools.settings import CollectSettings, Draws, Part

Numbered = tuple[int, Any]  # a published record after its number in the file or split, from 0
Layout = Callable[[Any], Parts]


def take_part(rows: Sequence[Numbered], part: Part | None) -> list[Numbered]:
    """One of two parts of a seeded shuffle: the ``first`` has ``size`` records, the ``second`` all others.

    So a pool and a benchmark with equal seed and size share no record: the 500/500 of PubMedQA (Table 3), where the
    authors test on the first part and train on the second. A size beyond the number of records is a
    :class:`UserError`.
    """
    if part is None:
        return list(rows)
    if part.size > len(rows):
        raise UserError(f"--settings: part.size is {part.size}, but there are {len(rows)} records.")
    order = permutation(len(rows), part.seed)
    return [rows[place] for place in (order[: part.size] if part.take == "first" else order[part.size :])]


def limit_to(rows: Sequence[Parts], limit: int | None, seed: int) -> list[Parts]:
    """At most ``limit`` of the rows, drawn with a generator of their own, in their old order."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[place] for place in sorted(permutation(len(rows), seed)[:limit])]


def option_counts(published: Iterable[Any], layout: Layout, draws: Draws) -> list[int]:
    """How many options of each published record are shuffled; 0 for yes/no/maybe if ``draws`` is ``exact`` (B.3).

    A record that is no question counts as the one before it: the authors' code has shuffled it.
    """
    counts: list[int] = []
    for raw in published:
        count = counts[-1] if counts else 0
        with suppress(Refused):
            if isinstance(raw, dict):
                options = layout(raw).options
                count = 0 if draws == "exact" and options == YES_NO_MAYBE else len(options)
        counts.append(count)
    return counts


def reorder_options(row: Parts, order: Sequence[int]) -> Parts:
    """The question with its options in another order (none: as they are); the answer is the first of equal options."""
    if not order:
        return row
    options = tuple(row.options[place] for place in order)
    return row._replace(options=options, answer=LETTERS[options.index(answer_text(row))])


def answer_text(row: Parts) -> str:
    """The text of the correct option."""
    return row.options[LETTERS.index(row.answer)]


def to_parts(
    rows: Iterable[Numbered], layout: Layout, place: str, drop_invalid: bool, orders: Sequence[list[int]] | None = None
) -> tuple[list[Parts], list[dict[str, Any]]]:
    """Published records as parts of questions, and those refused: number, field, reason, and what was found.

    Args:
        orders: of the options, by the record's number; None: as published.

    Raises:
        UserError: a record is refused and ``drop_invalid`` is false; names place, record, field and what was found.
    """
    parts: list[Parts] = []
    refused: list[dict[str, Any]] = []
    remedy = "Correct the record, check the set's `layout`, or set `invalid` to drop to leave such records out."
    for number, raw in rows:
        try:
            if not isinstance(raw, dict):
                raise Refused("(record)", "not an object with fields", raw)
            parts.append(reorder_options(layout(raw), orders[number] if orders else ()))
        except Refused as error:
            if not drop_invalid:
                raise UserError(f"{place}: record {number} (from 0), {error}. {remedy}") from None
            refused.append({"record": number, "field": error.field, "reason": error.reason, "found": error.found})
    return parts, refused


def by_reason(refused: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Refused records counted by field and reason, the most frequent first."""
    return dict(Counter(f"{one['field']}: {one['reason']}" for one in refused).most_common())


def to_questions(name: str, rows: Sequence[Parts]) -> list[Question]:
    """Questions with ids that do not change with the order of options or of records (but for exact repetitions)."""
    plain = (records.question_id(name, row.stem, row.context, row.options, answer_text(row)) for row in rows)
    return [Question(identity, name, *row[:4]) for identity, row in zip(records.distinct_ids(plain), rows)]


def quirks(rows: Sequence[Parts]) -> dict[str, int]:
    """What is odd in questions that are kept as they are; docs/data.md says what becomes of each."""
    texts = [set(row.options) for row in rows]
    return {
        "equal options": sum(len(some) < len(row.options) for some, row in zip(texts, rows)),
        "correct option has a twin": sum(row.options.count(answer_text(row)) > 1 for row in rows),
        "options equal but for letter case": sum(len({text.lower() for text in some}) < len(some) for some in texts),
        "text cleaned": sum(row.cleaned for row in rows),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the pool given on the command line (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the pool or benchmark; becomes the questions' source")
    parser.add_argument("--settings", required=True, help=f"JSON: {CollectSettings.keys()}")
    parser.add_argument("--output", required=True, help="Parquet of questions")
    parser.add_argument("--manifest", required=True, help="JSON: settings, counts, refused records and why, quirks")
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

    layout = LAYOUTS[settings.layout]
    orders = None
    if settings.shuffle_options:  # one generator along all records; a part is taken after it
        numbers = option_counts(published, layout, settings.draws)
        orders = list(option_orders(numbers, settings.seed, spend_first=settings.draws == "released"))
    rows = take_part(list(enumerate(published)), settings.part) if published else []
    parts, refused = to_parts(rows, layout, place, settings.invalid == "drop", orders)
    parts = limit_to(parts, settings.limit, settings.seed)
    if not parts and not facts:
        found = f"no question in it (of {len(published)} records)"
        raise UserError(f"{place}: {found}. Check the set's `path`, `split` and `layout`.")
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
