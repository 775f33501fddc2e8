"""What the tables and figures read: published tables, scores, and columns of any file of records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Score


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


def column_names(path: str | Path) -> list[str]:
    """Names of the columns of a file of records."""
    try:
        return pq.read_schema(path).names
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error


def read_columns(path: str | Path, names: Sequence[str]) -> list[list[str]]:
    """The named columns of a file of records, whatever the record. Nothing else of the file is read."""
    there = column_names(path)
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(f"{path}: no column {', '.join(missing)}; it has {', '.join(there)}")
    read = read_table(path, names)
    return [read.column(name).to_pylist() for name in names]


def read_table(path: str | Path, names: Sequence[str]) -> pa.Table:
    """The named columns of a file that has them."""
    try:
        return pq.read_table(path, columns=list(names), partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not readable as Parquet ({error}). Delete it to have it made again.") from error


def read_decoder(folder: Path) -> Callable[[Sequence[int]], str]:
    """Token ids to text by the tokenizer of a model's folder; special tokens stay to be seen.

    Raises:
        UserError: there is no tokenizer.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise UserError(f"{file}: no such file; the thinking of a model needs its tokenizer")
    tokenizer = Tokenizer.from_file(str(file))
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False))
