"""What the tables and figures read: settings, published tables, scores, and columns of any file of records."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Score


def exact_keys(value: Any, keys: Collection[str], where: str) -> dict[str, Any]:
    """``value`` if it is a mapping with just these keys.

    Raises:
        UserError: names the keys that are unknown or missing.
    """
    if not isinstance(value, dict):
        raise UserError(f"{where}: {value!r} is not a mapping with the keys {', '.join(keys)}")
    unknown, missing = sorted(set(value) - set(keys)), sorted(set(keys) - set(value))
    if unknown or missing:
        found = [f"unknown {', '.join(unknown)}"] if unknown else []
        found += [f"missing {', '.join(missing)}"] if missing else []
        raise UserError(f"{where}: {'; '.join(found)}. The keys are {', '.join(keys)}.")
    return value


def settings(text: str, keys: Collection[str]) -> dict[str, Any]:
    """The settings of a step from its JSON text."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"--settings: not JSON: {error}") from None
    return exact_keys(value, keys, "--settings")


def table(path: str | Path, columns: Iterable[str] = ()) -> pd.DataFrame:
    """A CSV table, in which the named columns must be."""
    try:
        frame = pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as CSV: {error}") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; it has {', '.join(frame.columns)}")
    return frame


def benchmarks(path: str | Path) -> dict[str, str]:
    """Benchmark key to column heading, in the order of Table 1."""
    frame = table(path, ["key", "column"])
    return dict(zip(frame["key"], frame["column"]))


def add_own_benchmarks(headings: Mapping[str, str], found: Iterable[str]) -> dict[str, str]:
    """Key to heading: those of ``headings`` in their order, then the other keys of ``found`` (a user's own) as they
    are."""
    return {**headings, **{key: key for key in sorted(set(found) - set(headings))}}


def scores(paths: Sequence[str | Path]) -> list[Score]:
    """All scores of several files."""
    return [row for path in paths for row in records.read(path, Score)]


def named(values: Sequence[str]) -> list[tuple[str, str]]:
    """``LABEL=PATH`` arguments as label and path."""
    result = []
    for value in values:
        label, equals, path = value.partition("=")
        if not (label and equals and path):
            raise UserError(f"{value!r}: each must be LABEL=PATH.parquet")
        result.append((label, path))
    return result


def held(path: str | Path) -> list[str]:
    """Names of the columns of a file of records."""
    try:
        return pq.read_schema(path).names
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error


def columns(path: str | Path, names: Sequence[str]) -> list[list[str]]:
    """The named columns of a file of records, whatever the record. Nothing else of the file is read."""
    there = held(path)
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; it has {', '.join(there)}")
    read = selected(path, names)
    return [read.column(name).to_pylist() for name in names]


def selected(path: str | Path, names: Sequence[str]) -> pa.Table:
    """The named columns of a file that has them."""
    try:
        return pq.read_table(path, columns=list(names), partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error
