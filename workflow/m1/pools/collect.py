"""Collect one pool or benchmark: read it, take a part, make questions of it, shuffle the options (3.1, B.1)."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from m1 import records
from m1.errors import UserError, run
from m1.files import write_manifest
from m1.pools import settings as given
from m1.pools.layouts import LAYOUTS, YES_NO_MAYBE, Parts, Refused
from m1.progress import say
from m1.records import LETTERS, Question

KEYS = ("layout", "path", "hub", "config", "split", "revision", "key", "part", "limit", "shuffle_options", "seed", "invalid")
FORMATS = (".jsonl", ".json", ".csv", ".parquet")

Numbered = tuple[int, Any]
"""A published record and its number in the file or split, from 0."""


def read_local(path: str | Path, key: str | None) -> list[Any]:
    """Records of a local file: JSON Lines, JSON (a list; with ``key``, that one of an object of lists), CSV, Parquet.

    A ``.gz`` may follow, but for Parquet.

    Plain readers, because importing ``datasets`` takes seconds.

    Raises:
        UserError: names the file, the line where there is one, and what was found.
    """
    path = Path(path)
    kinds = [suffix for suffix in path.suffixes[-2:] if suffix in FORMATS]
    if not kinds:
        raise UserError(f"{path}: unknown kind of file; {', '.join(FORMATS)} can be read, the first three also as .gz.")
    if key is not None and kinds[-1] != ".json":
        raise UserError(f"{path}: `key` names a list inside a .json file; set it to null for a {kinds[-1]} file.")
    try:
        if kinds[-1] == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(path, partitioning=None).to_pylist()
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = content.decode("utf-8-sig")
        if kinds[-1] == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline="")))
        return _json_list(path, text, key) if kinds[-1] == ".json" else _json_lines(path, text)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Correct the pool's `path`, or set it to null and give `hub`.") from None
    except (OSError, EOFError, ValueError, csv.Error) as error:  # damaged gzip, not UTF-8, not Parquet
        raise UserError(f"{path}: not readable as {kinds[-1]}: {error}") from error


def _json_lines(path: Path, text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise UserError(f"{path}: line {number}: not a JSON record: {error}") from None
    return rows


def _json_list(path: Path, text: str, key: str | None) -> list[Any]:
    value = json.loads(text)
    if key is not None:
        if not isinstance(value, dict) or key not in value:
            there = ", ".join(value) if isinstance(value, dict) else f"a {type(value).__name__}"
            raise UserError(f"{path}: no list {key!r}; there is {there}. Correct the pool's `key`.")
        value = value[key]
    if not isinstance(value, list):
        there = (
            f"an object with {', '.join(value)}: set the pool's `key` to one of them" if isinstance(value, dict) else type(value).__name__
        )
        raise UserError(f"{path}: a list of records is needed; there is {there}.")
    return value


def read_hub(hub: str, config: str | None, split: str | None, revision: str | None, key: str | None) -> list[Any]:
    """Records of a data set on the Hugging Face hub (or in a local folder of that form).

    Raises:
        UserError: with the hub's own message: unknown name, no network, other splits.
    """
    import datasets  # seconds: only where the hub is asked

    inside = {"field": key} if key is not None else {}
    try:
        return datasets.load_dataset(hub, config, split=split, revision=revision, **inside).to_list()
    except Exception as error:  # the library raises many kinds, from connection errors to ValueError
        raise UserError(
            f"{hub} (config {config}, split {split}, revision {revision}): cannot be loaded from the hub: {str(error).rstrip('.')}. "
            "Correct the pool's entry, check the network, or download the file and give its `path`."
        ) from error


def take_part(rows: Sequence[Numbered], part: dict[str, Any] | None) -> list[Numbered]:
    """One of two parts of a seeded shuffle: the ``first`` has ``size`` records, the ``second`` all others.

    So a pool and a benchmark with equal seed and size share no record: the 500/500 of PubMedQA (Table 3).

    Raises:
        UserError: keys other than seed, take and size; a size beyond the number of records.
    """
    if part is None:
        return list(rows)
    if not isinstance(part, dict) or set(part) != {"seed", "take", "size"} or part["take"] not in ("first", "second"):
        raise UserError(f'--settings: part is {part!r}; it must be null or {{"seed": 0, "take": "first" or "second", "size": 500}}.')
    if not isinstance(part["size"], int) or not 0 < part["size"] <= len(rows):
        raise UserError(f"--settings: part.size is {part['size']}, but there are {len(rows)} records.")
    order = random.Random(part["seed"]).sample(rows, len(rows))
    return order[: part["size"]] if part["take"] == "first" else order[part["size"] :]


def limit_to(rows: Sequence[Parts], limit: int | None, seed: int) -> list[Parts]:
    """At most ``limit`` of the rows, drawn with a generator of their own, in their old order."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), limit))]


def shuffle_options(rows: Iterable[Parts], seed: int) -> list[Parts]:
    """Options in random order, so that letters are not memorised; the answer's letter follows its option.

    One generator goes through the questions in order. Yes/no/maybe keeps its order (B.3) and draws nothing.
    """
    generator = random.Random(seed)
    shuffled = []
    for row in rows:
        if row.options != YES_NO_MAYBE:
            order = list(range(len(row.options)))
            generator.shuffle(order)
            letter = LETTERS[order.index(LETTERS.index(row.answer))]
            row = row._replace(options=tuple(row.options[i] for i in order), answer=letter)
        shuffled.append(row)
    return shuffled


def to_parts(rows: Iterable[Numbered], layout: Callable[[Any], Parts], place: str, drop_invalid: bool) -> tuple[list[Parts], Counter[str]]:
    """Published records as parts of questions, and how many were refused for which reason.

    Raises:
        UserError: a record is refused and ``drop_invalid`` is false; names the place, the record's number, the field and what was found.
    """
    parts: list[Parts] = []
    refused: Counter[str] = Counter()
    for number, raw in rows:
        try:
            if not isinstance(raw, dict):
                raise Refused("(record)", "not an object with fields", raw)
            parts.append(layout(raw))
        except Refused as error:
            if not drop_invalid:
                raise UserError(
                    f"{place}: record {number} (from 0), {error}. "
                    "Correct the record, check the pool's `layout`, or set its `invalid` to drop to leave such records out."
                ) from None
            refused[f"{error.field}: {error.reason}"] += 1
    return parts, refused


def to_questions(name: str, rows: Sequence[Parts]) -> list[Question]:
    """Questions with ids that do not change with the order of options or of records (but for exact repetitions)."""
    plain = [records.question_id(name, row.stem, row.context, row.options, row.options[LETTERS.index(row.answer)]) for row in rows]
    return [Question(identity, name, *row) for identity, row in zip(records.distinct_ids(plain), rows)]


def main(argv: Sequence[str] | None = None) -> None:
    """Collect the pool given on the command line (see ``--help``)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the pool or benchmark; becomes the questions' source")
    parser.add_argument("--settings", required=True, help=f"JSON object with {', '.join(KEYS)}")
    parser.add_argument("--input", help="the local file, where it is not the one of the setting `path`")
    parser.add_argument("--output", required=True, help="Parquet of questions")
    parser.add_argument("--manifest", required=True, help="JSON: settings, counts in and out, refused records by reason")
    arguments = parser.parse_args(argv)
    started = time.time()
    settings = given.parse(arguments.settings, KEYS)
    layout = LAYOUTS[given.choice(settings, "layout", LAYOUTS)]
    drop_invalid = given.choice(settings, "invalid", ("error", "drop")) == "drop"
    limit = given.count(settings, "limit")
    path = arguments.input or settings["path"]
    if (path is None) == (settings["hub"] is None):
        raise UserError(f"pool {arguments.name}: give either a local `path` or a `hub` name; found path {path!r}, hub {settings['hub']!r}.")

    if path is not None:
        place, published = str(path), read_local(path, settings["key"])
    else:
        place = settings["hub"]
        if settings["split"] is None:
            raise UserError(f"pool {arguments.name}: `split` is null; give the split of {place} to read, for example train.")
        published = read_hub(place, settings["config"], settings["split"], settings["revision"], settings["key"])
    rows = take_part(list(enumerate(published)), settings["part"])
    parts, refused = to_parts(rows, layout, place, drop_invalid)
    parts = limit_to(parts, limit, settings["seed"])
    if settings["shuffle_options"]:
        parts = shuffle_options(parts, settings["seed"])
    if not parts:
        raise UserError(f"{place}: no question in it (of {len(published)} records). Check the pool's `path`, `split` and `layout`.")
    records.write(arguments.output, to_questions(arguments.name, parts), Question)
    counts = {"published": len(published), "part": len(rows), "refused": sum(refused.values()), "questions": len(parts)}
    write_manifest(
        arguments.manifest,
        inputs={} if path is None else {"published": path},
        settings={"name": arguments.name, **settings},
        counts=counts,
        started=started,
        refused=dict(sorted(refused.items())),
    )
    left_out = f", {counts['refused']:,} refused" if refused else ""
    say("pools", f"{arguments.name}: {counts['published']:,} records in, {counts['questions']:,} questions out{left_out}")


if __name__ == "__main__":
    run(main)
