"""Accuracy with its interval from scores (4.1): the numbers under Tables 1 and 2 and Figures 1 and 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from m1.core.errors import UserError
from m1.report import inputs, score_table
from m1.report.statistics import wilson


def accuracies(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every model on every benchmark at every budget and forced count.

    Args:
        found: scores, from :func:`m1.report.score_table.read`.

    Returns:
        One row per setting, sorted: ``model``, ``benchmark``, ``budget``, ``forced``, ``k`` correct of ``n``,
        ``accuracy`` in %, and its Wilson 95 % interval ``low`` to ``high`` in %.
    """
    counted = score_table.settings(found)
    low, high = wilson(counted["k"], counted["n"])
    return counted.assign(low=low, high=high)


def column_headings(found: pd.DataFrame, benchmarks: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Columns of a table or panels of a figure, and those of them that this run has.

    Args:
        found: with the column ``benchmark``.
        benchmarks: key to heading of the paper's ten, in order.

    Returns:
        Key to heading: the paper's, then this run's own (:func:`m1.report.inputs.add_own_benchmarks`); and the keys
        among them that are in ``found``.
    """
    scored = set(found["benchmark"])
    headings = inputs.add_own_benchmarks(benchmarks, scored)
    return headings, [key for key in headings if key in scored]


def rows_of_model(found: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of one model.

    Raises:
        UserError: there are none.
    """
    rows = found[found["model"] == model]
    if rows.empty:
        raise UserError(f"no scores of model {model!r}; there are scores of {_list(set(found['model']))}")
    return rows


def rows_at_setting(rows: pd.DataFrame, budget: int, forced: int) -> pd.DataFrame:
    """One model's rows at one setting, indexed by benchmark.

    Raises:
        UserError: a benchmark that the model has been scored on lacks this setting.
    """
    chosen = rows[(rows["budget"] == budget) & (rows["forced"] == forced)].set_index("benchmark")
    for benchmark in rows["benchmark"].drop_duplicates():
        if benchmark not in chosen.index:
            others = rows.loc[rows["benchmark"] == benchmark, ["budget", "forced"]].itertuples(index=False)
            raise UserError(
                f"scores: model {rows['model'].iloc[0]!r} on {benchmark} has none at budget {budget} "
                f"with {forced} forced; "
                f"it has (budget, forced) {_list((int(b), int(f)) for b, f in others)}"
            )
    return chosen


def average(accuracy: Mapping[str, float], benchmarks: Sequence[str]) -> float:
    """Avg. of Tables 1 and 2: the plain mean over benchmarks, in %, before any rounding; NaN unless every benchmark is
    there."""
    return float(pd.Series(accuracy, dtype=float).reindex(list(benchmarks)).mean(skipna=False))


def _list(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values)) or "none"
