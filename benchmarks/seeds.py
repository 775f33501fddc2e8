"""What do intervals and verdicts of a row with several seeds come to, when the truth is known?

    python benchmarks/seeds.py                 # the tables of docs/statistics.md, in Markdown

Trainings of one recipe are simulated: the accuracy of each lies off the recipe's by a normal number of points, the same
on all benchmarks, and two trainings' answers to one question correlate by some 0.6 (:data:`LATENT`). Intervals, tests
and verdicts are the package's own (m1.report.seeds, m1.report.compare).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]

from m1.report import compare, seeds  # noqa: E402
from m1.report.settings import Margins  # noqa: E402
from m1.report.statistics import LEVEL, holm  # noqa: E402
from verdicts import OTHERS, published_row, rates  # noqa: E402

LATENT = 0.8
"""Correlation of two trainings' leaning on one question, a normal number; answers, which are correct below a threshold,
then correlate by 0.59 where half of them are correct."""


def answers(accuracy: np.ndarray, n: int, random: np.random.Generator) -> np.ndarray:
    """Whether trainings of these accuracies (0 to 1) answer n questions correctly: questions by trainings."""
    shared, own = random.standard_normal((n, 1)), random.standard_normal((n, len(accuracy)))
    leaning = np.sqrt(LATENT) * shared + np.sqrt(1 - LATENT) * own
    return (leaning < norm.ppf(np.clip(accuracy, 0.001, 0.999))).astype(float)


def draw_picks(count: int, random: np.random.Generator) -> np.ndarray:
    """Draws of seeds, as :func:`m1.report.seeds.spread` makes them."""
    return random.multinomial(count, np.full(count, 1 / count), seeds.DRAWS) / count


def coverage(count: int, spread: float, n: int, times: int, seed: int) -> dict[str, float]:
    """How often (%) the interval of a row's accuracy holds the recipe's own, which is 60 %.

    Args:
        count: seeds of the row.
        spread: standard deviation over the recipe's seeds, in points.
        n: questions.
        times: simulated rows.
        seed: of all of it.

    Returns:
        ``interval``: of the package's; ``normal``: of one with the normal quantile for both levels; ``questions``: of
        one that knows of questions only.
    """
    random = np.random.default_rng(seed)
    picks = draw_picks(count, random)
    held = dict.fromkeys(("interval", "normal", "questions"), 0)
    for _ in range(times):
        correct = answers(0.6 + random.normal(0, spread / 100, count), n, random)
        mean = seeds.mean_of(correct, picks, random)
        distance, (questions, of_seeds) = abs(mean.value - 60), mean.errors
        normal = norm.isf(LEVEL / 2)
        held["interval"] += distance <= mean.reach(LEVEL / 2)
        held["normal"] += distance <= normal * np.hypot(questions, of_seeds)
        held["questions"] += distance <= normal * questions
    return {name: 100 * number / times for name, number in held.items()}


def verdicts(
    count: int, spread: float, shift: float, times: int, margins: Margins, seed: int, theirs: float = 0.0
) -> pd.DataFrame:
    """Verdicts of simulated rows of Table 1, at the published n.

    Args:
        count: seeds of the row.
        spread: standard deviation over the recipe's seeds, in points.
        shift: points by which the recipe is off the accuracies of m1-7B-23K.
        times: simulated rows.
        margins: of the verdicts.
        seed: of all of it.
        theirs: standard deviation of the published training from these accuracies, in points; 0 for one that is not
            off, so that what is asked is whether the recipe's mean is the accuracy of the published weights.

    Returns:
        A line for each row's benchmark, and its average: ``benchmark``, ``n``, ``verdict``.
    """
    random = np.random.default_rng(seed)
    keys, share, n = published_row()
    picks, found = draw_picks(count, random), []
    for _ in range(times):
        off, other = random.normal(shift, spread, count) / 100, share + random.normal(0, theirs) / 100
        apart = [
            seeds.mean_of(answers(one + off, size, random), picks, random).less(
                int(random.binomial(size, their)), int(size), random
            )
            for one, their, size in zip(share, other, n, strict=True)
        ]
        lines = [*(seeds.difference(one, margins.cell) for one in apart)]
        lines.append(seeds.difference(seeds.average(apart), margins.average))
        corrected = holm([*(line.p for line in lines), *random.random(OTHERS)])
        names, sizes = [*keys, "average"], [*n, n.sum()]
        for line, name, size, p in zip(lines, names, sizes, corrected):
            margin = margins.average if name == "average" else margins.cell
            decided = compare.verdict({**vars(line), "margin": margin, "p_holm": p, "why": ""})[0]
            found.append({"benchmark": name, "n": size, "verdict": decided})
    return pd.DataFrame(found)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=1000, help="simulated rows for each line")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args(argv)
    print("| seeds | spread, points | interval | normal quantile | questions only |\n|---|---|---|---|---|")
    for count in (2, 3, 5, 10):
        for spread in (0, 1, 2, 4):
            found = coverage(count, spread, 1273, options.times, options.seed)
            print(f"| {count} | {spread} | " + " | ".join(f"{value:.1f}" for value in found.values()) + " |")
    columns = {}
    for count, theirs, shift in [(3, 0, 0), (3, 0, -5), (5, 0, 0), (5, 0, -5), (10, 0, 0), (10, 0, -5), (10, 1, 0)]:
        margins, times = Margins(average=2, cell=3), options.times // 2
        shares = rates(verdicts(count, 1.0, shift, times, margins, options.seed, theirs))
        name = f"{count} seeds, {-shift or 'not'} off" + (", the published one of spread 1" if theirs else "")
        columns[name] = [" / ".join(f"{value:.0f}" for value in line) for line in shares.to_numpy()]
    print("\n| n | benchmark | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2))
    for number, (n, key) in enumerate(shares.index):
        print(f"| {n:,} | {key} | " + " | ".join(column[number] for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
