"""``paired.csv``: this run's own models of Tables 1 and 2 against each other, question by question, with McNemar's
test.

What the test answers, and what not, is in docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m1.core.errors import run
from m1.core.progress import say
from m1.report import inputs, score_table
from m1.report.accuracy import column_headings, rows_at_setting, rows_of_model
from m1.report.settings import HELP, AccuracyRow, Shown
from m1.report.statistics import LEVEL, P, holm, mcnemar_p

NO_DIFFERENCE = "no difference shown"
COLUMNS = (
    *(
        "table",
        "first",
        "first_label",
        "first_budget",
        "second",
        "second_label",
        "second_budget",
        "benchmark",
        "column",
    ),
    *("n", "both_correct", "only_first", "only_second", "both_incorrect", "difference", "p", "p_holm", "better"),
)


def outcomes(frame: pd.DataFrame, rows: Sequence[AccuracyRow]) -> pd.DataFrame:
    """Correct (1.0) or incorrect (0.0) by question and row of a table; NaN where a model was not scored.

    Args:
        frame: from :func:`m1.report.score_table.read`.
        rows: of the table.

    Returns:
        Index benchmark and question_id, one column per row, by its number.

    Raises:
        UserError: a model or its budget does not exist.
    """
    plain = frame[frame["forced"] == 0]
    found = score_table.settings(plain)
    columns = []
    for row in rows:
        rows_at_setting(rows_of_model(found, row.model), row.budget, forced=0)
        chosen = plain[(plain["model"] == row.model) & (plain["budget"] == row.budget)]
        columns.append(chosen.set_index(["benchmark", "question_id"])["correct"].astype(float))
    return pd.concat(columns, axis=1, keys=range(len(columns)))


def compare(first: np.ndarray, second: np.ndarray, part: np.ndarray, parts: int) -> np.ndarray:
    """How two models' answers to the same questions go together.

    Args:
        first: 1.0 correct, 0.0 incorrect, NaN not scored.
        second: the same of the other model, in the same order.
        part: number of each question's benchmark, below ``parts``.

    Returns:
        Both incorrect, only second, only first, both correct: one row per benchmark, the last one their sum.
    """
    shared = ~(np.isnan(first) | np.isnan(second))
    codes = 4 * part[shared] + (2 * first[shared] + second[shared]).astype(int)
    counts = np.bincount(codes, minlength=4 * parts).reshape(parts, 4)
    return np.vstack([counts, counts.sum(axis=0)])


def pairs(
    frame: pd.DataFrame,
    tables: Mapping[str, Sequence[AccuracyRow]],
    labels: Mapping[str, str],
    benchmarks: Mapping[str, str],
) -> pd.DataFrame:
    """Every two models of a table on every benchmark that both have, and on all of these together (``all``).

    Args:
        frame: from :func:`m1.report.score_table.read`.
        tables: rows by table.
        labels: model to its label; those of the rows of Table 2 occur at both scales.
        benchmarks: key to heading of the paper's, in order; this run's own come after them.

    Returns:
        :data:`COLUMNS`; counts of questions that both models were scored on; ``difference`` is the first's accuracy
        less the second's, in points; ``p_holm`` corrects for all lines of its table; ``better`` is the model that is,
        else ``no difference shown``.
    """
    headings, keys = column_headings(frame, benchmarks)
    shown = {key: headings[key] for key in keys} | {"all": "all"}
    result = []
    for table, rows in tables.items():
        if not rows:
            continue
        lines = []
        correct = outcomes(frame, rows)
        part = pd.Index(shown).get_indexer(correct.index.get_level_values("benchmark"))
        for one, other in combinations(range(len(rows)), 2):
            sides = _side("first", rows[one], labels) | _side("second", rows[other], labels)
            counted = compare(correct[one].to_numpy(), correct[other].to_numpy(), part, len(shown) - 1)
            for (key, column), (both_incorrect, only_second, only_first, both_correct) in zip(
                shown.items(), counted, strict=True
            ):
                n = both_correct + only_first + only_second + both_incorrect
                if n:
                    where = {"table": table, **sides, "benchmark": key, "column": column, "n": n}
                    counts = {
                        "both_correct": both_correct,
                        "only_first": only_first,
                        "only_second": only_second,
                        "both_incorrect": both_incorrect,
                    }
                    tested = {
                        "difference": 100 * (only_first - only_second) / n,
                        "p": mcnemar_p(only_first, only_second),
                    }
                    lines.append(where | counts | tested)
        of_table = pd.DataFrame(lines, columns=COLUMNS)
        of_table["p_holm"] = holm(of_table["p"])
        winner = of_table["first"].where(of_table["difference"] > 0, of_table["second"])
        result.append(of_table.assign(better=winner.where(of_table["p_holm"] < LEVEL, NO_DIFFERENCE)))
    return pd.concat(result, ignore_index=True) if result else pd.DataFrame(columns=COLUMNS)


def _side(side: str, row: AccuracyRow, labels: Mapping[str, str]) -> dict[str, Any]:
    return {side: row.model, f"{side}_label": labels[row.model], f"{side}_budget": row.budget}


def main(argv: Sequence[str] | None = None) -> None:
    """Compare this run's models with each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", nargs="+", required=True, help="scores, any number of models in each file")
    parser.add_argument("--shown", type=Path, required=True, help=HELP)
    parser.add_argument(
        "--benchmarks", required=True, help="resources/paper/benchmarks.csv: keys and headings, in order"
    )
    parser.add_argument("--output", required=True, help="CSV to write")
    options = parser.parse_args(argv)
    shown = Shown.load(options.shown)
    frame = score_table.read(options.scores)
    labels = {model.key: model.label for model in shown.models}
    lines = pairs(frame, shown.accuracy_tables, labels, inputs.benchmarks(options.benchmarks))
    score_table.write(lines, options.output, {"p": P, "p_holm": P})
    different = int((lines["better"] != NO_DIFFERENCE).sum())
    say(
        "paired",
        f"{len(frame):,} scores -> {len(lines):,} paired comparisons, {different:,} show a difference: "
        f"{options.output}",
    )


if __name__ == "__main__":
    run(main)
