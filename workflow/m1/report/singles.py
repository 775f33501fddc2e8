"""This run's answers beside the published ones to the same questions (``published.beside``), counted for
``compare.csv``."""

from dataclasses import replace

import pandas as pd

from m1.report.paired import compare, outcomes
from m1.report.scores import accuracies, rows_at_best
from m1.report.settings import AccuracyRow

OUTCOMES = ["neither", "only_theirs", "only_ours", "both"]  # as m1.report.paired.compare counts them, ours first
COLUMNS = ["n", "only_ours", "only_theirs", "both", "neither", "k_theirs", "n_theirs", "budget"]


def counts(scores: pd.DataFrame, theirs: pd.DataFrame, row: AccuracyRow) -> pd.DataFrame:
    """How this run's answers of a model go together with the published ones.

    Each side is at the budget that the published rule chooses: of ``row.published_budgets``, those that the side has,
    the best for each benchmark by our scoring, the smallest of equal ones.

    Args:
        scores, theirs: this run's and the published answers, from :func:`m1.report.scores.read_scores`; other models
            than the row's are left aside, and answers with forcing.

    Returns:
        :data:`COLUMNS`, whole numbers, by ``benchmark`` that both sides have: ``n`` shared questions; of these, how
        many only one side has correct, both, or neither; ``k_theirs`` correct of all ``n_theirs`` published answers
        in ``theirs`` (of a run that asks a part of the published questions, fewer than were published); the published
        side's ``budget`` in thinking tokens. Empty where the model has no published answers, or none at these
        budgets.

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
    sides = pd.concat([ours, single], axis=1, keys=["ours", "theirs"])
    names = sides.index.get_level_values("benchmark")
    shared = pd.Index(sides.dropna().index.get_level_values("benchmark").unique(), name="benchmark")
    counted = compare(sides["ours"].to_numpy(), sides["theirs"].to_numpy(), shared.get_indexer(names), len(shared))
    found = pd.DataFrame(counted[:-1], index=shared, columns=OUTCOMES)
    chosen = best.loc[shared, ["k", "n", "budget"]].set_axis(["k_theirs", "n_theirs", "budget"], axis=1)
    return found.assign(n=found.sum(axis=1)).join(chosen)[COLUMNS]
