"""Counts of this run's answers and the published answers to the same questions (``published.beside``), for
``compare.csv``."""

from dataclasses import replace

import pandas as pd

from m1.report.paired import outcomes
from m1.report.scores import accuracies, rows_at_best
from m1.report.settings import AccuracyRow

OUTCOMES = ["neither", "only_theirs", "only_ours", "both"]  # by 2 for ours and 1 for theirs
COLUMNS = ["n", "only_ours", "only_theirs", "both", "neither", "k_theirs", "n_theirs", "budget"]


def counts(scores: pd.DataFrame, theirs: pd.DataFrame, row: AccuracyRow) -> pd.DataFrame:
    """Count the questions that this run's model and the published answers have correct.

    The published rule chooses the budget of each side on each benchmark: the one of ``row.published_budgets`` with the
    best accuracy by our scoring, the smallest of equal ones. Budgets that a side lacks do not count, nor do answers
    with forcing.

    Returns:
        :data:`COLUMNS` by each ``benchmark`` that both sides have; none where the model has no published answers at
        these budgets. ``n`` is the number of shared questions; the next four columns say which side has how many of
        them correct. ``k_theirs`` are correct of all ``n_theirs`` published answers in ``theirs``; where a run asks a
        part of the questions, these are fewer than were published. ``budget`` is the published side's, in thinking
        tokens.

    Raises:
        UserError: this run has no scores of the model, or none at ``row.published_budgets``.
    """
    published = (theirs["model"] == row.model) & (theirs["forced"] == 0)
    theirs = theirs[published & theirs["budget"].isin(row.published_budgets)]
    if theirs.empty:
        return pd.DataFrame(columns=COLUMNS, index=pd.Index([], name="benchmark"), dtype=int)
    budgets = tuple(sorted(set(theirs["budget"])))
    best = rows_at_best(accuracies(theirs), budgets)
    ours = outcomes(scores, [replace(row, budgets=row.published_budgets)])[0]
    single = outcomes(theirs, [replace(row, budgets=budgets)])[0]
    sides = pd.concat([ours, single], axis=1, keys=["ours", "theirs"]).dropna()
    answers = pd.crosstab(sides.index.get_level_values("benchmark"), 2 * sides["ours"] + sides["theirs"])
    found = answers.reindex(columns=range(len(OUTCOMES)), fill_value=0).set_axis(OUTCOMES, axis=1)
    found = found.rename_axis("benchmark")
    chosen = best[["k", "n", "budget"]].set_axis(["k_theirs", "n_theirs", "budget"], axis=1)
    return found.assign(n=found.sum(axis=1)).join(chosen)[COLUMNS]
