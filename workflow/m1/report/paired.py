"""``paired.csv``: this run's models of Tables 1 and 2 compared with each other, question by question, by McNemar's
test. docs/statistics.md says what the test answers and what it does not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from m1.core.errors import run
from m1.core.progress import say
from m1.report.files import parser, read_benchmarks, write_csv, write_step_manifest
from m1.report.scores import accuracies, column_headings, read_scores, rows_at_best, rows_of_model
from m1.report.settings import AccuracyRow, Shown
from m1.report.statistics import LEVEL, P, holm, mcnemar_p

NO_DIFFERENCE = "no difference shown"
OUTCOMES = ("both_incorrect", "only_second", "only_first", "both_correct")
OUR_OUTCOMES = ["neither", "only_theirs", "only_ours", "both"]  # by 2 for ours and 1 for theirs
SINGLES = ["n", "only_ours", "only_theirs", "both", "neither", "k_theirs", "n_theirs", "budget"]
COLUMNS = [
    *("table", "first", "first_label", "first_budget", "second", "second_label", "second_budget"),
    *("benchmark", "column", "n", "both_correct", "only_first", "only_second", "both_incorrect"),
    *("difference", "p", "p_holm", "better"),
]


def outcomes(scores: pd.DataFrame, rows: Sequence[AccuracyRow]) -> pd.DataFrame:
    """Correct (1.0) or incorrect (0.0) by question (benchmark and question_id) and number of a table's row; NaN where a
    model was not scored. A model or budget that does not exist is a :class:`UserError`."""
    plain = scores[scores["forced"] == 0]
    found = accuracies(plain)
    columns = []
    for row in rows:
        best = rows_at_best(rows_of_model(found, row.model), row.budgets)["budget"]
        chosen = plain[(plain["model"] == row.model) & (plain["budget"] == plain["benchmark"].map(best))]
        columns.append(chosen.set_index(["benchmark", "question_id"])["correct"].astype(float))
    return pd.concat(columns, axis=1, keys=range(len(columns)))


def beside_published(scores: pd.DataFrame, theirs: pd.DataFrame, row: AccuracyRow) -> pd.DataFrame:
    """Count the questions that this run's model and the published answers (``published.beside``) have correct.

    The published rule chooses the budget of each side on each benchmark: the one of ``row.published_budgets`` with the
    best accuracy by our scoring, the smallest of equal ones. Budgets that a side lacks do not count, nor do answers
    with forcing.

    Returns:
        :data:`SINGLES` by each ``benchmark`` that both sides have; none where the model has no published answers at
        these budgets. ``n`` are the shared questions. ``k_theirs`` are correct of all ``n_theirs`` published answers in
        ``theirs``, of which a run may ask a part. ``budget`` is the published side's, in thinking tokens.

    Raises:
        UserError: this run has no scores of the model, or none at ``row.published_budgets``.
    """
    published = (theirs["model"] == row.model) & (theirs["forced"] == 0)
    theirs = theirs[published & theirs["budget"].isin(row.published_budgets)]
    if theirs.empty:
        return pd.DataFrame(columns=SINGLES, index=pd.Index([], name="benchmark"), dtype=int)
    budgets = tuple(sorted(set(theirs["budget"])))
    best = rows_at_best(accuracies(theirs), budgets)
    ours = outcomes(scores, [replace(row, budgets=row.published_budgets)])[0]
    single = outcomes(theirs, [replace(row, budgets=budgets)])[0]
    sides = pd.concat([ours, single], axis=1, keys=["ours", "theirs"]).dropna()
    answers = pd.crosstab(sides.index.get_level_values("benchmark"), 2 * sides["ours"] + sides["theirs"])
    found = answers.reindex(columns=range(len(OUR_OUTCOMES)), fill_value=0).set_axis(OUR_OUTCOMES, axis=1)
    found = found.rename_axis("benchmark")
    chosen = best[["k", "n", "budget"]].set_axis(["k_theirs", "n_theirs", "budget"], axis=1)
    return found.assign(n=found.sum(axis=1)).join(chosen)[SINGLES]


def compare(first: np.ndarray, second: np.ndarray, part: np.ndarray, parts: int) -> np.ndarray:
    """Count how two models answer the same questions: :data:`OUTCOMES`, one row for each benchmark, then one with their
    sum.

    ``first`` and ``second`` have for each question 1.0 (correct), 0.0 (incorrect) or NaN (not scored); ``part`` has the
    number of its benchmark, below ``parts``.
    """
    shared = ~(np.isnan(first) | np.isnan(second))
    codes = 4 * part[shared] + (2 * first[shared] + second[shared]).astype(int)
    counts = np.bincount(codes, minlength=4 * parts).reshape(parts, 4)
    return np.vstack([counts, counts.sum(axis=0)])


def pairs(
    scores: pd.DataFrame,
    tables: Mapping[str, Sequence[AccuracyRow]],
    labels: Mapping[str, str],
    benchmarks: Mapping[str, str],
) -> pd.DataFrame:
    """Every pair of models of a table, on every benchmark that both have and on all of these together (``all``).

    Args:
        scores: from :func:`m1.report.scores.read_scores`.
        tables: rows by table.
        labels: model to its label. Labels of rows will not do, because those of Table 2 occur at both scales.
        benchmarks: key to heading of the paper's benchmarks, in order; this run's own ones follow.

    Returns:
        :data:`COLUMNS`, over the questions that both models were scored on. ``difference`` is the first model's
        accuracy less the second's, in points. ``p_holm`` corrects for all lines of its table.
    """
    headings, keys = column_headings(scores, benchmarks)
    shown = {key: headings[key] for key in keys} | {"all": "all"}
    result = []
    for table, rows in tables.items():
        if not rows:
            continue
        lines = []
        correct = outcomes(scores, rows)
        part = pd.Index(shown).get_indexer(correct.index.get_level_values("benchmark"))
        for one, other in combinations(range(len(rows)), 2):
            sides: dict[str, Any] = {"table": table}
            for side, row in (("first", rows[one]), ("second", rows[other])):
                sides |= {side: row.model, f"{side}_label": labels[row.model], f"{side}_budget": row.budget}
            counted = compare(correct[one].to_numpy(), correct[other].to_numpy(), part, len(shown) - 1)
            for (key, column), counts in zip(shown.items(), counted, strict=True):
                if n := counts.sum():
                    _, only_second, only_first, _ = counts
                    where = {**sides, "benchmark": key, "column": column, "n": n}
                    difference = 100 * (only_first - only_second) / n
                    lines.append(where | dict(zip(OUTCOMES, counts)) | {"difference": difference})
        of_table = pd.DataFrame(lines, columns=COLUMNS)
        of_table["p"] = mcnemar_p(*(of_table[name].to_numpy(int) for name in ("only_first", "only_second")))
        of_table["p_holm"] = holm(of_table["p"])
        winner = of_table["first"].where(of_table["difference"] > 0, of_table["second"])
        result.append(of_table.assign(better=winner.where(of_table["p_holm"] < LEVEL, NO_DIFFERENCE)))
    return pd.concat(result, ignore_index=True) if result else pd.DataFrame(columns=COLUMNS)


def main(argv: Sequence[str] | None = None) -> None:
    """Compare this run's models with each other."""
    options = parser(__doc__, "shown", "manifest", "scores", "benchmarks", output="CSV to write").parse_args(argv)
    shown = Shown.load(options.shown)
    scores = read_scores(options.scores)
    labels = {model.key: model.label for model in shown.models}
    lines = pairs(scores, shown.accuracy_tables, labels, read_benchmarks(options.benchmarks))
    write_csv(lines, options.output, {"p": P, "p_holm": P})
    different = int((lines["better"] != NO_DIFFERENCE).sum())
    done = f"{len(lines):,} paired comparisons, {different:,} show a difference"
    write_step_manifest(options)
    say("paired", f"{len(scores):,} scores -> {done}: {options.output}")


if __name__ == "__main__":
    run(main)
