"""Scores as one table, and their accuracies (4.1), which Tables 1 and 2 and Figures 1 and 3 show. Whole columns are
read, so that hundreds of thousands of scores take a second."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m1.core import records
from m1.core.errors import UserError
from m1.core.records import Score
from m1.report.files import add_own_benchmarks
from m1.report.settings import AccuracyRow
from m1.report.statistics import wilson

SETTING = ["model", "benchmark", "budget", "forced"]
"""The key of an accuracy: budget in thinking tokens, forced as the number of ``Wait``s."""
QUESTION = [*SETTING, "question_id"]  # the key of a score


def read_scores(paths: Sequence[str | Path], more: Sequence[str] = ()) -> pd.DataFrame:
    """All scores of several files: :data:`QUESTION`, ``correct``, and ``more`` fields of
    :class:`~m1.core.records.Score`. A damaged file, an empty cell, or a question that is scored twice is a
    :class:`UserError`."""
    names = [*QUESTION, "correct", *more]
    return refuse_repeats(pd.concat([_read_file(path, names) for path in paths], ignore_index=True))


def refuse_repeats(found: pd.DataFrame) -> pd.DataFrame:
    """Return the scores; a :class:`UserError` where a question is scored twice at one setting and would count twice."""
    # One model at a time, because pandas takes 70 bytes for each row among which it looks for repeats.
    models = (found.iloc[places] for places in found.groupby("model", sort=False).indices.values())
    if twice := [row for rows in models for row in rows[rows.duplicated(QUESTION)].to_dict("records")]:
        first = ", ".join(f"{name} {twice[0][name]}" for name in QUESTION)
        repeated = f"{len(twice)} questions are scored twice at one setting, the first at {first}"
        raise UserError(f"scores: {repeated}. Pass each file once.")
    return found


def _read_file(path: str | Path, names: Sequence[str]) -> pd.DataFrame:
    wanted, remedy = records.schema(Score), "to have it made again."
    with records.open_parquet(path) as file:
        if missing := [name for name in names if name not in file.schema_arrow.names]:
            raise UserError(f"{path}: not a file of scores: no column {', '.join(missing)}. Delete it {remedy}")
        table = file.read(names).select(names)
    for name, column in zip(names, table.columns):
        if column.type != (kind := wanted.field(name).type):
            raise UserError(f"{path}: column {name} holds {column.type}, not {kind}. Delete it {remedy}")
        if count := column.null_count:
            raise UserError(f"{path}: field '{name}': missing in {count} records. Delete the file {remedy}")
    return table.to_pandas()


def accuracies(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at every :data:`SETTING`, sorted: ``k`` correct of ``n``, ``accuracy`` in %, and its Wilson 95 %
    interval ``low`` to ``high`` in %."""
    counted = found.groupby(SETTING, as_index=False)["correct"].agg(k="sum", n="size").astype({"k": int, "n": int})
    low, high = wilson(counted["k"], counted["n"])
    return counted.assign(accuracy=100 * counted["k"] / counted["n"], low=low, high=high)


def column_headings(found: pd.DataFrame, benchmarks: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The columns of a table or the panels of a figure: key to heading, first of the paper's ``benchmarks``, then of
    this run's own; and those of the keys that are in the column ``benchmark`` of ``found``."""
    scored = set(found["benchmark"])
    headings = add_own_benchmarks(benchmarks, scored)
    return headings, [key for key in headings if key in scored]


def rows_of_model(found: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of one model; a :class:`UserError` where there are none."""
    rows = found[found["model"] == model]
    if rows.empty:
        raise UserError(f"no scores of model {model!r}; there are scores of {_list(set(found['model']))}")
    return rows


def rows_at_setting(rows: pd.DataFrame, budget: int, forced: int = 0) -> pd.DataFrame:
    """One model's rows at one setting, indexed by benchmark; a :class:`UserError` where a benchmark of the model lacks
    this setting."""
    chosen = rows[(rows["budget"] == budget) & (rows["forced"] == forced)].set_index("benchmark")
    for benchmark, others in rows.groupby("benchmark", sort=False):
        if benchmark not in chosen.index:
            lacking = f"model {rows['model'].iloc[0]!r} on {benchmark} has none at budget {budget} with {forced} forced"
            found = _list(zip(others["budget"].tolist(), others["forced"].tolist()))
            raise UserError(f"scores: {lacking}; it has (budget, forced) {found}")
    return chosen


def rows_at_best(rows: pd.DataFrame, budgets: Sequence[int]) -> pd.DataFrame:
    """One model's unforced rows at the best of some budgets, the smallest of equal ones, indexed by benchmark; a
    :class:`UserError` where a benchmark of the model has none of these budgets."""
    if len(budgets) == 1:
        return rows_at_setting(rows, budgets[0])
    among = rows[(rows["forced"] == 0) & rows["budget"].isin(budgets)].sort_values("budget")
    for benchmark, others in rows.groupby("benchmark", sort=False):
        if benchmark not in set(among["benchmark"]):
            rows_at_setting(others, max(budgets))
    return among.loc[among.groupby("benchmark")["accuracy"].idxmax()].set_index("benchmark")


def find_published(paper: pd.DataFrame, row: AccuracyRow, table: str) -> int | None:
    """The number of the published row that a row of a table stands for; None for none.

    A name that occurs in several groups, as Random in Table 2, also needs the right group. A name that no published row
    has is a :class:`UserError`.
    """
    if row.published is None:
        return None
    group, name = paper.columns[:2]
    places = np.flatnonzero(paper[name] == row.published)
    if len(places) > 1:
        places = np.flatnonzero((paper[name] == row.published) & (paper[group] == row.group))
    if len(places) == 1:
        return int(places[0])
    lacking = f"no published row is named {row.published!r} with {group} {row.group!r}"
    names = ", ".join(paper[name].drop_duplicates())
    raise UserError(f"{table}, row {row.label!r}: {lacking}; the names are {names}, or null for none")


def average(accuracy: Mapping[str, float], benchmarks: Sequence[str]) -> float:
    """Avg. of Tables 1 and 2: the mean of the unrounded accuracies over benchmarks, in %; NaN if one is missing."""
    return float(pd.Series(accuracy, dtype=float).reindex(list(benchmarks)).mean(skipna=False))


def _list(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values)) or "none"
