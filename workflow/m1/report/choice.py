"""What choosing the budgets of Table 1 adds: ``budget_choice.csv``.

The paper's m1 rows of Table 1 show, for each benchmark, the accuracy at the best thinking budget, chosen on the test
questions. A line for each m1 row of this run and of the paper's Figure 1 compares one fixed budget, the best single
budget and the best budget of each benchmark, and says what the choice would add if no budget were better than another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from m1.core.errors import run
from m1.core.progress import say
from m1.report.evidence import CORRELATION, draw_points, fill_hidden
from m1.report.files import POINTS, parser, read_csv, write_csv, write_step_manifest
from m1.report.scores import read_scores
from m1.report.settings import Shown
from m1.report.statistics import generator

FIXED = 4096
"""Tokens of the budget that the paper calls optimal."""
REPEATS = 1_000
"""How often the questions are halved."""
HALVES = f"chosen on one half of the questions, read on the other, {REPEATS:,} times"
SIMULATED = f"simulated: no budget is better, answers at two budgets correlate by {CORRELATION}"
COLUMNS = [
    *("source", "model", "benchmarks", "fixed_budget", "at_fixed", "best_budget", "at_best", "at_best_of_each"),
    *("table1", "gain", "gain_by_choice", "how"),
]


def summarise(accuracy: pd.DataFrame) -> dict[str, Any]:
    """Averages of one model over benchmarks, in %: at the largest budget up to :data:`FIXED` (else the smallest), at
    the best single budget, and at the best budget of each benchmark; ``gain`` is the last less the first.

    ``accuracy`` has budgets (tokens, ascending) by benchmarks, in %. A budget that a benchmark lacks is no single
    budget.
    """
    means = accuracy.mean(axis=1, skipna=False)
    fixed = max((budget for budget in accuracy.index if budget <= FIXED), default=accuracy.index[0])
    best = int(means.round(9).idxmax())  # rounded, so that of equal means the first wins, which has the smallest budget
    of_each = accuracy.max().mean()
    averages = {"fixed_budget": fixed, "at_fixed": means[fixed], "best_budget": best, "at_best": means[best]}
    return averages | {"at_best_of_each": of_each, "gain": of_each - means[fixed]}


def read_on_other_half(correct: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Accuracy on one half of the questions at the budget that is best on the other half: :data:`REPEATS` numbers in %,
    each the mean of both halves. ``correct`` has questions (at least two) by budgets (ascending)."""
    n, values = len(correct), correct.astype(float)
    halves = (random.random((REPEATS, n)).argsort(axis=1) < n // 2).astype(float)
    sums = halves @ values
    others = values.sum(axis=0) - sums
    rows = np.arange(REPEATS)
    there = others[rows, sums.argmax(axis=1)] / (n - n // 2)
    back = sums[rows, others.argmax(axis=1)] / (n // 2)
    return 50 * (there + back)


def gain_by_choice(accuracy: np.ndarray, n: np.ndarray, budgets: int, random: np.random.Generator) -> float:
    """What the best of this many budgets, chosen for each benchmark, would add to the average (points) if all were
    equally good: at ``accuracy`` (%) on the ``n`` questions of each benchmark."""
    drawn = draw_points(np.tile(accuracy, (budgets, 1)), n, random)
    return float((drawn.max(axis=1) - accuracy).mean())


def paper_lines(
    points: pd.DataFrame, table1: Mapping[str, float], benchmarks: pd.DataFrame, seed: int
) -> list[dict[str, Any]]:
    """A line for each model of the paper's Figure 1 (``points``, as read off the figure); ``table1`` has the Avg. of
    each row of the published Table 1."""
    lines = []
    n = benchmarks["n"].to_numpy()
    for model, accuracy in fill_hidden(points, list(benchmarks["column"])).items():
        found = summarise(accuracy)
        level = accuracy.loc[found["fixed_budget"]].to_numpy()
        by_choice = gain_by_choice(level, n, len(accuracy), generator(seed, "choice", model))
        where = {"source": "the paper's Figure 1", "model": model, "benchmarks": len(n), "table1": table1[model]}
        lines.append(where | found | {"gain_by_choice": by_choice, "how": SIMULATED})
    return lines


def run_lines(scores: pd.DataFrame, shown: Shown, table1: Mapping[str, float]) -> list[dict[str, Any]]:
    """A line for each row of Table 1 whose model thinks at several budgets, over the benchmarks of this run; ``table1``
    has the Avg. of each row of the published Table 1."""
    lines = []
    for row in (row for row in shown.table1 if len(row.published_budgets) > 1):
        own = scores[(scores["model"] == row.model) & (scores["forced"] == 0)]
        own = own[own["budget"].isin(row.published_budgets)]
        correct = {
            key: one.pivot(index="question_id", columns="budget", values="correct").dropna().astype(bool)
            for key, one in own.groupby("benchmark")
        }
        where = {"source": "this run", "model": row.label, "table1": table1.get(row.published or "", np.nan)}
        lines.append(where | run_line(correct, shown.seed, row.model))
    return lines


def run_line(correct: Mapping[str, pd.DataFrame], seed: int, model: str) -> dict[str, Any]:
    """The line of a model of this run, without its names. ``correct`` says by benchmark whether each question (row) is
    correct at each unforced budget (column)."""
    accuracy = pd.DataFrame({key: 100 * wide.mean() for key, wide in correct.items()}).sort_index()
    found = summarise(accuracy)
    read = [
        read_on_other_half(wide.sort_index(axis=1).to_numpy(), generator(seed, "halves", model, key)).mean()
        for key, wide in correct.items()
    ]
    by_choice = found["at_best_of_each"] - float(np.mean(read))
    return {"benchmarks": len(correct), **found, "gain_by_choice": by_choice, "how": HALVES}


def main(argv: Sequence[str] | None = None) -> None:
    """Write what choosing the budgets of Table 1 on the test questions adds."""
    command = parser(
        __doc__,
        "shown",
        "manifest",
        "scores",
        table1="resources/paper/table1.csv",
        points=POINTS,
        benchmarks="resources/paper/benchmarks.csv: keys, headings and n, in order",
        output="CSV to write",
    )
    options = command.parse_args(argv)
    shown = Shown.load(options.shown)
    benchmarks = read_csv(options.benchmarks, ["column", "n"])
    table1 = read_csv(options.table1, ["model", "Avg."]).set_index("model")["Avg."].to_dict()
    points = read_csv(options.points, ["model", "column", "budget", "accuracy"])
    lines = run_lines(read_scores(options.scores), shown, table1)
    lines += paper_lines(points, table1, benchmarks, shown.seed)
    write_csv(pd.DataFrame(lines, columns=COLUMNS), options.output)
    write_step_manifest(options)
    say("choice", f"{len(lines)} rows of Table 1 at their budgets: {options.output}")


if __name__ == "__main__":
    run(main)
