"""Scores as one table of columns: what comparisons and statistics read, for hundreds of thousands of them in a
second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from m1.core import records
from m1.core.errors import UserError
from m1.core.files import replacing
from m1.core.records import Score
from m1.report import inputs

SETTING = ["model", "benchmark", "budget", "forced"]
"""What an accuracy belongs to: budget in thinking tokens, forced as the number of ``Wait``s."""
QUESTION = [*SETTING, "question_id"]
"""What a score belongs to; there is one at most."""


def read(paths: Sequence[str | Path], more: Sequence[str] = ()) -> pd.DataFrame:
    """All scores of several files.

    Args:
        paths: scores, any number of models in each.
        more: further fields of :class:`~m1.core.records.Score`.

    Returns:
        One row each: ``model``, ``benchmark``, ``budget`` (tokens), ``forced`` (times), ``question_id``, ``correct``,
        then ``more``.

    Raises:
        UserError: a file is missing, not Parquet, not of scores or has an empty cell; a question is scored twice at
            one setting.
    """
    return refuse_repeats(pd.concat([_table(path, [*QUESTION, "correct", *more]) for path in paths], ignore_index=True))


def refuse_repeats(frame: pd.DataFrame) -> pd.DataFrame:
    """The same scores, in which no question is scored twice at one setting, so that none counts twice.

    Raises:
        UserError: one is.
    """
    twice = frame[frame.duplicated(QUESTION)]
    if len(twice):
        first = ", ".join(f"{name} {twice.iloc[0][name]}" for name in QUESTION)
        raise UserError(
            f"scores: {len(twice)} questions are scored twice at one setting, the first at {first}. "
            "Pass each file once."
        )
    return frame


def _table(path: str | Path, names: Sequence[str]) -> pd.DataFrame:
    found, wanted = inputs.column_names(path), records.schema(Score)
    missing = [name for name in names if name not in found]
    if missing:
        raise UserError(
            f"{path}: not a file of scores: no column {', '.join(missing)}. Delete it to have it made again."
        )
    table = inputs.read_table(path, names)
    for name in names:
        column = table.column(name)
        if column.type != wanted.field(name).type:
            raise UserError(
                f"{path}: column {name} holds {column.type}, not {wanted.field(name).type}. Delete it to "
                "have it made again."
            )
        if column.null_count:
            raise UserError(
                f"{path}: field '{name}': missing in {column.null_count} records. Delete the file to have "
                "it made again."
            )
    return table.to_pandas()


def settings(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per model, benchmark, budget and forced count, sorted: ``k`` correct of ``n``, ``accuracy`` in %."""
    found = frame.groupby(SETTING, as_index=False)["correct"].agg(k="sum", n="size").astype({"k": int, "n": int})
    return found.assign(accuracy=100 * found["k"] / found["n"])


def write(table: pd.DataFrame, path: str | Path, formats: Mapping[str, str]) -> None:
    """Write a table as CSV, atomically: fractional numbers with two decimals, or as ``formats`` says by column; empty
    for NaN."""
    table = table.copy()
    for name in table.select_dtypes("float"):
        table[name] = table[name].map(formats.get(name, "{:.2f}").format, na_action="ignore").astype(object)
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
