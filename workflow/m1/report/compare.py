"""``compare.csv``: each published cell of Tables 1 and 2 beside what this run has in its place, with intervals, a test
and a verdict.

What the tests answer, and what not, is in docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m1.core.errors import UserError, run
from m1.core.progress import say
from m1.report import inputs, score_table
from m1.report.accuracy import rows_at_setting, rows_of_model
from m1.report.settings import HELP, AccuracyRow, Shown
from m1.report.statistics import LEVEL, P, bootstrap_p, generator, holm, percentiles, two_proportions, wilson

REPRODUCED, DIFFERS, OUT_OF_REACH = "reproduced", "differs", "out of reach"
DRAWS = 20_000
"""Bootstrap draws of an average: enough for a p that is still below 0.05 after Holm's correction for the 275 lines of
Table 1."""
COLUMNS = (
    *("table", "group", "published", "benchmark", "column"),
    *("published_k", "published_n", "published_accuracy", "published_low", "published_high"),
    *("model", "label", "budget", "k", "n", "accuracy", "low", "high"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "why"),
)


def published_k(accuracy: float, n: int, where: str) -> int:
    """The whole number of correct answers behind a published accuracy (%, two decimals).

    Raises:
        UserError: there is none, so the cell or n was mistyped.
    """
    k = round(accuracy * n / 100)
    if f"{100 * k / n:.2f}" != f"{accuracy:.2f}":
        raise UserError(
            f"{where}: {accuracy:.2f} % is no whole number of {n} questions; check it, and n in the "
            "file given as --benchmarks"
        )
    return k


def compare(
    found: pd.DataFrame,
    tables: Mapping[str, Sequence[AccuracyRow]],
    remark: str,
    published: Mapping[str, pd.DataFrame],
    benchmarks: pd.DataFrame,
    seed: int,
) -> pd.DataFrame:
    """One line per published cell and model that stands for its row; one without a model where none does. Own
    benchmarks have none.

    Args:
        found: from :func:`m1.report.score_table.settings`.
        tables: rows by table; a table that is not among them has no row.
        remark: why no model stands for what the paper claims; empty where each does.
        published: the published tables, by the same names: group, name, one accuracy (%) per benchmark, Avg.
        benchmarks: ``key``, ``column`` and published ``n``, in order.
        seed: of the bootstrap.

    Returns:
        :data:`COLUMNS`; accuracies in %, differences (ours less published) in points, budget in tokens. ``benchmark``
        is ``average`` for Avg., which has no k and n. ``p_holm`` corrects for all lines of its table.

    Raises:
        UserError: a row's model, budget or published name does not exist, or a published cell is of no whole number of
            correct answers.
    """
    parts = []
    for table, paper in published.items():
        group, name = paper.columns[:2]
        lines: list[dict[str, Any]] = []
        for cells, standing in _match_rows(table, paper, tables.get(table, ())):
            row = {"table": table, "group": cells[group], "published": cells[name]}
            theirs = _published_cells(row, cells, benchmarks, seed)
            for own in standing:
                lines += _compare_cells(theirs, _own_cells(found, own, benchmarks, seed), remark)
            if not standing:
                why = "no model of this run stands for it"
                lines += [line | {"verdict": OUT_OF_REACH, "why": why} for line, _ in theirs]
        frame = pd.DataFrame(lines, columns=COLUMNS)
        parts.append(frame.assign(p_holm=holm(frame["p"])))
    return pd.concat(parts, ignore_index=True).astype(
        dict.fromkeys(["published_k", "published_n", "budget", "k", "n"], "Int64")
    )


def _match_rows(
    table: str, paper: pd.DataFrame, rows: Sequence[AccuracyRow]
) -> list[tuple[dict[str, Any], list[AccuracyRow]]]:
    """Each published row with the rows of this run that stand for it.

    Raises:
        UserError: a row stands for one that is not published.
    """
    group, name = paper.columns[:2]
    waiting = [row for row in rows if row.published is not None]
    pairs = []
    for cells in paper.to_dict("records"):
        unique = (paper[name] == cells[name]).sum() == 1
        standing = [row for row in waiting if row.published == cells[name] and (unique or row.group == cells[group])]
        waiting = [row for row in waiting if row not in standing]
        pairs.append((cells, standing))
    if waiting:
        raise UserError(
            f"{table}, row {waiting[0].label!r}: no published row is named {waiting[0].published!r} with {group} "
            f"{waiting[0].group!r}; the names are {', '.join(paper[name].drop_duplicates())}, or null for none"
        )
    return pairs


Cell = tuple[dict[str, Any], np.ndarray | None]
"""The fields of one side of a line and, for an average, its bootstrap draws."""


def _published_cells(
    row: Mapping[str, str], cells: Mapping[str, Any], benchmarks: pd.DataFrame, seed: int
) -> list[Cell]:
    """The published side of the eleven lines of a row.

    Args:
        row: its table, group and name.
        cells: its published accuracies (%), by column.
    """
    n = benchmarks["n"].to_numpy()
    k = np.array(
        [
            published_k(cells[column], size, f"{row['table']}, {row['published']}, {column}")
            for column, size in benchmarks[["column", "n"]].to_numpy()
        ]
    )
    fields = zip(
        benchmarks["key"], benchmarks["column"], k, n, (cells[column] for column in benchmarks["column"]), *wilson(k, n)
    )
    names = ["benchmark", "column", *(f"published_{field}" for field in ("k", "n", "accuracy", "low", "high"))]
    lines: list[Cell] = [({**row, **dict(zip(names, values))}, None) for values in fields]
    draws = averages(k, n, generator(seed, *row.values()))
    low, high = percentiles(draws)
    last = {
        "benchmark": "average",
        "column": "Avg.",
        "published_accuracy": cells["Avg."],
        "published_low": low,
        "published_high": high,
    }
    return [*lines, ({**row, **last}, draws)]


def _own_cells(found: pd.DataFrame, row: AccuracyRow, benchmarks: pd.DataFrame, seed: int) -> list[Cell]:
    """Our side of the eleven lines of a row; no accuracy where a benchmark is missing, so that an average over it is,
    too."""
    cells = rows_at_setting(rows_of_model(found, row.model), row.budget, forced=0)
    shared = {"model": row.model, "label": row.label, "budget": row.budget}
    lines: list[Cell] = []
    for key in benchmarks["key"]:
        if key not in cells.index:
            lines.append((shared, None))
            continue
        k, n = int(cells.loc[key, "k"]), int(cells.loc[key, "n"])
        interval = dict(zip(("low", "high"), wilson(k, n)))
        lines.append((shared | {"k": k, "n": n, "accuracy": 100 * k / n, **interval}, None))
    if not set(benchmarks["key"]) <= set(cells.index):
        return [*lines, (shared, None)]
    counts = cells.loc[list(benchmarks["key"])]
    draws = averages(counts["k"].to_numpy(), counts["n"].to_numpy(), generator(seed, row.model, str(row.budget)))
    low, high = percentiles(draws)
    return [*lines, (shared | {"accuracy": counts["accuracy"].mean(), "low": low, "high": high}, draws)]


def averages(k: np.ndarray, n: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draws of the plain mean of accuracies, in %: each benchmark's questions drawn anew, with replacement, which is a
    binomial of k/n."""
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
            p, low, high = two_proportions(own["k"], own["n"], published["published_k"], published["published_n"])
            difference = own["accuracy"] - 100 * published["published_k"] / published["published_n"]
        else:
            differences = our_draws - their_draws
            p, (low, high) = bootstrap_p(differences), percentiles(differences)
            difference = own["accuracy"] - published["published_accuracy"]
        line |= {"difference": difference, "difference_low": low, "difference_high": high, "p": p}
        if remark:
            lines.append(line | {"verdict": OUT_OF_REACH, "why": remark})
        else:
            lines.append(line | {"verdict": REPRODUCED if p >= LEVEL else DIFFERS})
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Compare this run's scores with the published Tables 1 and 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", nargs="+", required=True, help="scores, any number of models in each file")
    parser.add_argument("--shown", type=Path, required=True, help=HELP)
    parser.add_argument(
        "--published", nargs="+", required=True, type=Path, help="resources/paper/table1.csv and table2.csv"
    )
    parser.add_argument(
        "--benchmarks", required=True, help="resources/paper/benchmarks.csv: keys, headings and n, in order"
    )
    parser.add_argument("--output", required=True, help="CSV to write")
    options = parser.parse_args(argv)
    shown = Shown.load(options.shown)
    benchmarks = inputs.table(options.benchmarks, ["key", "column", "n"])
    columns = [*benchmarks["column"], "Avg."]
    published = {path.stem: inputs.table(path, columns) for path in options.published}
    frame = score_table.read(options.scores)
    found = score_table.settings(frame)
    lines = compare(found, shown.accuracy_tables, shown.remark, published, benchmarks, shown.seed)
    score_table.write(lines, options.output, {"p": P, "p_holm": P})
    counts = ", ".join(f"{count} {verdict}" for verdict, count in lines["verdict"].value_counts().items())
    say("compare", f"{len(frame):,} scores -> {len(lines)} lines ({counts}): {options.output}")


if __name__ == "__main__":
    run(main)
