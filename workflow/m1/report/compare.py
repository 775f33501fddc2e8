"""``compare.csv``: each published cell of Tables 1 and 2 beside what this run has in its place, with intervals, a test
and a verdict. What the tests answer, and what not, is in docs/statistics.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.report.files import parser, read_csv, write_csv, write_step_manifest
from m1.report.scores import accuracies, find_published, read_scores, rows_at_best, rows_of_model
from m1.report.settings import AccuracyRow, Shown
from m1.report.statistics import LEVEL, P, bootstrap_p, generator, holm, percentiles, unpaired, wilson

REPRODUCED, DIFFERS, OUT_OF_REACH = "reproduced", "differs", "out of reach"
DRAWS = 20_000
"""Bootstrap draws of an average: enough for a p that is still below 0.05 after Holm's correction for the 275 lines of
Table 1."""
COUNTS = ["published_k", "published_n", "budget", "k", "n"]
COLUMNS = [
    *("table", "group", "published", "benchmark", "column"),
    *("published_k", "published_n", "published_accuracy", "published_low", "published_high"),
    *("model", "label", "budget", "k", "n", "accuracy", "low", "high"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "why"),
]


def published_k(accuracy: float, n: int, where: str) -> int:
    """The whole number of correct answers behind a published accuracy (%, two decimals); a :class:`UserError` where
    there is none, so that the cell or n was mistyped."""
    k = round(accuracy * n / 100)
    if f"{100 * k / n:.2f}" != f"{accuracy:.2f}":
        mistyped = f"{accuracy:.2f} % is no whole number of {n} questions"
        raise UserError(f"{where}: {mistyped}; check it, and n in the file given as --benchmarks")
    return k


def compare(
    found: pd.DataFrame,
    tables: Mapping[str, Sequence[AccuracyRow]],
    remark: str,
    published: Mapping[str, pd.DataFrame],
    benchmarks: pd.DataFrame,
    seed: int,
) -> pd.DataFrame:
    """One line per published cell and model that stands for its row; one without a model where none does.

    Args:
        found: from :func:`m1.report.scores.accuracies`.
        tables: rows by table.
        remark: why no model stands for what the paper claims; empty where each does.
        published: the published tables, by the same names: group, name, one accuracy (%) per benchmark, Avg.
        benchmarks: ``key``, ``column`` and published ``n``, in order; a run's own have no line.

    Returns:
        :data:`COLUMNS`; accuracies in %, differences (ours less published) in points, budget in tokens. ``benchmark``
        is ``average`` for Avg., which has no k and n. ``p_holm`` corrects for all lines of its table.

    Raises:
        UserError: there is no such model, budget or published name, or a published cell is of no whole number.
    """
    parts = []
    for table, paper in published.items():
        group, name = paper.columns[:2]
        standing: dict[int | None, list[AccuracyRow]] = {}
        for own in tables.get(table, ()):
            standing.setdefault(find_published(paper, own, table), []).append(own)
        lines: list[dict[str, Any]] = []
        for place, cells in enumerate(paper.to_dict("records")):
            row = {"table": table, "group": cells[group], "published": cells[name]}
            theirs = _published_cells(row, cells, benchmarks, seed)
            for own in standing.get(place, []):
                lines += _compare_cells(theirs, _own_cells(found, own, benchmarks, seed), remark)
            if place not in standing:
                why = "no model of this run stands for it"
                lines += [line | {"verdict": OUT_OF_REACH, "why": why} for line, _ in theirs]
        frame = pd.DataFrame(lines, columns=COLUMNS)
        parts.append(frame.assign(p_holm=holm(frame["p"])))
    return pd.concat(parts, ignore_index=True).astype(dict.fromkeys(COUNTS, "Int64"))


Cell = tuple[dict[str, Any], np.ndarray | None]
"""The fields of one side of a line and, for an average, its bootstrap draws."""


def _published_cells(
    row: Mapping[str, str], cells: Mapping[str, Any], benchmarks: pd.DataFrame, seed: int
) -> list[Cell]:
    """The published side of the eleven lines of a row, from its table, group and name, and its accuracies (%)."""
    columns, n = benchmarks["column"], benchmarks["n"].to_numpy()
    where = f"{row['table']}, {row['published']}"
    k = np.array([published_k(cells[column], size, f"{where}, {column}") for column, size in zip(columns, n)])
    names = ["benchmark", "column", *(f"published_{field}" for field in ("k", "n", "accuracy", "low", "high"))]
    fields = zip(benchmarks["key"], columns, k, n, (cells[column] for column in columns), *wilson(k, n))
    draws = averages(k, n, generator(seed, *row.values()))
    last = ("average", "Avg.", None, None, cells["Avg."], *percentiles(draws))
    lines: list[Cell] = [({**row, **dict(zip(names, values))}, None) for values in fields]
    return [*lines, ({**row, **dict(zip(names, last))}, draws)]


def _own_cells(found: pd.DataFrame, row: AccuracyRow, benchmarks: pd.DataFrame, seed: int) -> list[Cell]:
    """Our side of the eleven lines of a row, its budgets chosen by the published rule; no accuracy where a benchmark
    is missing, nor an average over it."""
    keys = list(benchmarks["key"])
    chosen = rows_at_best(rows_of_model(found, row.model), row.published_budgets)
    chosen = chosen[["budget", "k", "n", "accuracy", "low", "high"]]
    cells = chosen.to_dict("index")
    shared: dict[str, Any] = {"model": row.model, "label": row.label}
    shared |= {"budget": row.published_budgets[0]} if len(row.published_budgets) == 1 else {}
    lines: list[Cell] = [({**shared, **cells.get(key, {})}, None) for key in keys]
    if not set(keys) <= cells.keys():
        return [*lines, (shared, None)]
    counts = chosen.loc[keys]
    name = ",".join(map(str, row.published_budgets))
    draws = averages(counts["k"].to_numpy(), counts["n"].to_numpy(), generator(seed, row.model, name))
    low, high = percentiles(draws)
    return [*lines, (shared | {"accuracy": counts["accuracy"].mean(), "low": low, "high": high}, draws)]


def averages(k: np.ndarray, n: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws of the mean of accuracies, in %: each benchmark's questions drawn with replacement, a binomial of k/n."""
    return 100 * (random.binomial(n, k / n, (DRAWS, len(k))) / n).mean(axis=1)


def _compare_cells(theirs: Sequence[Cell], ours: Sequence[Cell], remark: str) -> list[dict[str, Any]]:
    """Lines with both sides, their difference, its test and the verdict."""
    lines = []
    for (published, their_draws), (own, our_draws) in zip(theirs, ours, strict=True):
        line = published | own
        if "accuracy" not in own:
            missing = "benchmark missing" if published["benchmark"] != "average" else "an average needs every benchmark"
            lines.append(line | {"verdict": OUT_OF_REACH, "why": missing})
            continue
        if their_draws is None or our_draws is None:
            found = unpaired(own["k"], own["n"], published["published_k"], published["published_n"], 3)
            p, low, high, difference = found.p, found.low, found.high, found.difference
        else:
            differences = our_draws - their_draws
            p, (low, high) = bootstrap_p(differences), percentiles(differences)
            difference = own["accuracy"] - published["published_accuracy"]
        line |= {"difference": difference, "difference_low": low, "difference_high": high, "p": p}
        verdict = {"verdict": REPRODUCED if p >= LEVEL else DIFFERS}
        lines.append(line | ({"verdict": OUT_OF_REACH, "why": remark} if remark else verdict))
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Compare this run's scores with the published Tables 1 and 2."""
    command = parser(
        __doc__,
        "shown",
        "manifest",
        "scores",
        published={"nargs": "+", "type": Path, "help": "resources/paper/table1.csv and table2.csv"},
        benchmarks="resources/paper/benchmarks.csv: keys, headings and n, in order",
        output="CSV to write",
    )
    options = command.parse_args(argv)
    shown = Shown.load(options.shown)
    benchmarks = read_csv(options.benchmarks, ["key", "column", "n"])
    columns = [*benchmarks["column"], "Avg."]
    published = {path.stem: read_csv(path, columns) for path in options.published}
    scores = read_scores(options.scores)
    lines = compare(accuracies(scores), shown.accuracy_tables, shown.remark, published, benchmarks, shown.seed)
    write_csv(lines, options.output, {"p": P, "p_holm": P})
    counts = ", ".join(f"{count} {verdict}" for verdict, count in lines["verdict"].value_counts().items())
    write_step_manifest(options)
    say("compare", f"{len(scores):,} scores -> {len(lines)} lines ({counts}): {options.output}")


if __name__ == "__main__":
    run(main)
