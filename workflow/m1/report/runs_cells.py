"""``cells.csv`` and ``curves.csv`` of two runs: each line of Tables 1 and 2, and the average at every setting, on the
questions that both runs asked. docs/statistics.md says what the tests can and cannot show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m1.report.paired import OUTCOMES, compare, outcomes
from m1.report.scores import accuracies, rows_at_best, rows_of_model
from m1.report.settings import AccuracyRow, Margins, Shown
from m1.report.statistics import LEVEL, Difference, average, holm, paired

BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"
EQUAL, OTHER_QUESTIONS = "equal within the margin", "no question in common"
TESTED = ["difference", "difference_low", "difference_high", "p", "p_margin", "test"]
COLUMNS = [
    *("table", "model", "label", "benchmark", "column", "accuracy_a", "accuracy_b"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "margin", "p_margin", "test"),
    *("n", "unshared", "both_correct", "only_a", "only_b", "both_incorrect"),
    *("budget_a", "k_a", "n_a", "budget_b", "k_b", "n_b"),
]
COUNTS = ["k_a", "n_a", "k_b", "n_b", "n", "unshared", "both_correct", "only_a", "only_b", "both_incorrect"]
CURVES = [
    *("model", "label", "budget", "forced", "benchmarks", "n"),
    *("accuracy_a", "accuracy_b", "difference", "difference_low", "difference_high"),
]


@dataclass(frozen=True)
class Run:
    """A run to compare."""

    name: str
    folder: Path
    shown: Shown
    scores: pd.DataFrame
    """From :func:`m1.report.scores.read_scores`, of the models and benchmarks that both runs have."""


@dataclass(frozen=True)
class RowPair:
    """A row of a table that both runs have."""

    table: str
    label: str  # of the model, in the first run
    rows: tuple[AccuracyRow, AccuracyRow]
    budgets: tuple[pd.Series, pd.Series]
    """Benchmark to thinking tokens, of each run."""
    correct: pd.DataFrame
    """Columns ``a`` and ``b``, rows by benchmark and question_id: 1.0 correct, 0.0 incorrect, NaN not asked."""

    @property
    def changed(self) -> pd.DataFrame:
        """The questions that are correct in one run and incorrect in the other."""
        asked = self.correct.dropna()
        return asked[asked["a"] != asked["b"]]


def pair_rows(first: Run, second: Run) -> Iterator[RowPair]:
    """The rows of Tables 1 and 2 whose model is in both runs, in the order of the first.

    Raises:
        UserError: scores of a row are missing.
    """
    found = [accuracies(run.scores) for run in (first, second)]
    labels = {model.key: model.label for model in first.shown.models}
    for table, rows in first.shown.accuracy_tables.items():
        others = {row.model: row for row in second.shown.accuracy_tables.get(table, ())}
        shared = [(row, others[row.model]) for row in rows if row.model in others]
        if not shared:
            continue
        correct = [outcomes(run.scores, side) for run, side in zip((first, second), zip(*shared))]
        for place, pair in enumerate(shared):
            one, other = (
                rows_at_best(rows_of_model(scored, row.model), row.budgets)["budget"]
                for scored, row in zip(found, pair)
            )
            sides = [side[place].dropna() for side in correct]
            yield RowPair(table, labels[pair[0].model], pair, (one, other), pd.concat(sides, axis=1, keys=["a", "b"]))


def cells(pairs: Sequence[RowPair], headings: Mapping[str, str], margins: Margins) -> pd.DataFrame:
    """One line for each row and each benchmark that both runs asked, and one for the average over the benchmarks with
    questions in common.

    Args:
        pairs: from :func:`pair_rows`.
        headings: benchmark to the heading of its column, in order.
        margins: differences that count as none, in points.

    Returns:
        :data:`COLUMNS`. Accuracies (%), k and n of ``a`` and ``b`` cover all questions of that run. All other columns
        cover the ``n`` questions that both asked; ``unshared`` counts those that only one asked. Differences are B
        minus A, in points. ``p_holm`` corrects for all lines of its table.
    """
    lines = [line for pair in pairs for line in _lines(pair, headings, margins)]
    frame = pd.DataFrame(lines, columns=COLUMNS).astype(dict.fromkeys(COUNTS, "Int64"))
    frame["p_holm"] = frame.groupby("table")["p"].transform(holm)
    frame["verdict"] = [verdict(*line) for line in zip(frame["difference"], frame["p_holm"], frame["p_margin"])]
    return frame


def verdict(difference: float, p_holm: float, p_margin: float) -> str:
    """The verdict on B. ``p_holm`` is NaN where there was nothing to test."""
    if np.isnan(p_holm):
        return OTHER_QUESTIONS
    if p_holm < LEVEL:
        return BETTER if difference > 0 else WORSE
    return EQUAL if p_margin < LEVEL else NO_DIFFERENCE


def _lines(pair: RowPair, headings: Mapping[str, str], margins: Margins) -> Iterator[dict[str, Any]]:
    """The lines of one row, without the columns that depend on the whole table."""
    first, second = pair.rows
    row = {"table": pair.table, "model": first.model, "label": pair.label}
    asked = pair.correct.groupby(level="benchmark").agg(["sum", "count"]).astype(int)
    keys = [key for key in headings if key in asked.index and (asked.loc[key].xs("count", level=1) > 0).all()]
    part = pd.Index(keys).get_indexer(pair.correct.index.get_level_values("benchmark"))
    inside = pair.correct[part >= 0]
    counted = compare(inside["a"].to_numpy(), inside["b"].to_numpy(), part[part >= 0], len(keys))[:-1]
    lines = []
    for key, counts in zip(keys, counted):
        line: dict[str, Any] = {**row, "benchmark": key, "column": headings[key], "margin": margins.cell}
        for side, budgets in zip("ab", pair.budgets):
            k, n = asked.loc[key, side]
            line |= {f"budget_{side}": budgets[key], f"k_{side}": k, f"n_{side}": n, f"accuracy_{side}": 100 * k / n}
        shared = counts.sum()
        line |= {"n": shared, "unshared": line["n_a"] + line["n_b"] - 2 * shared, **dict(zip(OUTCOME_COLUMNS, counts))}
        lines.append(line)
    if common := [line for line in lines if line["n"]]:
        single, mean = _differences(counted[counted.sum(axis=1) > 0], margins)
        for line, found in zip(common, single):
            line |= _tested(found)
    yield from lines
    if common:
        sums = {name: sum(line[name] for line in common) for name in ("n", "unshared")}
        means = {name: np.mean([line[name] for line in common]) for name in ("accuracy_a", "accuracy_b")}
        budgets = {"budget_a": first.budget, "budget_b": second.budget, "margin": margins.average}
        where = {"benchmark": "average", "column": f"Avg. of {len(common)}"}
        yield {**row, **where, **budgets, **sums, **means, **_tested(mean)}


OUTCOME_COLUMNS = [{"only_first": "only_a", "only_second": "only_b"}.get(name, name) for name in OUTCOMES]


def _tested(found: Difference) -> dict[str, Any]:
    values = (found.difference, found.low, found.high, found.p, found.p_margin, found.test)
    return dict(zip(TESTED, values))


def _differences(counts: np.ndarray, margins: Margins) -> tuple[list[Difference], Difference]:
    """B minus A on each benchmark, and on their average.

    Args:
        counts: outcomes as in :data:`m1.report.paired.OUTCOMES`, one row per benchmark. Each has questions.
        margins: differences that count as none, in points.
    """
    single = [paired(only_b, only_a, n, margins.cell) for (_, only_b, only_a, _), n in zip(counts, counts.sum(axis=1))]
    return single, average(single, int(counts.sum()), margins.average)


def curves(first: Run, second: Run, models: Sequence[str]) -> pd.DataFrame:
    """The average accuracy of each model at each setting of either run, on the questions that both asked.

    Returns:
        :data:`CURVES`. ``accuracy_a`` and ``accuracy_b`` are NaN where a run lacks the setting, or a benchmark at it.
        The intervals of the difference (B minus A, in points) are not corrected for their number.
    """
    labels = {model.key: model.label for model in first.shown.models}
    lines = []
    for model in models:
        one, other = (_by_setting(run.scores, model) for run in (first, second))
        shared = one.index.intersection(other.index).sort_values()
        one, other = one.loc[shared], other.loc[shared]
        part, keys = pd.factorize(shared.get_level_values("benchmark"))
        for setting in sorted({*one.columns, *other.columns}, key=lambda setting: setting[::-1]):
            budget, forced = map(int, setting)
            line = {"model": model, "label": labels[model], "budget": budget, "forced": forced}
            sides = [side.get(setting, pd.Series(np.nan, shared)) for side in (one, other)]
            for name, side in zip("ab", sides):
                means = side.groupby(level="benchmark").mean()
                line[f"accuracy_{name}"] = 100 * means.mean(skipna=False)
            counts = compare(sides[0].to_numpy(), sides[1].to_numpy(), part, len(keys))[:-1]
            line |= {"benchmarks": len(keys), "n": counts.sum()}
            if len(counts) and (counts.sum(axis=1) > 0).all():
                line |= _tested(_differences(counts, first.shown.margins)[1])
            lines.append(line)
    return pd.DataFrame(lines, columns=CURVES)


def _by_setting(scores: pd.DataFrame, model: str) -> pd.DataFrame:
    """The outcomes of one model, 1.0, 0.0 or NaN (none): questions (``benchmark``, ``question_id``) by settings
    (``budget``, ``forced``)."""
    rows = rows_of_model(scores, model)
    return rows.assign(correct=rows["correct"].astype(float)).pivot(
        index=["benchmark", "question_id"], columns=["budget", "forced"], values="correct"
    )
