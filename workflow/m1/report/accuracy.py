"""Accuracy with its interval from judgements (4.1): the numbers under Tables 1 and 2 and Figures 1 and 3."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from m1.errors import UserError
from m1.report import judged
from m1.report.statistics import wilson


def accuracies(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every model on every benchmark at every budget and forced count.

    Args:
        found: judgements, from :func:`m1.report.judged.read`.

    Returns:
        One row per setting, sorted: ``model``, ``benchmark``, ``budget``, ``forced``, ``k`` right of ``n``, ``accuracy`` in %, and
        its Wilson 95 % interval ``low`` to ``high`` in %.
    """
    counted = judged.settings(found)
    low, high = wilson(counted["k"], counted["n"])
    return counted.assign(low=low, high=high)


def present(found: pd.DataFrame, benchmarks: Mapping[str, str]) -> list[str]:
    """Keys of the benchmarks that this run has, in the order of ``benchmarks``.

    Raises:
        UserError: a judged benchmark is not among ``benchmarks``.
    """
    judged = set(found["benchmark"])
    unknown = sorted(judged - set(benchmarks))
    if unknown:
        raise UserError(f"judgements: no heading for benchmark {', '.join(unknown)}. Add a line for it to the file given as --benchmarks.")
    return [key for key in benchmarks if key in judged]


def of_model(found: pd.DataFrame, model: str) -> pd.DataFrame:
    """The rows of one model.

    Raises:
        UserError: there are none.
    """
    rows = found[found["model"] == model]
    if rows.empty:
        raise UserError(f"--settings: no judgements of model {model!r}; there are judgements of {_listed(set(found['model']))}")
    return rows


def at(rows: pd.DataFrame, budget: int, forced: int) -> pd.DataFrame:
    """One model's rows at one setting, indexed by benchmark.

    Raises:
        UserError: a benchmark that the model has been judged on lacks this setting.
    """
    chosen = rows[(rows["budget"] == budget) & (rows["forced"] == forced)].set_index("benchmark")
    for benchmark in rows["benchmark"].drop_duplicates():
        if benchmark not in chosen.index:
            others = rows.loc[rows["benchmark"] == benchmark, ["budget", "forced"]].itertuples(index=False)
            raise UserError(
                f"judgements: model {rows['model'].iloc[0]!r} on {benchmark} has none at budget {budget} with {forced} forced; "
                f"it has (budget, forced) {_listed((int(b), int(f)) for b, f in others)}"
            )
    return chosen


def average(accuracy: Mapping[str, float], benchmarks: Sequence[str]) -> float:
    """Avg. of Tables 1 and 2: the plain mean over benchmarks, in %, before any rounding; NaN unless every benchmark is there."""
    return float(pd.Series(accuracy, dtype=float).reindex(list(benchmarks)).mean(skipna=False))


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(str(value) for value in sorted(values)) or "none"
